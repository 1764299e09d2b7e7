//! sObject Collections: up to 200 records a call, each with a result of its own. The answer is 200 even where every record
//! was refused.

mod batch;

use std::collections::HashSet;
use std::sync::{Arc, MutexGuard};

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use batch::{
    MAX_RECORDS, MAX_RETRIEVED, check_count, existing, id_list, read_batch, refuse_mixture, refuse_type, take, take_id,
};

use super::error::{ApiError, json_response};
use super::id;
use super::org::{Done, Org};
use super::rows::{Select, checks, lookup_field, parse};
use super::{Call, Salesforce};
use crate::sandbox::faults::RowFault;
use crate::sandbox::lock;
use crate::sandbox::log::Actor;

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
