//! Single records over HTTP: create, read, change, delete, and the same by an external id.

use std::sync::{Arc, MutexGuard};

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::error::{ApiError, json_response};
use super::object::{Access, Object};
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
    /// For clients that cannot send PATCH: they POST.
    #[serde(rename = "_HttpMethod")]
    method: Option<String>,
}

/// A request about one record.
struct Asked<'a> {
    salesforce: &'a Salesforce,
    call: &'a Call,
    method: Method,
    parameters: RowParameters,
    headers: HeaderMap,
    body: Bytes,
}

impl Asked<'_> {
    fn fields(&self) -> Result<Map<String, Value>, ApiError> {
        let fields: Map<String, Value> = parse(&self.body)?;
        if fields.keys().any(|name| name.eq_ignore_ascii_case("Id")) {
            return Err(not_in_body("Id"));
        }
        Ok(fields)
    }

    fn refused(&self, what: &str) -> Result<(), ApiError> {
        self.call.refuses(0, || format!("{what} {}", String::from_utf8_lossy(&self.body))).map_or(Ok(()), Err)
    }
}

pub(super) async fn create(
    State(salesforce): State<Arc<Salesforce>>,
    Extension(call): Extension<Call>,
    Path((_, object)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let fields: Map<String, Value> = parse(&body)?;
    call.refuses(0, || String::from_utf8_lossy(&body).into_owned()).map_or(Ok(()), Err)?;
    let mut org = lock(&salesforce.org);
    let object = org.table(&object).ok_or_else(ApiError::not_found)?.object.name;
    let done = org.create(object, &fields, salesforce.clock.now_seconds(), checks(&headers))?;
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
    let method = meant(method, &parameters);
    let asked = Asked { salesforce: &salesforce, call: &call, method, parameters, headers, body };
    let org = lock(&salesforce.org);
    let object = org.table(&object).ok_or_else(ApiError::not_found)?.object.name;
    one(&asked, org, object, &id)
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
    let method = meant(method, &parameters);
    let asked = Asked { salesforce: &salesforce, call: &call, method, parameters, headers, body };
    let mut org = lock(&salesforce.org);
    let (object, place) = lookup_field(&org, &object, &field)?;
    // A value that ends like a forbidden file name is answered as if the field were wrong.
    if value.ends_with(".inc") {
        return Err(no_such_key(&field));
    }
    let key = object.fields[place].name.as_str();
    if asked.method == Method::PATCH && asked.fields()?.keys().any(|name| name.eq_ignore_ascii_case(key)) {
        return Err(not_in_body(key));
    }
    match (org.with_key(object.name, place, &value).as_slice(), &asked.method) {
        ([id], _) => {
            let answer = one(&asked, org, object.name, id)?;
            if asked.method == Method::PATCH {
                let body = json!({"id": id, "success": true, "errors": [], "created": false});
                return Ok(json_response(StatusCode::OK, &body));
            }
            Ok(answer)
        }
        ([], &Method::PATCH) if !asked.parameters.update_only => {
            asked.refused(&value)?;
            let mut fields = asked.fields()?;
            fields.insert(key.to_owned(), json!(value));
            let now = salesforce.clock.now_seconds();
            let done = org.create(object.name, &fields, now, checks(&asked.headers))?;
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

fn one(asked: &Asked<'_>, mut org: MutexGuard<'_, Org>, object: &str, id: &str) -> Result<Response, ApiError> {
    let found = Arc::clone(org.find(object, id)?);
    let is_read = asked.method == Method::GET || asked.method == Method::HEAD;
    // A condition on DELETE is not supported: as if it were not there.
    if asked.method != Method::DELETE {
        check_conditions(&found, unmodified_since(&asked.headers, is_read)?, modified_since(&asked.headers, is_read))?;
    }
    if !is_read {
        asked.refused(&found.id())?;
    }
    let now = asked.salesforce.clock.now_seconds();
    let (name, done) = match asked.method {
        Method::GET | Method::HEAD => {
            let fields: Vec<String> = match &asked.parameters.fields {
                Some(names) => names.split(',').map(|name| name.trim().to_owned()).collect(),
                None => Vec::new(),
            };
            let record = Select::of(&org, &found.object, &fields)?.render(&found, &asked.call.version);
            return Ok(json_response(StatusCode::OK, &record));
        }
        Method::PATCH => ("PATCH", org.update(object, id, &asked.fields()?, now, checks(&asked.headers))?),
        Method::DELETE => ("DELETE", org.delete(object, id, now)?),
        _ => return Err(ApiError::method(asked.method.as_str(), "HEAD,GET,PATCH,DELETE")),
    };
    asked.salesforce.note(Actor::Client, name, &done, &asked.call.request);
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn meant(method: Method, parameters: &RowParameters) -> Method {
    match &parameters.method {
        Some(name) if method == Method::POST => name.parse().unwrap_or(method),
        _ => method,
    }
}

/// Which fields of a record to show.
pub(super) struct Select(Vec<usize>);

impl Select {
    /// The named fields; all that the client may see, if none is named.
    ///
    /// # Errors
    /// `INVALID_FIELD` for one that it does not see.
    pub fn of(org: &Org, object: &Object, names: &[String]) -> Result<Self, ApiError> {
        let visible = |place: &usize| org.access(object, *place) != Access::Hidden;
        if names.is_empty() {
            return Ok(Self((0..object.fields.len()).filter(visible).collect()));
        }
        let places = names.iter().map(|name| {
            object.index(name).filter(visible).ok_or_else(|| {
                ApiError::bad("INVALID_FIELD", format!("No such column '{name}' on sobject of type {}", object.name))
            })
        });
        Ok(Self(places.collect::<Result<_, _>>()?))
    }

    pub fn render(&self, row: &Row, version: &str) -> Value {
        let fields = self.0.iter().map(|place| (row.object.fields[*place].name.clone(), row.cells[*place].to_json()));
        let attributes = ("attributes".to_owned(), attributes(row, version));
        Value::Object(std::iter::once(attributes).chain(fields).collect())
    }
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

/// The field that a URI names to find records by: an external id, or one marked for lookups.
///
/// # Errors
/// 404 for any other.
pub(super) fn lookup_field(org: &Org, object: &str, field: &str) -> Result<(Arc<Object>, usize), ApiError> {
    let object = Arc::clone(&org.table(object).ok_or_else(ApiError::not_found)?.object);
    let place = object.index(field).filter(|place| {
        let field = &object.fields[*place];
        *place != 0 && (field.external_id || field.id_lookup) && org.access(&object, *place) != Access::Hidden
    });
    let place = place.ok_or_else(|| no_such_key(field))?;
    Ok((object, place))
}

fn no_such_key(field: &str) -> ApiError {
    let message = format!("Provided external ID field does not exist or is not accessible: {field}");
    ApiError::with(StatusCode::NOT_FOUND, "NOT_FOUND", message)
}

fn not_in_body(field: &str) -> ApiError {
    let message = format!("The {field} field should not be specified in the sobject data.");
    ApiError::field("INVALID_FIELD", message, field)
}

/// How much the org checks of a write of this request.
pub(super) fn checks(headers: &HeaderMap) -> Checks {
    let rule = headers.get("sforce-duplicate-rule-header").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let allows = rule.split([';', ',']).filter_map(|option| option.split_once('='));
    let mut allows = allows.map(|(name, value)| (name.trim().to_lowercase(), value.trim().to_lowercase()));
    if allows.any(|option| option == ("allowsave".into(), "true".into())) { Checks::AllowSave } else { Checks::All }
}

/// A request's body.
///
/// # Errors
/// `JSON_PARSER_ERROR` if it is no JSON, or not of the form that the resource takes.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| {
        ApiError::bad(
            "JSON_PARSER_ERROR",
            format!("Unexpected character or type at [line:{}, column:{}]", error.line(), error.column()),
        )
    })
}

/// `If-Unmodified-Since`, in seconds since 1970. What is no date is an error of a write, and no condition of a read.
fn unmodified_since(headers: &HeaderMap, is_read: bool) -> Result<Option<i64>, ApiError> {
    let Some(value) = headers.get("if-unmodified-since") else { return Ok(None) };
    let date = value.to_str().ok().and_then(parse_http_date);
    match date {
        None if !is_read => Err(ApiError::bad("INVALID_HEADER", "the value of If-Unmodified-Since is no date")),
        date => Ok(date),
    }
}

/// `If-Modified-Since`: a condition of reads only.
fn modified_since(headers: &HeaderMap, is_read: bool) -> Option<i64> {
    headers.get("if-modified-since").filter(|_| is_read)?.to_str().ok().and_then(parse_http_date)
}
