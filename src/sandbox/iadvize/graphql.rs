//! GraphQL: queries and mutations of users, answered by [`execute`] from the operators.

mod execute;
mod language;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Json, Router};
use serde::Deserialize;
use serde_json::{Map, Value, json};

pub(super) use execute::Schema;

use super::directory::{Directory, Refusal};
use super::operator::Operator;
use super::{Caller, DEFAULT_USERNAME, Iadvize, refusal};
use crate::sandbox::faults::Withhold;
use crate::sandbox::lock;
use crate::sandbox::log::Actor;
use crate::sandbox::serve::Received;
use execute::{Arguments, arguments, connection, cut};
use language::{Field, Operation, Selection, document};

/// Fields of `UserCreateInput` and `UserUpdateInput`, and what they are called here.
const PLAIN_INPUTS: &[(&str, &str)] = &[
    ("email", "email"),
    ("lastName", "name"),
    ("firstName", "first_name"),
    ("userName", "pseudo"),
    ("externalId", "external_id"),
    ("samlId", "saml_id"),
    ("avatar", "avatar"),
    ("groupId", "group_id"),
    ("skillIds", "skill_list"),
    ("projectIds", "website_list"),
];

/// The same of what is inside a block.
const BLOCK_INPUTS: &[(&str, &str, &str)] = &[
    ("/channels/chatConfiguration", "isEnabled", "chat_enabled"),
    ("/channels/chatConfiguration", "numberOfSlots", "chat_max_number"),
    ("/channels/chatConfiguration", "hasPriorityOnChat", "chat_priority"),
    ("/channels/chatConfiguration", "isAllowChatToVideo", "chat_to_video"),
    ("/channels/chatConfiguration", "isSimultaneousCallAllowed", "chat_and_call"),
    ("/channels/callConfiguration", "isEnabled", "call_enabled"),
    ("/channels/callConfiguration", "hasPriorityOnCall", "call_priority"),
    ("/channels/callConfiguration", "isAlwaysAskForNumber", "call_ask"),
    ("/channels/callConfiguration", "clickToCallPhoneNumber", "call_number"),
    ("/channels/videoConfiguration", "isEnabled", "video_enabled"),
    ("/channels/videoConfiguration", "hasPriorityOnVideo", "video_priority"),
    ("/channels/thirdPartyConfiguration", "isEnabled", "third_party_enabled"),
    ("/channels/thirdPartyConfiguration", "numberOfSlots", "third_party_slots"),
    ("/countryPreferences", "interfaceLanguage", "language_admin"),
    ("/countryPreferences", "languages", "language_list"),
    ("/countryPreferences", "timezone", "timezone"),
    ("/countryPreferences", "dateFormat", "date_format"),
    ("/countryPreferences", "timeFormat", "time_format"),
];

#[derive(Deserialize)]
struct Asked {
    query: String,
    variables: Option<Map<String, Value>>,
    #[serde(rename = "operationName")]
    operation_name: Option<String>,
}

pub(super) fn routes() -> Router<Arc<Iadvize>> {
    Router::new().route("/graphql", post(answer))
}

async fn answer(
    State(iadvize): State<Arc<Iadvize>>,
    headers: HeaderMap,
    Extension(received): Extension<Received>,
    withhold: Option<Extension<Withhold>>,
    body: Bytes,
) -> Response {
    if !iadvize.is_authenticated(&headers) {
        return refusal(StatusCode::UNAUTHORIZED);
    }
    let Ok(asked) = serde_json::from_slice::<Asked>(&body) else {
        return refusal(StatusCode::BAD_REQUEST);
    };
    let caller = Caller { actor: Actor::Client, request: received.id };
    let withhold = withhold.map(|Extension(withhold)| withhold);
    match iadvize.execute(&asked, &caller, withhold) {
        Ok(data) => Json(json!({"data": data})).into_response(),
        Err(message) => Json(json!({"errors": [{"message": message}]})).into_response(),
    }
}

impl Iadvize {
    fn execute(&self, asked: &Asked, caller: &Caller, withhold: Option<Withhold>) -> Result<Value, String> {
        let document = document(&asked.query)?;
        let chosen = |operation: &&Operation| asked.operation_name.is_none() || operation.name == asked.operation_name;
        let operation = document.operations.iter().find(chosen).ok_or("Must provide an operation.")?;
        let none = Map::new();
        let variables = asked.variables.as_ref().unwrap_or(&none);
        self.schema.check(&document, operation, variables)?;
        let root = if operation.is_mutation { "Mutation" } else { "Query" };
        let mut held = Map::new();
        held.insert("__typename".into(), json!(root));
        for selected in &operation.selection {
            let Selection::Field(field) = selected else { continue };
            if field.name != "__typename" {
                let value = self.resolve(field, &arguments(field, variables), caller, withhold)?;
                held.insert(field.name.clone(), value);
            }
        }
        Ok(self.schema.project(&document, &operation.selection, root, &Value::Object(held), variables))
    }

    fn resolve(
        &self,
        field: &Field,
        arguments: &Arguments,
        caller: &Caller,
        withhold: Option<Withhold>,
    ) -> Result<Value, String> {
        let shown = |operator: &Operator| self.shown(operator);
        Ok(match field.name.as_str() {
            "user" => {
                let id = arguments.get("userId").and_then(Value::as_u64).unwrap_or_default();
                let operator = lock(&self.directory).any(id).cloned();
                operator.map_or(Value::Null, |operator| shown(&operator))
            }
            "users" => self.users(arguments, withhold),
            "roles" => lock(&self.directory).roles().collect(),
            "projects" => nodes(&lock(&self.directory), "websites", "Project"),
            "userGroups" => nodes(&lock(&self.directory), "groups", "UserGroup"),
            "skills" => nodes(&lock(&self.directory), "skills", "Skill"),
            mutation => {
                if !self.may_administer() {
                    return Err("Forbidden: the user may not administer users".into());
                }
                let input = arguments.get("input").cloned().unwrap_or_default();
                let written = match mutation {
                    "userCreate" => self.fields(&input, true).and_then(|fields| self.create(caller, fields)),
                    "userUpdate" => {
                        let id = input["userId"].as_u64().unwrap_or_default();
                        self.fields(&input, false).and_then(|fields| self.update(caller, id, fields))
                    }
                    _ => self.remove(caller, input["userId"].as_u64().unwrap_or_default()),
                };
                match written {
                    Ok(operator) => json!({"user": shown(&operator), "userErrors": []}),
                    Err(refused) => json!({"user": null, "userErrors": [user_error(&refused)]}),
                }
            }
        })
    }

    fn shown(&self, operator: &Operator) -> Value {
        let mut shown = operator.graphql(&lock(&self.directory));
        if !self.options().presence {
            shown["presence"] = Value::Null;
        }
        shown
    }

    /// Whether the one whose password it is may change other users.
    fn may_administer(&self) -> bool {
        let directory = lock(&self.directory);
        let own = directory.all().find(|operator| operator.text("email") == DEFAULT_USERNAME);
        own.is_some_and(|own| own.text("role") != "operator")
    }

    fn users(&self, arguments: &Arguments, withhold: Option<Withhold>) -> Value {
        let filters = arguments.get("filters").cloned().unwrap_or_default();
        let fits = |operator: &Operator| {
            let text = |filter: &str, field: &str, fold: bool| {
                filters[filter].as_str().is_none_or(|wanted| {
                    let held = operator.text(field);
                    if fold { held.eq_ignore_ascii_case(wanted) } else { held == wanted }
                })
            };
            let deleted = filters["isDeleted"].as_bool();
            text("email", "email", true)
                && text("externalId", "external_id", false)
                && deleted.is_none_or(|wanted| wanted == operator.deleted_at.is_some())
        };
        let directory = lock(&self.directory);
        let hidden = |operator: &Operator| withhold.is_some_and(|withhold| withhold.hides(&operator.id.to_string()));
        let found: Vec<_> = directory.all().filter(|operator| fits(operator) && !hidden(operator)).collect();
        let cut = cut(found.len(), arguments, self.options().max_page);
        let page: Vec<Value> = found[cut.start..cut.end].iter().map(|operator| operator.graphql(&directory)).collect();
        connection(&page, cut, found.len())
    }

    /// What an input says of an operator.
    fn fields(&self, input: &Value, creating: bool) -> Result<Map<String, Value>, Refusal> {
        let refuse = |kind, field| Err(Refusal { kind, field, missing: false });
        let mut fields = Map::new();
        for (name, own) in PLAIN_INPUTS {
            match input.get(*name) {
                // Null changes nothing, but in a first name.
                None => {}
                Some(Value::Null) if *name != "firstName" => {}
                Some(Value::String(text)) if text.is_empty() => match *name {
                    "firstName" => return refuse("FirstNameIsEmptyError", "first_name"),
                    "externalId" => return refuse("ExternalIdIsEmptyError", "external_id"),
                    "samlId" => return refuse("SAMLUserIdIsEmptyError", "saml_id"),
                    _ => drop(fields.insert((*own).to_owned(), json!(""))),
                },
                Some(value) => drop(fields.insert((*own).to_owned(), value.clone())),
            }
        }
        for (block, name, own) in BLOCK_INPUTS {
            if let Some(value) = input.pointer(block).and_then(|block| block.get(name)).filter(|value| !value.is_null())
            {
                fields.insert((*own).to_owned(), value.clone());
            }
        }
        if let Some(from) = input.pointer("/channels/callConfiguration/respondFrom").and_then(Value::as_str) {
            let from = if from == "DESK" { "DESK" } else { "PHONE" };
            fields.insert("call_from".into(), json!(from));
        }
        if let Some(role) = input.get("roleId").and_then(Value::as_str) {
            let directory = lock(&self.directory);
            let Some(name) = directory.role_name(role) else { return refuse("InvalidRoleIdError", "role") };
            fields.insert("role".into(), json!(name));
        }
        if let Some(password) = input.get("password").and_then(Value::as_str) {
            if password.chars().count() < 16 {
                return refuse("PasswordTooWeakError", "password");
            }
            if creating && fields.contains_key("saml_id") {
                return refuse("SAMLUserIdAlreadyUsedError", "saml_id");
            }
        }
        Ok(fields)
    }
}

/// All entries of a table, as the nodes of a connection.
fn nodes(directory: &Directory, table: &str, typename: &str) -> Value {
    let entries = directory.table(table);
    entries.map(|(id, name)| json!({"__typename": typename, "id": id, "name": name})).collect()
}

fn user_error(refused: &Refusal) -> Value {
    json!({"__typename": refused.kind, "message": format!("{} was refused", refused.field)})
}
