//! REST v2: the envelope, the operators, and the tables that they refer to.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Extension, Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::directory::{Refusal, UNKNOWN};
use super::operator::{Operator, Presence};
use super::{Caller, DEFAULT_API_KEY, Iadvize, Ids, form, refusal};
use crate::sandbox::faults::{Totals, Withhold};
use crate::sandbox::lock;
use crate::sandbox::log::Actor;
use crate::sandbox::serve::Received;

/// Entries of a page, if the client does not say.
const DEFAULT_PAGE: usize = 20;
const SECOND_MS: i64 = 1000;

type Params = Query<Vec<(String, String)>>;

pub(super) fn routes(iadvize: &Arc<Iadvize>) -> Router<Arc<Iadvize>> {
    let api = Router::new()
        .route("/operator", any(operators))
        .route("/operator/live", get(presences))
        .route("/operator/{id}", any(operator))
        .route("/operator/{id}/live", any(presence))
        .route("/{table}", get(table))
        .method_not_allowed_fallback(|| async { refusal(StatusCode::METHOD_NOT_ALLOWED) })
        .layer(middleware::from_fn_with_state(Arc::clone(iadvize), admit));
    Router::new().nest("/api/2", api)
}

/// Checks the key, and the limit of calls where there is one.
async fn admit(State(iadvize): State<Arc<Iadvize>>, request: Request, next: Next) -> Response {
    if let Some(most) = iadvize.options().requests_per_second {
        let now_ms = iadvize.clock.now_ms();
        let mut calls = lock(&iadvize.rest_calls);
        while calls.front().is_some_and(|at| at + SECOND_MS <= now_ms) {
            calls.pop_front();
        }
        if calls.len() >= most {
            return ([(header::RETRY_AFTER, "1")], refusal(StatusCode::TOO_MANY_REQUESTS)).into_response();
        }
        calls.push_back(now_ms);
    }
    if key(request.headers(), request.uri().query()).as_deref() == Some(DEFAULT_API_KEY) {
        next.run(request).await
    } else {
        refusal(StatusCode::FORBIDDEN)
    }
}

/// The API key: a header, a parameter, or the user of Basic credentials.
fn key(headers: &HeaderMap, query: Option<&str>) -> Option<String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(key) = text("x-api-key") {
        return Some(key.to_owned());
    }
    let pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    if let Some((_, key)) = pairs.into_iter().find(|(name, _)| name == "key") {
        return Some(key.into_owned());
    }
    let decoded = STANDARD.decode(text("authorization")?.strip_prefix("Basic ")?).ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    decoded.split(':').next().map(str::to_owned)
}

fn success(data: &Value) -> Response {
    Json(json!({"meta": {"status": "success"}, "data": data})).into_response()
}

fn fail(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({"meta": {"status": "fail", "message": message}}))).into_response()
}

fn unknown(resource: &str, id: &str) -> Response {
    fail(StatusCode::NOT_FOUND, &format!("Unknown '{resource}' with 'id' {id}."))
}

fn refused(refusal: &Refusal, id: &str) -> Response {
    match refusal {
        refusal if *refusal == UNKNOWN => unknown("operator", id),
        Refusal { missing: true, field, .. } => fail(StatusCode::BAD_REQUEST, &format!("Field '{field}' is missing.")),
        Refusal { field, .. } => fail(StatusCode::BAD_REQUEST, &format!("Value of field '{field}' is not valid.")),
    }
}

async fn operators(
    State(iadvize): State<Arc<Iadvize>>,
    method: Method,
    Query(params): Params,
    Extension(received): Extension<Received>,
    withhold: Option<Extension<Withhold>>,
    body: Bytes,
) -> Response {
    match method {
        Method::GET => list(&iadvize, &params, withhold.map(|Extension(withhold)| withhold)),
        Method::POST => match fields(&body) {
            Ok(fields) => {
                let created = iadvize.create(&client(&received), fields);
                created.map_or_else(|refusal| refused(&refusal, ""), |operator| success(&operator.rest()))
            }
            Err(field) => fail(StatusCode::BAD_REQUEST, &format!("Value of field '{field}' is not valid.")),
        },
        _ => refusal(StatusCode::METHOD_NOT_ALLOWED),
    }
}

async fn operator(
    State(iadvize): State<Arc<Iadvize>>,
    method: Method,
    Path(id): Path<String>,
    Extension(received): Extension<Received>,
    body: Bytes,
) -> Response {
    let Some(number) = id.parse().ok() else { return unknown("operator", &id) };
    match method {
        Method::GET => match lock(&iadvize.directory).live(number) {
            Some(operator) => success(&operator.rest()),
            None => unknown("operator", &id),
        },
        Method::PUT => match fields(&body) {
            Ok(fields) => {
                let updated = iadvize.update(&client(&received), number, fields);
                updated.map_or_else(|refusal| refused(&refusal, &id), |operator| success(&operator.rest()))
            }
            Err(field) => fail(StatusCode::BAD_REQUEST, &format!("Value of field '{field}' is not valid.")),
        },
        Method::DELETE => match iadvize.remove(&client(&received), number) {
            Ok(_) => Json(json!({"meta": {"status": "success"}})).into_response(),
            Err(refusal) => refused(&refusal, &id),
        },
        _ => refusal(StatusCode::METHOD_NOT_ALLOWED),
    }
}

fn client(received: &Received) -> Caller {
    Caller { actor: Actor::Client, request: received.id.clone() }
}

/// A page of what the filters leave, latest id first.
fn list(iadvize: &Iadvize, params: &[(String, String)], withhold: Option<Withhold>) -> Response {
    let options = iadvize.options();
    let param = |name: &str| params.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let number = |name: &str| param(name).and_then(|text| text.parse::<usize>().ok()).filter(|number| *number > 0);
    let limit = number("limit").unwrap_or(DEFAULT_PAGE).min(options.max_page.min(100));
    let page = number("page").unwrap_or(1);
    let filters: Vec<(&str, &str)> = params
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix("filters[")?.strip_suffix(']')?, value.as_str())))
        .collect();
    let directory = lock(&iadvize.directory);
    let fits = |operator: &Operator| filters.iter().all(|(name, wanted)| has(operator, name, wanted));
    let found: Vec<_> =
        directory.all().rev().filter(|operator| operator.deleted_at.is_none() && fits(operator)).collect();
    let hidden = |operator: &Operator| withhold.is_some_and(|withhold| withhold.hides(&operator.id.to_string()));
    let count = match withhold {
        Some(withhold) if withhold.totals == Totals::Reduced => {
            found.iter().filter(|operator| !hidden(operator)).count()
        }
        _ => found.len(),
    };
    let shown = found.iter().skip((page - 1) * limit).take(limit).filter(|operator| !hidden(operator));
    let whole = param("full") == Some("1");
    let data: Vec<Value> = shown.map(|operator| entry(operator, whole, options.ids)).collect();
    Json(json!({
        "meta": {"status": "success"},
        "data": data,
        "pagination": {"page": page, "pages": count.div_ceil(limit).max(1), "limit": limit, "count": count},
    }))
    .into_response()
}

/// An entry of a list, whole or only the id.
fn entry(operator: &Operator, whole: bool, ids: Ids) -> Value {
    let mut entry = match operator.rest() {
        entry if whole => entry,
        entry => json!({"id": entry["id"], "_link": entry["_link"]}),
    };
    match ids {
        Ids::Number => {}
        Ids::Text => entry["id"] = json!(operator.id.to_string()),
        Ids::Object => entry = json!({"id": entry}),
    }
    entry
}

/// Whether an operator has what a filter asks for; `*` stands for any text.
fn has(operator: &Operator, filter: &str, wanted: &str) -> bool {
    let list = |field: &str| operator.ids(field).iter().any(|id| wanted.split(',').any(|one| one.parse() == Ok(*id)));
    match filter {
        "id" => operator.id.to_string() == wanted,
        "website_id" | "website_list" => list("website_list"),
        "skill_id" => list("skill_list"),
        "group_id" => operator.fields.get("group_id").and_then(Value::as_u64) == wanted.parse().ok(),
        "name" | "external_id" => like(operator.text(filter), wanted),
        "email" => like(&operator.text(filter).to_lowercase(), &wanted.to_lowercase()),
        _ => true,
    }
}

fn like(text: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

/// Presences of those who ever logged in; connected ones only, unless `connected=0`.
async fn presences(State(iadvize): State<Arc<Iadvize>>, Query(params): Params) -> Response {
    let all = params.iter().any(|(name, value)| name == "connected" && value == "0");
    let directory = lock(&iadvize.directory);
    let shown = directory.all().filter(|operator| {
        operator.deleted_at.is_none() && operator.logged_in_once && (all || operator.presence != Presence::Offline)
    });
    success(&shown.map(|operator| live(operator)).collect())
}

async fn presence(State(iadvize): State<Arc<Iadvize>>, method: Method, Path(id): Path<String>) -> Response {
    if method != Method::GET {
        return refusal(StatusCode::METHOD_NOT_ALLOWED);
    }
    let directory = lock(&iadvize.directory);
    let operator = id.parse().ok().and_then(|id| directory.live(id)).filter(|operator| operator.logged_in_once);
    operator.map_or_else(|| unknown("operator", &id), |operator| success(&live(operator)))
}

/// What is told of a presence: by our own contract, the vendor's names are not known.
fn live(operator: &Operator) -> Value {
    json!({"id": operator.id, "_link": format!("/operator/{}/live", operator.id),
        "connected": operator.presence != Presence::Offline})
}

async fn table(State(iadvize): State<Arc<Iadvize>>, Path(table): Path<String>, Query(params): Params) -> Response {
    let (kind, label) = match table.as_str() {
        "website" => ("websites", "label"),
        "group" => ("groups", "name"),
        "skill" => ("skills", "name"),
        _ => return refusal(StatusCode::NOT_FOUND),
    };
    let param = |name: &str| {
        let value = params.iter().find(|(known, _)| known == name).and_then(|(_, value)| value.parse::<usize>().ok());
        value.filter(|number| *number > 0)
    };
    let (page, limit) = (param("page").unwrap_or(1), param("limit").unwrap_or(DEFAULT_PAGE).min(100));
    let directory = lock(&iadvize.directory);
    let all: Vec<Value> = directory
        .table(kind)
        .map(|(id, name)| json!({"id": id, label: name, "_link": format!("/{table}/{id}")}))
        .collect();
    let data: Vec<&Value> = all.iter().skip((page - 1) * limit).take(limit).collect();
    Json(json!({
        "meta": {"status": "success"},
        "data": data,
        "pagination": {"page": page, "pages": all.len().div_ceil(limit).max(1), "limit": limit, "count": all.len()},
    }))
    .into_response()
}

/// What a body says of an operator, as a form or as JSON. An error is the name of a field of the wrong kind.
fn fields(body: &[u8]) -> Result<Map<String, Value>, &'static str> {
    let sent = match serde_json::from_slice(body) {
        Ok(Value::Object(fields)) => fields,
        _ => form::parse(body),
    };
    let mut fields = Map::new();
    for (name, value) in sent {
        match name.as_str() {
            // An empty text clears, by our own contract.
            "name" | "first_name" | "pseudo" | "email" | "external_id" | "language_admin" => {
                let text = value.as_str().ok_or("name")?;
                fields.insert(name, if text.is_empty() { Value::Null } else { json!(text) });
            }
            "role" => drop(fields.insert(name, value)),
            "roles" => {
                let role = value.as_array().and_then(|roles| roles.first()).cloned().ok_or("roles")?;
                fields.insert("role".into(), role);
            }
            "chat_enabled" | "call_enabled" | "video_enabled" | "chat_and_call" | "chat_to_video" => {
                fields.insert(name, json!(flag(&value).ok_or("chat_enabled")?));
            }
            "chat_priority" | "call_priority" | "video_priority" => {
                let priority = number(&value).filter(|number| matches!(number, 0 | 10)).ok_or("chat_priority")?;
                fields.insert(name, json!(priority == 10));
            }
            "chat_max_number" => drop(fields.insert(name, json!(number(&value)))),
            "group_id" => {
                let none = value.is_null() || value == "";
                fields.insert(name, if none { Value::Null } else { json!(number(&value).ok_or("group_id")?) });
            }
            "website_list" | "skill_list" => {
                let ids = value.as_array().into_iter().flatten().map(number);
                fields.insert(name, json!(ids.collect::<Option<Vec<_>>>().ok_or("website_list")?));
            }
            "language_list" => {
                let languages = value.as_array().cloned().unwrap_or_default();
                fields.insert(name, json!(languages));
            }
            "call_config" => fields.extend(call_config(&value)?),
            // `password` is taken and forgotten; what it does not know it passes over.
            _ => {}
        }
    }
    if fields.get("language_admin").is_some_and(|word| !["de", "en", "es", "fr"].iter().any(|known| word == known)) {
        return Err("language_admin");
    }
    Ok(fields)
}

fn call_config(value: &Value) -> Result<Map<String, Value>, &'static str> {
    let mut fields = Map::new();
    for (name, value) in value.as_object().ok_or("call_config")? {
        match name.as_str() {
            "type" => {
                let from = match value.as_str() {
                    Some("ANSWER_FROM_PHONE") => "PHONE",
                    Some("ANSWER_FROM_DESK") => "DESK",
                    _ => return Err("call_config"),
                };
                fields.insert("call_from".into(), json!(from));
            }
            "ask_phone_number_at_every_connection" => {
                fields.insert("call_ask".into(), json!(flag(value).ok_or("call_config")?));
            }
            "phone_number" => {
                let text = value.as_str().unwrap_or_default();
                fields.insert("call_number".into(), if text.is_empty() { Value::Null } else { json!(text) });
            }
            _ => return Err("call_config"),
        }
    }
    Ok(fields)
}

fn flag(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => Some(number.as_u64()? != 0),
        Value::String(text) => match text.as_str() {
            "1" | "true" => Some(true),
            "0" | "false" | "" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_asterisk_stands_for_any_text() {
        for (pattern, fits) in [
            ("Julien", true),
            ("*uli*", true),
            ("Jul*", true),
            ("*ien", true),
            ("*", true),
            ("J*l*n", true),
            ("uli", false),
            ("*ule*", false),
            ("", false),
        ] {
            assert_eq!(like("Julien", pattern), fits, "{pattern}");
        }
    }
}
