//! `/_admin`: [`Admin`] over HTTP.

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Admin, help};
use crate::sandbox::faults::Fault;
use crate::sandbox::log::System;
use crate::sandbox::people::{Emails, generate_with};
use crate::sandbox::scim::{Dialect, Preset};

pub(in crate::sandbox) fn router(admin: Admin) -> Router {
    let api = Router::new()
        .route("/", get(|| async { help() }))
        .route("/writes", get(writes))
        .route("/requests", get(requests))
        .route("/log", delete(clear_log))
        .route("/accounts", get(accounts))
        .route("/accounts/{system}/{id}", get(account))
        .route("/faults", get(faults).post(inject).delete(end_faults))
        .route("/faults/{id}", delete(end_fault))
        .route("/release", post(release))
        .route("/seed", post(seed))
        .route("/clock", post(clock))
        .route("/{system}/settings", post(configure))
        .route("/salesforce/expire-sessions", post(expire_sessions))
        .route("/salesforce/drop-cursors", post(drop_cursors))
        .route("/scim/dialect", put(dialect))
        .route("/{system}/{object}", post(create))
        .route("/{system}/{object}/{id}", post(edit).delete(remove))
        .route("/{system}/{object}/{id}/deactivate", post(deactivate))
        .route("/salesforce/{object}/{id}/undelete", post(undelete))
        .route("/salesforce/{object}/{id}/merge", post(merge))
        .with_state(admin);
    Router::new().nest("/_admin", api)
}

/// A refusal, as 400 with the reason.
struct Refused(String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (StatusCode::BAD_REQUEST, Json(json!({"error": self.0}))).into_response()
    }
}

impl From<String> for Refused {
    fn from(reason: String) -> Self {
        Self(reason)
    }
}

type Answer = Result<Json<Value>, Refused>;

#[derive(Deserialize)]
struct After {
    #[serde(default)]
    after: u64,
}

async fn writes(State(admin): State<Admin>, Query(After { after }): Query<After>) -> Json<Value> {
    Json(json!(admin.writes(after)))
}

async fn requests(State(admin): State<Admin>) -> Json<Value> {
    let counts: Vec<Value> = admin
        .request_counts()
        .into_iter()
        .map(|((system, operation, status), count)| json!({"system": system, "operation": operation, "status": status, "count": count}))
        .collect();
    Json(json!({"counts": counts, "latest": admin.requests(), "held": admin.held()}))
}

async fn clear_log(State(admin): State<Admin>) -> Json<Value> {
    admin.clear_log();
    Json(json!({}))
}

#[derive(Deserialize)]
struct Which {
    system: System,
    object: Option<String>,
}

async fn accounts(State(admin): State<Admin>, Query(Which { system, object }): Query<Which>) -> Json<Value> {
    Json(json!(admin.records(system, object.as_deref().unwrap_or(admin.account_object(system)))))
}

async fn account(State(admin): State<Admin>, Path((system, id)): Path<(System, String)>) -> Answer {
    admin.account(system, &id).map(Json).ok_or_else(|| Refused("there is no such account".into()))
}

async fn faults(State(admin): State<Admin>) -> Json<Value> {
    let faults =
        admin.faults().into_iter().map(|(id, fault, struck)| json!({"id": id, "fault": fault, "struck": struck}));
    Json(faults.collect())
}

async fn inject(State(admin): State<Admin>, Json(fault): Json<Fault>) -> Json<Value> {
    Json(json!({"id": admin.inject(fault)}))
}

async fn end_faults(State(admin): State<Admin>) -> Json<Value> {
    admin.end_faults();
    Json(json!({}))
}

async fn end_fault(State(admin): State<Admin>, Path(id): Path<u64>) -> Answer {
    if admin.end_fault(id) { Ok(Json(json!({}))) } else { Err(Refused("there is no such fault".into())) }
}

async fn release(State(admin): State<Admin>) -> Json<Value> {
    let held = admin.held();
    admin.release();
    Json(json!({"released": held}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Seed {
    system: System,
    #[serde(default)]
    users: usize,
    #[serde(default)]
    contacts: usize,
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    missing_emails: bool,
}

async fn seed(State(admin): State<Admin>, Json(seed): Json<Seed>) -> Answer {
    let emails = if seed.missing_emails { Emails::SomeMissing } else { Emails::Complete };
    let mut ids = admin.seed_people(seed.system, &generate_with(seed.users, seed.seed, emails))?;
    if seed.contacts > 0 && seed.system != System::Salesforce {
        return Err(Refused("only Salesforce has contacts".into()));
    }
    ids.extend(admin.seed_contacts(&generate_with(seed.contacts, seed.seed, emails))?);
    Ok(Json(json!({"ids": ids})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockOffset {
    system: System,
    offset_ms: i64,
}

async fn clock(State(admin): State<Admin>, Json(offset): Json<ClockOffset>) -> Json<Value> {
    admin.set_clock(offset.system, offset.offset_ms);
    Json(json!({}))
}

async fn configure(State(admin): State<Admin>, Path(system): Path<System>, Json(settings): Json<Value>) -> Answer {
    admin.configure(system, settings)?;
    Ok(Json(json!({})))
}

async fn expire_sessions(State(admin): State<Admin>) -> Json<Value> {
    Json(json!({"expired": admin.expire_sessions()}))
}

async fn drop_cursors(State(admin): State<Admin>) -> Json<Value> {
    Json(json!({"dropped": admin.drop_cursors()}))
}

/// Habits one by one, or those of servers of one kind.
#[derive(Deserialize)]
#[serde(untagged)]
enum Wanted {
    Habits(Dialect),
    Preset(Preset),
}

async fn dialect(State(admin): State<Admin>, Json(wanted): Json<Wanted>) -> Json<Value> {
    admin.set_dialect(match wanted {
        Wanted::Habits(dialect) => dialect,
        Wanted::Preset(preset) => preset.dialect(),
    });
    Json(json!({}))
}

async fn create(
    State(admin): State<Admin>,
    Path((system, object)): Path<(System, String)>,
    Json(fields): Json<Value>,
) -> Answer {
    let id = admin.create_record(system, admin.object(system, &object)?, &fields)?;
    Ok(Json(json!({"id": id})))
}

async fn edit(
    State(admin): State<Admin>,
    Path((system, object, id)): Path<(System, String, String)>,
    Json(fields): Json<Value>,
) -> Answer {
    admin.edit_record(system, admin.object(system, &object)?, &id, &fields)?;
    Ok(Json(json!({})))
}

async fn remove(State(admin): State<Admin>, Path((system, object, id)): Path<(System, String, String)>) -> Answer {
    admin.delete_record(system, admin.object(system, &object)?, &id)?;
    Ok(Json(json!({})))
}

async fn deactivate(State(admin): State<Admin>, Path((system, object, id)): Path<(System, String, String)>) -> Answer {
    if object != "users" {
        return Err(Refused("only users are deactivated".into()));
    }
    admin.deactivate(system, &id)?;
    Ok(Json(json!({})))
}

async fn undelete(State(admin): State<Admin>, Path((object, id)): Path<(String, String)>) -> Answer {
    admin.undelete(admin.object(System::Salesforce, &object)?, &id)?;
    Ok(Json(json!({})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Merge {
    loser: String,
}

async fn merge(
    State(admin): State<Admin>,
    Path((object, winner)): Path<(String, String)>,
    Json(Merge { loser }): Json<Merge>,
) -> Answer {
    admin.merge(admin.object(System::Salesforce, &object)?, &winner, &loser)?;
    Ok(Json(json!({})))
}
