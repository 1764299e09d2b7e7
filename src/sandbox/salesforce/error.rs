//! Refusals in the shape of the REST API: an array of `{message, errorCode, fields}`.

use std::borrow::Cow;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::LAST_VERSION;

/// Why a call was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    pub status: StatusCode,
    pub code: Cow<'static, str>,
    pub message: String,
    /// `None` leaves the key out.
    pub fields: Option<Vec<String>>,
    /// What a duplicate rule found, as `duplicateResut`: real orgs spell it so.
    pub duplicates: Option<Box<Value>>,
}

impl ApiError {
    /// A 400 that names no field.
    pub fn bad(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code: code.into(),
            message: message.into(),
            fields: None,
            duplicates: None,
        }
    }

    /// A 400 about one field.
    pub fn field(code: impl Into<Cow<'static, str>>, message: impl Into<String>, field: &str) -> Self {
        Self { fields: Some(vec![field.to_owned()]), ..Self::bad(code, message) }
    }

    /// Any status.
    pub fn with(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, ..Self::bad(code, message) }
    }

    pub fn not_found() -> Self {
        Self::with(StatusCode::NOT_FOUND, "NOT_FOUND", "The requested resource does not exist")
    }

    pub fn deleted() -> Self {
        Self { fields: Some(Vec::new()), ..Self::with(StatusCode::NOT_FOUND, "ENTITY_IS_DELETED", "entity is deleted") }
    }

    pub fn session() -> Self {
        Self::with(StatusCode::UNAUTHORIZED, "INVALID_SESSION_ID", "Session expired or invalid")
    }

    pub fn request_limit() -> Self {
        Self::with(StatusCode::FORBIDDEN, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
    }

    pub fn method(method: &str, allowed: &str) -> Self {
        let message = format!("HTTP Method '{method}' not allowed. Allowed are {allowed}");
        Self::with(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", message)
    }

    pub fn precondition(status: StatusCode) -> Self {
        Self::with(status, "PRECONDITION_FAILED", "The record was changed since the given time")
    }

    /// A contact that looks like these others.
    pub fn duplicates(message: &str, allows_save: bool, same: &[String]) -> Self {
        let found: Vec<Value> = same
            .iter()
            .map(|id| {
                let url = format!("/services/data/v{LAST_VERSION}.0/sobjects/Contact/{id}");
                json!({"additionalInformation": [], "fieldDiffs": [], "matchConfidence": 100.0,
                    "record": {"attributes": {"type": "Contact", "url": url}, "Id": id}})
            })
            .collect();
        let result = json!({
            "allowSave": allows_save, "duplicateRule": "Standard_Contact_Duplicate_Rule", "duplicateRuleEntityType": "Contact",
            "errorMessage": message,
            "matchResults": [{"entityType": "Contact", "errors": [], "matchEngine": "ExactMatchEngine",
                "rule": "Standard_Contact_Match_Rule", "size": found.len(), "success": true, "matchRecords": found}],
        });
        Self { duplicates: Some(Box::new(result)), ..Self::bad("DUPLICATES_DETECTED", message) }
    }

    /// As an entry of a row's `errors` in an answer of Collections, which say `statusCode` where others say `errorCode`.
    pub fn as_status(&self) -> Value {
        let fields = self.fields.as_deref().unwrap_or_default();
        json!({"statusCode": self.code, "message": self.message, "fields": fields})
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if self.status == StatusCode::NOT_MODIFIED {
            return self.status.into_response();
        }
        let mut row = json!({"message": self.message, "errorCode": self.code});
        if let Some(fields) = self.fields {
            row["fields"] = json!(fields);
        }
        if let Some(duplicates) = self.duplicates {
            row["duplicateResut"] = *duplicates;
        }
        json_response(self.status, &json!([row]))
    }
}

/// JSON as Salesforce labels it.
pub(super) fn json_response(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json;charset=UTF-8")], body.to_string()).into_response()
}
