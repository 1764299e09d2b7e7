//! Refusals in the shape of RFC 7644, section 3.12.

use axum::http::StatusCode;
use serde_json::{Value, json};

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ScimError {
    pub status: StatusCode,
    /// Such as `uniqueness`; most statuses have none.
    pub scim_type: Option<&'static str>,
    pub detail: String,
}

impl ScimError {
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, scim_type: None, detail: detail.into() }
    }

    /// A 400 with a type.
    pub fn bad(scim_type: &'static str, detail: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, scim_type: Some(scim_type), detail: detail.into() }
    }

    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("{what} not found"))
    }

    pub fn uniqueness(attribute: &str) -> Self {
        let detail = format!("one or more of the attribute values are already in use or reserved: {attribute}");
        Self { status: StatusCode::CONFLICT, scim_type: Some("uniqueness"), detail }
    }

    pub fn precondition() -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, "the resource has another version")
    }

    pub fn to_json(&self) -> Value {
        let mut body = json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
            "status": self.status.as_u16().to_string(),
            "detail": self.detail,
        });
        if let Some(scim_type) = self.scim_type {
            body["scimType"] = json!(scim_type);
        }
        body
    }
}
