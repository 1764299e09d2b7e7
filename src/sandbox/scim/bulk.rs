//! `/Bulk`: several writes in one request, which may refer to what the same request creates.

use std::collections::HashMap;

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::directory::{Done, Precondition};
use super::error::ScimError;
use super::schema::Type;
use super::{Caller, Scim};

/// Operations that one request may have.
pub(super) const MAX_OPERATIONS: usize = 1000;
/// Bytes that one request may have.
pub(super) const MAX_PAYLOAD_BYTES: usize = 1_048_576;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BulkRequest {
    fail_on_errors: Option<usize>,
    #[serde(rename = "Operations")]
    operations: Vec<Operation>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Operation {
    method: String,
    path: String,
    bulk_id: Option<String>,
    version: Option<String>,
    data: Option<Value>,
}

/// Carries out a bulk request; the answer has one entry for each operation up to the last one tried.
pub(super) fn run(scim: &Scim, body: &[u8], caller: &Caller) -> Result<Value, ScimError> {
    let too_large = |what| ScimError::new(StatusCode::PAYLOAD_TOO_LARGE, what);
    if body.len() > MAX_PAYLOAD_BYTES {
        return Err(too_large("the size of the bulk operation exceeds maxPayloadSize"));
    }
    let request: BulkRequest = serde_json::from_slice(body)
        .map_err(|error| ScimError::bad("invalidSyntax", format!("the body cannot be read: {error}")))?;
    if request.operations.len() > MAX_OPERATIONS {
        return Err(too_large("there are more operations than maxOperations"));
    }
    let mut created = HashMap::new();
    let mut results = Vec::new();
    let mut errors = 0;
    for operation in request.operations {
        let outcome = execute(scim, &operation, &created, caller);
        let mut result = json!({"method": operation.method});
        if let Some(bulk_id) = &operation.bulk_id {
            result["bulkId"] = json!(bulk_id);
        }
        match outcome {
            Ok((status, done)) => {
                result["status"] = json!(status.as_u16().to_string());
                let resource = done.after.as_ref().or(done.before.as_ref());
                if let Some(resource) = resource {
                    let location = format!("{}{}/{}", caller.base, resource.kind.endpoint(), resource.id);
                    result["location"] = json!(location);
                    created.extend(operation.bulk_id.map(|bulk_id| (bulk_id, resource.id.clone())));
                }
                if let Some(after) = &done.after {
                    result["version"] = json!(after.version());
                }
            }
            Err(error) => {
                result["status"] = json!(error.status.as_u16().to_string());
                result["response"] = error.to_json();
                errors += 1;
            }
        }
        results.push(result);
        if request.fail_on_errors.is_some_and(|limit| errors >= limit) {
            break;
        }
    }
    Ok(json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkResponse"], "Operations": results}))
}

fn execute(
    scim: &Scim,
    operation: &Operation,
    created: &HashMap<String, String>,
    caller: &Caller,
) -> Result<(StatusCode, Done), ScimError> {
    let path = resolve_text(&operation.path, created)?;
    let mut segments = path.trim_matches('/').split('/');
    let kind = segments.next().and_then(Type::of_endpoint);
    let invalid = || ScimError::bad("invalidPath", format!("{path} is no path of a bulk operation"));
    let (kind, id) = (kind.ok_or_else(invalid)?, segments.next());
    let mut data = operation.data.clone().unwrap_or_default();
    resolve(&mut data, created)?;
    let precondition = operation.version.clone().map_or(Precondition::None, Precondition::OneOf);
    let method = operation.method.to_uppercase();
    let done = match (method.as_str(), id) {
        ("POST", None) if operation.bulk_id.is_none() => {
            return Err(ScimError::bad("invalidSyntax", "POST needs a bulkId"));
        }
        ("POST", None) => scim.post(kind, &data, caller)?,
        ("PUT", Some(id)) => scim.replace(kind, id, &data, &precondition, caller)?,
        ("PATCH", Some(id)) => scim.patch(kind, id, &data, &precondition, caller)?,
        ("DELETE", Some(id)) => scim.remove(kind, id, &precondition, caller)?,
        _ => return Err(invalid()),
    };
    let status = match method.as_str() {
        "POST" => StatusCode::CREATED,
        "DELETE" => StatusCode::NO_CONTENT,
        _ => StatusCode::OK,
    };
    Ok((status, done))
}

/// Puts the ids of created resources where the data says `bulkId:...`.
fn resolve(value: &mut Value, created: &HashMap<String, String>) -> Result<(), ScimError> {
    match value {
        Value::String(text) => *text = resolve_text(text, created)?,
        Value::Array(items) => items.iter_mut().try_for_each(|item| resolve(item, created))?,
        Value::Object(fields) => fields.values_mut().try_for_each(|value| resolve(value, created))?,
        _ => {}
    }
    Ok(())
}

fn resolve_text(text: &str, created: &HashMap<String, String>) -> Result<String, ScimError> {
    let Some((before, bulk_id)) = text.split_once("bulkId:") else { return Ok(text.to_owned()) };
    match created.get(bulk_id) {
        Some(id) => Ok(format!("{before}{id}")),
        None => Err(ScimError {
            status: StatusCode::CONFLICT,
            ..ScimError::bad("invalidValue", format!("there is no bulkId {bulk_id}"))
        }),
    }
}
