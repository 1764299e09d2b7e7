//! Queries over HTTP: pages, and the cursors that remember which records a query found.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path as UrlPath, Query, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::error::{ApiError, json_response};
use super::id::id18;
use super::org::Org;
use super::row::Row;
use super::soql::{self, Columns, Plan};
use super::{Call, Salesforce};
use crate::sandbox::faults::Totals;
use crate::sandbox::lock;

/// Open cursors that an org keeps; the oldest goes first.
const CURSORS_KEPT: usize = 10;
/// A cursor lives for two days.
const CURSOR_LIFE_MS: i64 = 2 * 24 * 3600 * 1000;

/// Queries whose pages were not all fetched, oldest first.
#[derive(Default)]
pub(super) struct Cursors {
    open: VecDeque<Arc<Cursor>>,
    opened: u64,
}

/// The records that a query found. What they hold is read when their page is.
pub(super) struct Cursor {
    id: String,
    plan: Plan,
    serials: Vec<u64>,
    total: usize,
    batch: usize,
    opened_at_ms: i64,
}

impl Cursors {
    /// Forgets all cursors; their number.
    pub fn drop_all(&mut self) -> usize {
        std::mem::take(&mut self.open).len()
    }

    fn find(&self, id: &str, now_ms: i64) -> Option<Arc<Cursor>> {
        self.open.iter().find(|cursor| cursor.id == id && now_ms - cursor.opened_at_ms <= CURSOR_LIFE_MS).cloned()
    }
}

#[derive(Deserialize)]
pub(super) struct QueryParameters {
    q: Option<String>,
}

pub(super) async fn query(
    State(salesforce): State<Arc<Salesforce>>,
    Extension(call): Extension<Call>,
    uri: Uri,
    headers: HeaderMap,
    Query(parameters): Query<QueryParameters>,
) -> Result<Response, ApiError> {
    let text = parameters.q.ok_or_else(|| ApiError::bad("MALFORMED_QUERY", "missing parameter q"))?;
    let deleted = uri.path().trim_end_matches('/').ends_with("queryAll");
    let org = lock(&salesforce.org);
    let plan = soql::compile(&text, &org)?;
    let mut serials = soql::matches(&plan, &org, deleted);
    let found = serials.len();
    if let Some(withhold) = call.withhold {
        serials.retain(|serial| !withhold.hides(&id18(plan.object.prefix, *serial)));
    }
    let total = match call.withhold.map(|withhold| withhold.totals) {
        Some(Totals::Kept) => found,
        _ => serials.len(),
    };
    if plan.columns == Columns::Count {
        return Ok(json_response(StatusCode::OK, &json!({"totalSize": total, "done": true, "records": []})));
    }
    let mut cursors = lock(&salesforce.cursors);
    cursors.opened += 1;
    let cursor = Arc::new(Cursor {
        id: id18("01g", 40_000_000 + cursors.opened),
        plan,
        serials,
        total,
        batch: batch_size(&headers).unwrap_or(2000).min(lock(&salesforce.options).max_page),
        opened_at_ms: salesforce.clock.now_ms(),
    });
    if cursor.serials.len() > cursor.batch {
        cursors.open.push_back(Arc::clone(&cursor));
        if cursors.open.len() > CURSORS_KEPT {
            cursors.open.pop_front();
        }
    }
    drop(cursors);
    Ok(json_response(StatusCode::OK, &page(&cursor, 0, &org, &call)))
}

pub(super) async fn more(
    State(salesforce): State<Arc<Salesforce>>,
    Extension(call): Extension<Call>,
    UrlPath((_, locator)): UrlPath<(String, String)>,
) -> Result<Response, ApiError> {
    let dead = || ApiError::bad("INVALID_QUERY_LOCATOR", "invalid query locator");
    let (id, offset) = locator.rsplit_once('-').ok_or_else(dead)?;
    let offset: usize = offset.parse().map_err(|_| dead())?;
    let cursor = lock(&salesforce.cursors).find(id, salesforce.clock.now_ms()).ok_or_else(dead)?;
    if offset > cursor.serials.len() {
        return Err(dead());
    }
    let org = lock(&salesforce.org);
    Ok(json_response(StatusCode::OK, &page(&cursor, offset, &org, &call)))
}

fn page(cursor: &Cursor, offset: usize, org: &Org, call: &Call) -> Value {
    let end = cursor.serials.len().min(offset + cursor.batch);
    let rows = org.table(cursor.plan.object.name).map(|table| &table.rows);
    let records: Vec<Value> = cursor.serials[offset..end]
        .iter()
        .filter_map(|serial| rows?.get(serial))
        .filter(|row| call.withhold.is_none_or(|withhold| !withhold.hides(&row.id())))
        .map(|row| record(row, &cursor.plan.columns, org, call))
        .collect();
    let mut page = json!({"totalSize": cursor.total, "done": end == cursor.serials.len(), "records": records});
    if end < cursor.serials.len() {
        page["nextRecordsUrl"] = json!(format!("/services/data/{}/query/{}-{end}", call.version, cursor.id));
    }
    page
}

/// A row with the selected fields, those of other records nested.
fn record(row: &Arc<Row>, columns: &Columns<soql::Path>, org: &Org, call: &Call) -> Value {
    let mut record = Map::from_iter([("attributes".to_owned(), attributes(row, &call.version))]);
    let Columns::Fields(paths) = columns else { return Value::Object(record) };
    for path in paths {
        place(&mut record, row, &path.steps, path, org, call);
    }
    Value::Object(record)
}

/// Puts one field where its path leads, through the records that the steps name.
fn place(
    level: &mut Map<String, Value>,
    row: &Arc<Row>,
    steps: &[soql::Step],
    path: &soql::Path,
    org: &Org,
    call: &Call,
) {
    let Some((step, rest)) = steps.split_first() else {
        level.insert(path.name.clone(), row.cells[path.place].to_json());
        return;
    };
    let parent = row.cells[step.place].as_text().and_then(|id| org.by_id(step.to, id));
    let nested = level.entry(step.relationship).or_insert_with(|| match parent {
        Some(parent) => json!({"attributes": attributes(parent, &call.version)}),
        None => Value::Null,
    });
    if let (Some(parent), Value::Object(nested)) = (parent, nested) {
        place(nested, parent, rest, path, org, call);
    }
}

/// What every record says of itself.
pub(super) fn attributes(row: &Row, version: &str) -> Value {
    let object = row.object.name;
    json!({"type": object, "url": format!("/services/data/{version}/sobjects/{object}/{}", row.id())})
}

/// `Sforce-Query-Options: batchSize=200`, kept within 200 and 2000.
fn batch_size(headers: &HeaderMap) -> Option<usize> {
    let options = headers.get("sforce-query-options")?.to_str().ok()?;
    let size = options.split([',', ';']).find_map(|option| {
        let (name, value) = option.split_once('=')?;
        name.trim().eq_ignore_ascii_case("batchSize").then(|| value.trim().parse::<usize>().ok())?
    });
    size.map(|size| size.clamp(200, 2000))
}
