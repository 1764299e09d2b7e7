//! Single records over HTTP: create, read, change, delete, and the same by an external id.

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::error::{ApiError, json_response};
use super::object::Access;
use super::org::{Checks, Done, Org, check_conditions};
use super::query::attributes;
use super::row::Row;
use super::{Call, Salesforce};
use crate::sandbox::clock::parse_http_date;
use crate::sandbox::lock;
use crate::sandbox::log::Actor;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RowParameters {
    fields: Option<String>,
    #[serde(default)]
    update_only: bool,
}

pub(super) async fn create(
    State(salesforce): State<Arc<Salesforce>>,
    Extension(call): Extension<Call>,
    Path((_, object)): Path<(String, String)>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let fields = parse_fields(&body)?;
    let mut org = lock(&salesforce.org);
    let object = org.table(&object).ok_or_else(ApiError::not_found)?.object.name;
    let done = org.create(object, &fields, salesforce.clock.now_seconds(), Checks::All)?;
    salesforce.note(Actor::Client, "POST", &done, &call.request);
    Ok(created(object, &done, &call, json!({})))
}

pub(super) async fn row(
    State(salesforce): State<Arc<Salesforce>>,
    Extension(call): Extension<Call>,
    Path((_, object, id)): Path<(String, String, String)>,
    Query(parameters): Query<RowParameters>,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let org = lock(&salesforce.org);
    let object = org.table(&object).ok_or_else(ApiError::not_found)?.object.name;
    one(&salesforce, org, &call, (object, &id), &parameters, &method, &headers, &body)
}

pub(super) async fn row_by_external_id(
    State(salesforce): State<Arc<Salesforce>>,
    Extension(call): Extension<Call>,
    Path((_, object, field, value)): Path<(String, String, String, String)>,
    Query(parameters): Query<RowParameters>,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let mut org = lock(&salesforce.org);
    let table = org.table(&object).ok_or_else(ApiError::not_found)?;
    let (object, place) = (Arc::clone(&table.object), table.object.index(&field));
    let unknown = || {
        let message = format!("Provided external ID field does not exist or is not accessible: {field}");
        ApiError::with(StatusCode::NOT_FOUND, "NOT_FOUND", message)
    };
    // A value that ends like a forbidden file name is answered as if the field were wrong.
    let place = place.filter(|_| !value.ends_with(".inc")).ok_or_else(unknown)?;
    let serials: Vec<u64> = table.lookup(place, &value).ok_or_else(unknown)?.into_iter().collect();
    let found: Vec<String> = serials
        .iter()
        .filter_map(|serial| table.rows.get(serial))
        .filter(|row| !row.deleted)
        .map(|row| row.id())
        .collect();
    match (found.as_slice(), &method) {
        ([id], _) => {
            let answer = one(&salesforce, org, &call, (object.name, id), &parameters, &method, &headers, &body)?;
            if method == Method::PATCH {
                return Ok(json_response(
                    StatusCode::OK,
                    &json!({"id": id, "success": true, "errors": [], "created": false}),
                ));
            }
            Ok(answer)
        }
        ([], &Method::PATCH) if !parameters.update_only => {
            let mut fields = parse_fields(&body)?;
            fields.insert(object.fields[place].name.clone(), json!(value));
            let done = org.create(object.name, &fields, salesforce.clock.now_seconds(), Checks::All)?;
            salesforce.note(Actor::Client, "PATCH", &done, &call.request);
            Ok(created(object.name, &done, &call, json!({"created": true})))
        }
        ([], _) => Err(ApiError::not_found()),
        (several, _) => {
            let url = |id: &String| format!("/services/data/{}/sobjects/{}/{id}", call.version, object.name);
            Ok(json_response(StatusCode::MULTIPLE_CHOICES, &several.iter().map(url).collect()))
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "it is one request, taken apart")]
fn one(
    salesforce: &Salesforce,
    mut org: std::sync::MutexGuard<'_, Org>,
    call: &Call,
    (object, id): (&str, &str),
    parameters: &RowParameters,
    method: &Method,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response, ApiError> {
    let found = Arc::clone(org.find(object, id)?);
    check_conditions(&found, date(headers, "if-unmodified-since")?, date(headers, "if-modified-since")?)?;
    let now = salesforce.clock.now_seconds();
    let (name, done) = match *method {
        Method::GET => return Ok(json_response(StatusCode::OK, &read(&org, &found, parameters, call)?)),
        Method::PATCH => ("PATCH", org.update(object, id, &parse_fields(body)?, now, Checks::All)?),
        Method::DELETE => ("DELETE", org.delete(object, id, now)?),
        _ => return Err(ApiError::method(method.as_str(), "HEAD,GET,PATCH,DELETE")),
    };
    salesforce.note(Actor::Client, name, &done, &call.request);
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn read(org: &Org, row: &Row, parameters: &RowParameters, call: &Call) -> Result<Value, ApiError> {
    let object = &row.object;
    let visible = |place: &usize| org.access(object, *place) != Access::Hidden;
    let places: Vec<usize> = match &parameters.fields {
        None => (0..object.fields.len()).filter(visible).collect(),
        Some(names) => names
            .split(',')
            .map(|name| {
                object.index(name.trim()).filter(visible).ok_or_else(|| {
                    ApiError::bad(
                        "INVALID_FIELD",
                        format!("No such column '{name}' on sobject of type {}", object.name),
                    )
                })
            })
            .collect::<Result<_, _>>()?,
    };
    let mut record = Map::from_iter([("attributes".to_owned(), attributes(row, &call.version))]);
    record.extend(places.into_iter().map(|place| (object.fields[place].name.clone(), row.cells[place].to_json())));
    Ok(Value::Object(record))
}

fn created(object: &str, done: &Done, call: &Call, more: Value) -> Response {
    let id = done.after.as_ref().map(|row| row.id()).unwrap_or_default();
    let mut body = json!({"id": id, "success": true, "errors": []});
    if let Some(created) = more.get("created") {
        body["created"] = created.clone();
    }
    let location = format!("/services/data/{}/sobjects/{object}/{id}", call.version);
    ([(header::LOCATION, location)], json_response(StatusCode::CREATED, &body)).into_response()
}

fn parse_fields(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    serde_json::from_slice(body).map_err(|error| {
        ApiError::bad(
            "JSON_PARSER_ERROR",
            format!("Unexpected character or type at [line:{}, column:{}]", error.line(), error.column()),
        )
    })
}

/// A condition's date, in seconds since 1970.
fn date(headers: &HeaderMap, name: &str) -> Result<Option<i64>, ApiError> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let date = value.to_str().ok().and_then(parse_http_date);
    date.map(Some).ok_or_else(|| ApiError::bad("INVALID_HEADER", format!("the value of {name} is no date")))
}
