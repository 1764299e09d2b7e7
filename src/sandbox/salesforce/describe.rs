//! What the org says of itself: versions, resources, objects and their fields, limits.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::error::{ApiError, json_response};
use super::object::{Access, Initial, Kind, Object};
use super::org::Org;
use super::{Call, FIRST_VERSION, LAST_VERSION, Salesforce};
use crate::sandbox::lock;

pub(super) async fn versions() -> Response {
    let versions: Vec<Value> = (FIRST_VERSION..=LAST_VERSION)
        .map(|version| {
            // Three releases a year: v65.0 is Winter '26, v67.0 is Summer '26.
            let season = ["Spring", "Summer", "Winter"][version as usize % 3];
            let year = (version + 13) / 3;
            json!({"label": format!("{season} '{year}"), "url": format!("/services/data/v{version}.0"), "version": format!("{version}.0")})
        })
        .collect();
    json_response(StatusCode::OK, &json!(versions))
}

pub(super) async fn resources(Extension(call): Extension<Call>) -> Response {
    let url = |name: &str| json!(format!("/services/data/{}/{name}", call.version));
    let names = ["sobjects", "query", "queryAll", "composite", "limits"];
    json_response(
        StatusCode::OK,
        &Value::Object(names.iter().map(|name| ((*name).to_owned(), url(name))).collect::<Map<_, _>>()),
    )
}

pub(super) async fn limits(State(salesforce): State<Arc<Salesforce>>) -> Response {
    let max = lock(&salesforce.options).daily_requests;
    let remaining = max.saturating_sub(salesforce.used_requests.load(Ordering::Relaxed));
    let body = json!({
        "DailyApiRequests": {"Max": max, "Remaining": remaining},
        "DailyBulkV2QueryJobs": {"Max": 10_000, "Remaining": 10_000},
    });
    json_response(StatusCode::OK, &body)
}

pub(super) async fn objects(State(salesforce): State<Arc<Salesforce>>, Extension(call): Extension<Call>) -> Response {
    let org = lock(&salesforce.org);
    let objects: Vec<Value> = org.tables().map(|table| summary(&table.object, &call.version)).collect();
    json_response(StatusCode::OK, &json!({"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": objects}))
}

pub(super) async fn object(
    State(salesforce): State<Arc<Salesforce>>,
    Extension(call): Extension<Call>,
    Path((_, object)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let org = lock(&salesforce.org);
    let table = org.table(&object).ok_or_else(ApiError::not_found)?;
    let body = json!({"objectDescribe": summary(&table.object, &call.version), "recentItems": []});
    Ok(json_response(StatusCode::OK, &body))
}

pub(super) async fn describe(
    State(salesforce): State<Arc<Salesforce>>,
    Extension(call): Extension<Call>,
    Path((_, object)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let org = lock(&salesforce.org);
    let object = &org.table(&object).ok_or_else(ApiError::not_found)?.object;
    let mut body = summary(object, &call.version);
    let visible = (0..object.fields.len()).filter(|place| org.access(object, *place) != Access::Hidden);
    body["fields"] = visible.map(|place| field(&org, object, place)).collect();
    body["childRelationships"] = json!([]);
    body["recordTypeInfos"] = json!([]);
    Ok(json_response(StatusCode::OK, &body))
}

fn summary(object: &Object, version: &str) -> Value {
    let url = format!("/services/data/{version}/sobjects/{}", object.name);
    json!({
        "name": object.name, "label": object.name, "labelPlural": format!("{}s", object.name), "keyPrefix": object.prefix,
        "custom": false, "createable": object.createable, "updateable": object.createable, "deletable": object.deletable,
        "undeletable": object.deletable, "mergeable": object.deletable, "queryable": true, "retrieveable": true,
        "replicateable": object.createable, "searchable": object.createable, "triggerable": object.createable, "layoutable": true,
        "urls": {"sobject": url, "describe": format!("{url}/describe"), "rowTemplate": format!("{url}/{{ID}}")},
    })
}

fn field(org: &Org, object: &Object, place: usize) -> Value {
    let field = &object.fields[place];
    let (kind, soap) = match &field.kind {
        Kind::Id => ("id", "tns:ID"),
        Kind::Text => ("string", "xsd:string"),
        Kind::Email => ("email", "xsd:string"),
        Kind::Phone => ("phone", "xsd:string"),
        Kind::Picklist(_) => ("picklist", "xsd:string"),
        Kind::Boolean => ("boolean", "xsd:boolean"),
        Kind::DateTime => ("datetime", "xsd:dateTime"),
        Kind::Reference { .. } => ("reference", "tns:ID"),
    };
    let (refers_to, relationship) = match field.kind {
        Kind::Reference { to, relationship } => (json!([to]), json!(relationship)),
        _ => (json!([]), Value::Null),
    };
    let values: &[&str] = if let Kind::Picklist(values) = field.kind { values } else { &[] };
    let values: Vec<Value> = values
        .iter()
        .map(|value| json!({"active": true, "defaultValue": false, "label": value, "validFor": null, "value": value}))
        .collect();
    let writable = field.writable() && org.access(object, place) == Access::ReadWrite;
    json!({
        "name": field.name, "label": field.label, "type": kind, "soapType": soap, "length": field.length,
        "byteLength": field.length * 3, "precision": 0, "scale": 0, "digits": 0,
        "nillable": !field.required && field.kind != Kind::Boolean && field.kind != Kind::Id,
        "createable": writable, "updateable": writable, "defaultedOnCreate": field.initial != Initial::Null || place == 0,
        "unique": field.unique, "caseSensitive": false, "externalId": field.external_id, "idLookup": field.id_lookup,
        "filterable": true, "sortable": true, "groupable": true, "custom": field.custom,
        "calculated": false, "autoNumber": false, "encrypted": false, "compoundFieldName": null,
        "referenceTo": refers_to, "relationshipName": relationship, "picklistValues": values,
        "restrictedPicklist": matches!(field.kind, Kind::Picklist(_)), "inlineHelpText": null,
    })
}
