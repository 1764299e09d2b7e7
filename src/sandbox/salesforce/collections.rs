//! sObject Collections: up to 200 records a call, each with a result of its own. The answer is 200 even where every record
//! was refused.

use std::collections::HashSet;
use std::sync::{Arc, MutexGuard};

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::error::{ApiError, json_response};
use super::id::{self, id18};
use super::org::{Done, Org};
use super::rows::{Select, checks, lookup_field, parse};
use super::{Call, Salesforce};
use crate::sandbox::faults::RowFault;
use crate::sandbox::lock;
use crate::sandbox::log::Actor;

/// Records of a writing call.
const MAX_RECORDS: usize = 200;
/// Records that one call may ask for by POST; by GET the length of the URI is the limit.
const MAX_RETRIEVED: usize = 2000;
/// Runs of records of one type that one call may have.
const MAX_CHUNKS: usize = 10;

type Fields = Map<String, Value>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Batch {
    #[serde(default)]
    all_or_none: bool,
    records: Vec<Fields>,
}

/// A record of a call, with the name of its object as the org spells it.
struct Record {
    object: &'static str,
    is_setup: bool,
    fields: Fields,
}

/// A record that was written.
struct Saved {
    done: Done,
    /// For an upsert: whether it is new.
    created: Option<bool>,
}

impl From<Done> for Saved {
    fn from(done: Done) -> Self {
        Self { done, created: None }
    }
}

pub(super) async fn create(
    State(salesforce): State<Arc<Salesforce>>,
    Extension(call): Extension<Call>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let (org, checks) = (lock(&salesforce.org), checks(&headers));
    let (records, all_or_none) = read_batch(&org, &body)?;
    refuse_mixture(&records)?;
    let calls = Calls { salesforce: &salesforce, call: &call, method: "POST", all_or_none };
    calls.carry_out(
        org,
        &records,
        |record| Value::Object(record.fields.clone()),
        |org, record, now| {
            if take_id(&mut record.fields.clone()).is_some() {
                let message = "cannot specify Id in an insert call";
                return Err(ApiError::field("INVALID_FIELD_FOR_INSERT_UPDATE", message, "Id"));
            }
            refuse_type(org, record.object, "inserted")?;
            org.create(record.object, &record.fields, now, checks).map(Saved::from)
        },
    )
}

pub(super) async fn update(
    State(salesforce): State<Arc<Salesforce>>,
    Extension(call): Extension<Call>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let (org, checks) = (lock(&salesforce.org), checks(&headers));
    let (records, all_or_none) = read_batch(&org, &body)?;
    refuse_mixture(&records)?;
    let calls = Calls { salesforce: &salesforce, call: &call, method: "PATCH", all_or_none };
    let mut seen = HashSet::new();
    calls.carry_out(
        org,
        &records,
        |record| Value::Object(record.fields.clone()),
        |org, record, now| {
            let mut fields = record.fields.clone();
            let id = take_id(&mut fields).and_then(|id| id.as_str().map(str::to_owned)).filter(|id| !id.is_empty());
            let id = id.ok_or_else(|| ApiError::bad("MISSING_ARGUMENT", "Id not specified in an update call"))?;
            let id = existing(org, record.object, &id)?;
            refuse_type(org, record.object, "updated")?;
            if !seen.insert(id.clone()) {
                return Err(ApiError::bad("DUPLICATE_VALUE", format!("duplicate id specified: {id}")));
            }
            org.update(record.object, &id, &fields, now, checks).map(Saved::from)
        },
    )
}

pub(super) async fn upsert(
    State(salesforce): State<Arc<Salesforce>>,
    Extension(call): Extension<Call>,
    Path((_, object, field)): Path<(String, String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let (org, checks) = (lock(&salesforce.org), checks(&headers));
    let (object, place) = lookup_field(&org, &object, &field)?;
    let (records, all_or_none) = read_batch(&org, &body)?;
    if let Some(other) = records.iter().find(|record| record.object != object.name) {
        let message = format!("{} is not of the type {} that the URI names", other.object, object.name);
        return Err(ApiError::bad("INVALID_INPUT", message));
    }
    let calls = Calls { salesforce: &salesforce, call: &call, method: "PATCH", all_or_none };
    let key = object.fields[place].name.as_str();
    let mut seen = HashSet::new();
    calls.carry_out(
        org,
        &records,
        |record| Value::Object(record.fields.clone()),
        |org, record, now| {
            let mut fields = record.fields.clone();
            if take_id(&mut fields).is_some() {
                let message = "The Id field should not be specified in the sobject data.";
                return Err(ApiError::field("INVALID_FIELD", message, "Id"));
            }
            let value = take(&mut fields, key).and_then(|value| value.as_str().map(|text| text.trim().to_owned()));
            let value = value.filter(|value| !value.is_empty());
            let value = value.ok_or_else(|| ApiError::bad("MISSING_ARGUMENT", format!("{key} not specified")))?;
            if !seen.insert(value.to_lowercase()) {
                let message = format!("Duplicate external id specified: {value}");
                return Err(ApiError::field("DUPLICATE_VALUE", message, key));
            }
            match org.with_key(object.name, place, &value).as_slice() {
                [] => {
                    fields.insert(key.to_owned(), json!(value));
                    let done = org.create(object.name, &fields, now, checks)?;
                    Ok(Saved { done, created: Some(true) })
                }
                [id] => {
                    let done = org.update(object.name, id, &fields, now, checks)?;
                    Ok(Saved { done, created: Some(false) })
                }
                several => {
                    let several = several.join(", ");
                    let message = format!("{key}: more than one record found for external id field: [{several}]");
                    Err(ApiError::field("DUPLICATE_EXTERNAL_ID", message, key))
                }
            }
        },
    )
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeleteParameters {
    #[serde(default)]
    ids: String,
    #[serde(default)]
    all_or_none: bool,
}

pub(super) async fn delete(
    State(salesforce): State<Arc<Salesforce>>,
    Extension(call): Extension<Call>,
    Query(parameters): Query<DeleteParameters>,
) -> Result<Response, ApiError> {
    let org = lock(&salesforce.org);
    let ids: Vec<String> = id_list(&parameters.ids);
    check_count(ids.len(), MAX_RECORDS)?;
    let all_or_none = parameters.all_or_none;
    let calls = Calls { salesforce: &salesforce, call: &call, method: "DELETE", all_or_none };
    calls.carry_out(
        org,
        &ids,
        |id| json!(id),
        |org, id, now| {
            let malformed = || {
                let error = ApiError::bad("MALFORMED_ID", format!("malformed id {id}"));
                ApiError { fields: Some(Vec::new()), ..error }
            };
            let (prefix, _) = id::parse(id).ok_or_else(malformed)?;
            let object = org.tables().find(|table| table.object.prefix == prefix).ok_or_else(malformed)?.object.name;
            let id = existing(org, object, id)?;
            refuse_type(org, object, "deleted")?;
            org.delete(object, &id, now).map(Saved::from)
        },
    )
}

#[derive(Deserialize)]
pub(super) struct RetrieveParameters {
    #[serde(default)]
    ids: String,
    #[serde(default)]
    fields: String,
}

#[derive(Deserialize)]
pub(super) struct RetrieveBody {
    ids: Vec<String>,
    fields: Vec<String>,
}

pub(super) async fn retrieve(
    State(salesforce): State<Arc<Salesforce>>,
    Extension(call): Extension<Call>,
    Path((_, object)): Path<(String, String)>,
    Query(parameters): Query<RetrieveParameters>,
) -> Result<Response, ApiError> {
    let org = lock(&salesforce.org);
    read_many(&org, &call, &object, &id_list(&parameters.ids), &id_list(&parameters.fields))
}

pub(super) async fn retrieve_by_post(
    State(salesforce): State<Arc<Salesforce>>,
    Extension(call): Extension<Call>,
    Path((_, object)): Path<(String, String)>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let RetrieveBody { ids, fields } = parse(&body)?;
    check_count(ids.len(), MAX_RETRIEVED)?;
    read_many(&lock(&salesforce.org), &call, &object, &ids, &fields)
}

/// Records in the order of their ids; null for what is not there.
fn read_many(org: &Org, call: &Call, object: &str, ids: &[String], fields: &[String]) -> Result<Response, ApiError> {
    let table = org.table(object).ok_or_else(ApiError::not_found)?;
    let select = Select::of(org, &table.object, fields)?;
    let records = ids.iter().map(|id| match org.find(table.object.name, id) {
        Ok(row) => select.render(row, &call.version),
        Err(_) => Value::Null,
    });
    Ok(json_response(StatusCode::OK, &records.collect()))
}

/// What the records of one call have in common.
struct Calls<'a> {
    salesforce: &'a Salesforce,
    call: &'a Call,
    method: &'static str,
    all_or_none: bool,
}

impl Calls<'_> {
    /// Writes one record after the other; what they come to is the answer.
    ///
    /// # Errors
    /// What is wrong with the whole call: nothing is written then.
    fn carry_out<R>(
        &self,
        mut org: MutexGuard<'_, Org>,
        records: &[R],
        shown: impl Fn(&R) -> Value,
        mut write: impl FnMut(&mut Org, &R, i64) -> Result<Saved, ApiError>,
    ) -> Result<Response, ApiError> {
        let now = self.salesforce.clock.now_seconds();
        let mut results: Vec<Result<Saved, ApiError>> = Vec::with_capacity(records.len());
        let stop_after = match self.call.row_fault {
            Some(RowFault::StopAfter(rows)) => rows,
            _ => usize::MAX,
        };
        for (number, record) in records.iter().enumerate().take(stop_after) {
            let result = match self.call.refuses(number, || shown(record).to_string()) {
                Some(refusal) => Err(refusal),
                None => write(&mut org, record, now),
            };
            // A field that does not exist or cannot hold the value is noticed before anything is written.
            if let Err(refusal) = &result
                && matches!(refusal.code.as_ref(), "INVALID_FIELD" | "JSON_PARSER_ERROR")
            {
                undo(&mut org, &results);
                return Err(refusal.clone());
            }
            results.push(result);
        }
        let is_complete = results.len() == records.len() && results.iter().all(Result::is_ok);
        let stands = is_complete || !self.all_or_none;
        if stands {
            for saved in results.iter().flatten() {
                self.salesforce.note(Actor::Client, self.method, &saved.done, &self.call.request);
            }
        } else {
            undo(&mut org, &results);
        }
        let results: Vec<Value> = results.iter().map(|result| outcome(result, stands)).collect();
        Ok(json_response(StatusCode::OK, &json!(results)))
    }
}

fn undo(org: &mut Org, results: &[Result<Saved, ApiError>]) {
    for saved in results.iter().rev().flatten() {
        org.undo(&saved.done);
    }
}

/// One entry of the answer. `stands` is false for a call that was rolled back.
fn outcome(result: &Result<Saved, ApiError>, stands: bool) -> Value {
    let saved = match result {
        Ok(saved) => saved,
        Err(refusal) => return json!({"success": false, "errors": [refusal.as_status()]}),
    };
    let before = saved.done.before.as_ref();
    if !stands {
        let message =
            "Record rolled back because not all records were valid and the request was using AllOrNone header";
        let rolled_back = ApiError::bad("ALL_OR_NONE_OPERATION_ROLLED_BACK", message);
        let mut entry = json!({"success": false, "errors": [rolled_back.as_status()]});
        if let Some(before) = before {
            entry["id"] = json!(before.id());
        }
        return entry;
    }
    let id = saved.done.after.as_ref().or(before).map(|row| row.id());
    let mut entry = json!({"id": id, "success": true, "errors": []});
    if let Some(created) = saved.created {
        entry["created"] = json!(created);
    }
    entry
}

fn read_batch(org: &Org, body: &[u8]) -> Result<(Vec<Record>, bool), ApiError> {
    let batch: Batch = parse(body)?;
    check_count(batch.records.len(), MAX_RECORDS)?;
    let records = batch.records.into_iter().map(|fields| {
        let name = fields.get("attributes").and_then(|attributes| attributes["type"].as_str());
        let name =
            name.ok_or_else(|| ApiError::bad("INVALID_INPUT", "Every record needs an attributes map with its type"))?;
        let table = org.table(name);
        let table =
            table.ok_or_else(|| ApiError::bad("INVALID_TYPE", format!("sObject type '{name}' is not supported.")))?;
        Ok(Record { object: table.object.name, is_setup: table.object.setup, fields })
    });
    Ok((records.collect::<Result<_, ApiError>>()?, batch.all_or_none))
}

fn check_count(count: usize, most: usize) -> Result<(), ApiError> {
    if count > most {
        let message = format!("record limit reached. cannot submit more than {most} records into this call");
        return Err(ApiError::bad("EXCEEDED_ID_LIMIT", message));
    }
    Ok(())
}

/// Refuses what cannot go together in one call: users, which belong to the setup of the org, beside records that do not;
/// and types that alternate too often. The vendor says that both are refused, not with which status; here it is 400 for
/// the whole.
fn refuse_mixture(records: &[Record]) -> Result<(), ApiError> {
    let setup = records.iter().find(|record| record.is_setup);
    if let (Some(setup), Some(other)) = (setup, records.iter().find(|record| !record.is_setup)) {
        let message = format!(
            "DML operation on setup object is not permitted after you have updated a non-setup object (or vice versa): {}, \
             original object: {}",
            setup.object, other.object
        );
        return Err(ApiError::bad("MIXED_DML_OPERATION", message));
    }
    let chunks = records.chunk_by(|a, b| a.object == b.object).count();
    if chunks > MAX_CHUNKS {
        let message =
            "Cannot have more than 10 chunks in a single operation. Please rearrange the data to reduce chunking.";
        return Err(ApiError::bad("INVALID_INPUT", message));
    }
    Ok(())
}

/// Refuses a write that no record of this type takes.
fn refuse_type(org: &Org, object: &'static str, done: &str) -> Result<(), ApiError> {
    let object = &org.table(object).ok_or_else(ApiError::not_found)?.object;
    let is_possible = if done == "deleted" { object.deletable } else { object.createable };
    if is_possible {
        return Ok(());
    }
    let message = format!("entity type cannot be {done}: {}", object.name);
    Err(ApiError::bad("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", message))
}

/// The long form of an id, if a record has it.
fn existing(org: &Org, object: &str, text: &str) -> Result<String, ApiError> {
    let label = format!("{object} ID");
    let wrong = || ApiError::field("MALFORMED_ID", format!("{label}: id value of incorrect type: {text}"), "Id");
    let table = org.table(object).ok_or_else(ApiError::not_found)?;
    let (prefix, serial) = id::parse(text).ok_or_else(wrong)?;
    if prefix != table.object.prefix {
        return Err(wrong());
    }
    match table.rows.get(&serial) {
        Some(row) if row.deleted => Err(ApiError::deleted()),
        Some(row) => Ok(id18(row.object.prefix, serial)),
        None => Err(ApiError::bad("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")),
    }
}

fn take_id(fields: &mut Fields) -> Option<Value> {
    take(fields, "Id")
}

/// Takes a field out, in any letter case.
fn take(fields: &mut Fields, name: &str) -> Option<Value> {
    let key = fields.keys().find(|key| key.eq_ignore_ascii_case(name))?.clone();
    fields.remove(&key)
}

fn id_list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|id| !id.is_empty()).map(str::to_owned).collect()
}
