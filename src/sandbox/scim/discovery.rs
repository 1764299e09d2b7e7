//! What the service says of itself.

use serde_json::{Value, json};

use super::dialect::{Dialect, Quirk, has_versions};
use super::schema::{self, Type};

/// `/ServiceProviderConfig`.
pub(super) fn service_provider_config(dialect: &Dialect, base: &str, max_results: usize) -> Value {
    let mut config = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
        "documentationUri": "https://www.rfc-editor.org/rfc/rfc7644.html",
        "patch": {"supported": !dialect.contains(&Quirk::PatchUnsupported)},
        "bulk": {"supported": true, "maxOperations": super::bulk::MAX_OPERATIONS, "maxPayloadSize": super::bulk::MAX_PAYLOAD_BYTES},
        "filter": {"supported": !dialect.contains(&Quirk::FilterIgnored), "maxResults": max_results},
        "changePassword": {"supported": false},
        "sort": {"supported": true},
        "etag": {"supported": has_versions(dialect)},
        "authenticationSchemes": [{
            "type": "oauthbearertoken",
            "name": "OAuth Bearer Token",
            "description": "A token in the header Authorization",
            "specUri": "https://www.rfc-editor.org/rfc/rfc6750.html",
            "primary": true,
        }],
        "meta": {"resourceType": "ServiceProviderConfig", "location": format!("{base}/ServiceProviderConfig")},
    });
    if dialect.contains(&Quirk::CursorPaging) {
        config["pagination"] = json!({"cursor": true, "index": false, "defaultPaginationMethod": "cursor",
            "maxPageSize": max_results, "cursorTimeout": 3600});
    }
    config
}

/// `/ResourceTypes`, each.
pub(super) fn resource_types(base: &str) -> Vec<Value> {
    [Type::User, Type::Group]
        .into_iter()
        .map(|kind| {
            let mut json = json!({
                "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ResourceType"],
                "id": kind.name(),
                "name": kind.name(),
                "endpoint": kind.endpoint(),
                "description": format!("{} of the directory", kind.name()),
                "schema": kind.schema().id,
                "meta": {"resourceType": "ResourceType", "location": format!("{base}/ResourceTypes/{}", kind.name())},
            });
            if let Some(extension) = kind.extension() {
                json["schemaExtensions"] = json!([{"schema": extension.id, "required": false}]);
            }
            json
        })
        .collect()
}

/// `/Schemas`, each.
pub(super) fn schemas(base: &str) -> Vec<Value> {
    schema::all()
        .map(|mut schema| {
            let location = format!("{base}/Schemas/{}", schema["id"].as_str().unwrap_or_default());
            schema["meta"] = json!({"resourceType": "Schema", "location": location});
            schema
        })
        .collect()
}
