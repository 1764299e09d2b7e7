//! What a collections call carries: its records, and what is wrong with them before any is written.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::sandbox::salesforce::error::ApiError;
use crate::sandbox::salesforce::id::{self, id18};
use crate::sandbox::salesforce::org::Org;
use crate::sandbox::salesforce::rows::parse;

/// Records of a writing call.
pub(super) const MAX_RECORDS: usize = 200;
/// Records that one call may ask for by POST; by GET the length of the URI is the limit.
pub(super) const MAX_RETRIEVED: usize = 2000;
/// Runs of records of one type that one call may have.
pub(super) const MAX_CHUNKS: usize = 10;

type Fields = Map<String, Value>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Batch {
    #[serde(default)]
    all_or_none: bool,
    records: Vec<Fields>,
}

/// A record of a call, with the name of its object as the org spells it.
pub(super) struct Record {
    pub object: &'static str,
    pub fields: Fields,
    is_setup: bool,
}

pub(super) fn read_batch(org: &Org, body: &[u8]) -> Result<(Vec<Record>, bool), ApiError> {
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

pub(super) fn check_count(count: usize, most: usize) -> Result<(), ApiError> {
    if count > most {
        let message = format!("record limit reached. cannot submit more than {most} records into this call");
        return Err(ApiError::bad("EXCEEDED_ID_LIMIT", message));
    }
    Ok(())
}

/// Refuses what cannot go together in one call: users, which belong to the setup of the org, beside records that do not;
/// and types that alternate too often. The vendor says that both are refused, not with which status; here it is 400 for
/// the whole.
pub(super) fn refuse_mixture(records: &[Record]) -> Result<(), ApiError> {
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
pub(super) fn refuse_type(org: &Org, object: &'static str, done: &str) -> Result<(), ApiError> {
    let object = &org.table(object).ok_or_else(ApiError::not_found)?.object;
    let is_possible = if done == "deleted" { object.deletable } else { object.createable };
    if is_possible {
        return Ok(());
    }
    let message = format!("entity type cannot be {done}: {}", object.name);
    Err(ApiError::bad("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", message))
}

/// The long form of an id, if a record has it.
pub(super) fn existing(org: &Org, object: &str, text: &str) -> Result<String, ApiError> {
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

pub(super) fn take_id(fields: &mut Fields) -> Option<Value> {
    take(fields, "Id")
}

/// Takes a field out, in any letter case.
pub(super) fn take(fields: &mut Fields, name: &str) -> Option<Value> {
    let key = fields.keys().find(|key| key.eq_ignore_ascii_case(name))?.clone();
    fields.remove(&key)
}

pub(super) fn id_list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|id| !id.is_empty()).map(str::to_owned).collect()
}
