//! What the sandbox asks of each system that it imitates. A new one is a folder beside this file, a word in [`System`],
//! and a line each where the sandbox starts
//! and in its help.

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Map, Value};

use super::clock::Clock;
use super::log::System;
use super::people::Person;

/// A system as its clients and a person at its screens meet it. Refusals of what a person does are told as text.
pub(super) trait Imitation: Send + Sync {
    /// Which one it is.
    fn system(&self) -> System;

    /// What it takes for the time.
    fn clock(&self) -> &Clock;

    /// Its API.
    fn router(self: Arc<Self>) -> Router;

    /// What a request asks for, in one word.
    fn operation(&self, method: &str, path: &str, body: &[u8]) -> &'static str;

    /// A refusal with a status, in its own shape.
    fn refusal(&self, status: StatusCode) -> Response;

    /// The session of a request has timed out just now: what answers it, unless the system finds that out by itself.
    fn expire_session(&self, _headers: &HeaderMap) -> Option<Response> {
        Some(self.refusal(StatusCode::UNAUTHORIZED))
    }

    /// Its kinds of record: the word for each in the administrator's paths, and the system's own. Accounts come first.
    fn objects(&self) -> &'static [(&'static str, &'static str)];

    /// Adds people, unlogged, as data that was there before. Their ids.
    fn seed(&self, people: &[Person]) -> Result<Vec<String>, String>;

    /// All records of one kind.
    fn records(&self, object: &str) -> Vec<Value>;

    /// One record.
    fn record(&self, object: &str, id: &str) -> Option<Value>;

    /// Creates a record; its id.
    fn create(&self, object: &str, fields: &Map<String, Value>) -> Result<String, String>;

    /// Edits a record; null clears.
    fn edit(&self, object: &str, id: &str, fields: &Map<String, Value>) -> Result<(), String>;

    /// Deletes a record.
    fn delete(&self, object: &str, id: &str) -> Result<(), String>;

    /// What makes an account one that cannot be used any more.
    fn deactivation(&self) -> (&'static str, Value);

    /// Changes its limits and switches; what is absent stays.
    ///
    /// # Errors
    /// If there is no such switch.
    fn configure(&self, settings: Value) -> Result<(), String>;

    /// How a client that knows this sandbox's address reaches it.
    fn introduction(&self, url: &str) -> Introduction;
}

/// A system as the sandbox presents it when it starts.
pub(super) struct Introduction {
    /// Its name and where it is.
    pub headline: String,
    /// Its part of `muster.toml`.
    pub configuration: String,
    /// The variables that this names, with what they hold by default.
    pub secrets: Vec<(&'static str, &'static str)>,
}

/// What a request for one record asks for.
pub(super) fn record_operation(method: &str) -> &'static str {
    match method {
        "GET" => "read",
        "POST" => "create",
        "PUT" => "replace",
        "PATCH" => "update",
        "DELETE" => "delete",
        _ => "other",
    }
}
