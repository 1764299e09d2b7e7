//! One operator: what is kept of it, and how each API shows it.

use serde_json::{Map, Value, json};

use super::directory::Directory;
use crate::sandbox::clock::iso_ms;
use crate::sandbox::log::Contents;
use crate::sandbox::people::Person;

/// What REST calls its fields, in the order of the vendor's page. The rest of [`Operator::fields`] is GraphQL's alone.
const REST_FIELDS: &[&str] = &[
    "name",
    "first_name",
    "pseudo",
    "email",
    "external_id",
    "role",
    "chat_enabled",
    "call_enabled",
    "video_enabled",
    "chat_max_number",
    "chat_and_call",
    "chat_to_video",
    "language_list",
    "language_admin",
    "group_id",
    "website_list",
    "skill_list",
    "sso_key",
];

/// Whether somebody is at the conversation panel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Presence {
    /// Not logged in.
    #[default]
    Offline,
    /// Logged in.
    Online,
    /// Logged in and talking to a visitor.
    Conversation,
}

impl Presence {
    pub fn named(word: &str) -> Option<Self> {
        Some(match word {
            "offline" => Self::Offline,
            "online" => Self::Online,
            "conversation" => Self::Conversation,
            _ => return None,
        })
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Online => "online",
            Self::Conversation => "conversation",
        }
    }
}

/// An operator at one moment: never changed, only replaced.
#[derive(Debug, Clone)]
pub(super) struct Operator {
    pub id: u64,
    /// Its fields under the names of REST; what only GraphQL has is named alike: `avatar`, `saml_id`, `timezone`, ...
    pub fields: Map<String, Value>,
    pub presence: Presence,
    /// Whether it ever logged in: others never show in the list of presences.
    pub logged_in_once: bool,
    pub created_ms: i64,
    /// A deleted one stays readable by GraphQL.
    pub deleted_at: Option<String>,
}

impl Contents for Operator {
    /// All but the SSO key, which nobody should see.
    fn to_json(&self) -> Value {
        let mut fields = self.fields.clone();
        fields.remove("sso_key");
        fields.insert("id".into(), json!(self.id));
        fields.insert("presence".into(), json!(self.presence.word()));
        Value::Object(fields)
    }
}

impl Operator {
    pub fn text(&self, field: &str) -> &str {
        self.fields.get(field).and_then(Value::as_str).unwrap_or_default()
    }

    pub fn flag(&self, field: &str) -> bool {
        self.fields.get(field).and_then(Value::as_bool).unwrap_or_default()
    }

    pub fn ids(&self, field: &str) -> Vec<u64> {
        let list = self.fields.get(field).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(Value::as_u64).collect()
    }

    /// As REST shows it.
    pub fn rest(&self) -> Value {
        let mut shown = json!({"id": self.id, "_link": format!("/operator/{}", self.id)});
        for field in REST_FIELDS {
            shown[*field] = self.fields.get(*field).cloned().unwrap_or_default();
        }
        shown["roles"] = json!([self.text("role")]);
        for channel in ["chat", "call", "video"] {
            let priority = if self.flag(&format!("{channel}_priority")) { 10 } else { 0 };
            shown[format!("{channel}_priority")] = json!(priority);
        }
        let from = if self.text("call_from") == "PHONE" { "ANSWER_FROM_PHONE" } else { "ANSWER_FROM_DESK" };
        shown["call_config"] = json!({
            "type": from,
            "ask_phone_number_at_every_connection": self.flag("call_ask"),
            "phone_number": self.fields.get("call_number").cloned().unwrap_or_default(),
        });
        shown
    }

    /// As GraphQL shows it, whole.
    pub fn graphql(&self, directory: &Directory) -> Value {
        let field = |name: &str| self.fields.get(name).cloned().unwrap_or_default();
        let named = |kind: &str, typename: &str, id: u64| {
            let name = directory.name_of(kind, id).unwrap_or_default();
            json!({"__typename": typename, "id": id, "name": name})
        };
        let all = |kind: &str, list: &str, typename: &str| -> Vec<Value> {
            self.ids(list).into_iter().map(|id| named(kind, typename, id)).collect()
        };
        let group = self.fields.get("group_id").and_then(Value::as_u64);
        let from = if self.text("call_from") == "PHONE" { "CLICK_TO_CALL_NUMBER" } else { "DESK" };
        json!({
            "__typename": "Professional",
            "id": self.id,
            "email": field("email"), "lastName": field("name"), "firstName": field("first_name"),
            "userName": field("pseudo"), "externalId": field("external_id"), "avatar": field("avatar"),
            "samlId": field("saml_id"), "createdAt": iso_ms(self.created_ms),
            "isDeleted": self.deleted_at.is_some(), "deletedAt": self.deleted_at,
            "lastLoggedAt": if self.logged_in_once { json!(iso_ms(self.created_ms)) } else { Value::Null },
            "presence": {"__typename": "UserPresence", "isConnected": self.presence != Presence::Offline},
            "role": directory.role(self.text("role")),
            "group": group.map(|group| named("groups", "UserGroup", group)),
            "skills": all("skills", "skill_list", "Skill"),
            "projects": all("websites", "website_list", "Project"),
            "channels": {
                "__typename": "ChannelConfiguration",
                "chatConfiguration": {
                    "isEnabled": field("chat_enabled"), "numberOfSlots": field("chat_max_number"),
                    "hasPriorityOnChat": field("chat_priority"), "isAllowChatToVideo": field("chat_to_video"),
                    "isSimultaneousCallAllowed": field("chat_and_call"),
                },
                "callConfiguration": {
                    "isEnabled": field("call_enabled"), "hasPriorityOnCall": field("call_priority"),
                    "isAlwaysAskForNumber": field("call_ask"), "respondFrom": from,
                    "clickToCallPhoneNumber": field("call_number"),
                },
                "videoConfiguration": {
                    "isEnabled": field("video_enabled"), "hasPriorityOnVideo": field("video_priority"),
                },
                "thirdPartyConfiguration": {
                    "isEnabled": field("third_party_enabled"), "numberOfSlots": field("third_party_slots"),
                },
            },
            "countryPreferences": {
                "__typename": "CountryPreferences",
                "interfaceLanguage": field("language_admin"), "languages": field("language_list"),
                "timezone": field("timezone"), "dateFormat": field("date_format"), "timeFormat": field("time_format"),
            },
        })
    }
}

/// What a new operator has where nobody said.
pub(super) fn defaults() -> Map<String, Value> {
    let defaults = json!({
        "first_name": null, "external_id": null, "role": "operator", "chat_enabled": true, "chat_max_number": 2,
        "chat_priority": false, "chat_to_video": false, "chat_and_call": false, "call_enabled": false,
        "call_priority": false, "call_from": "DESK", "call_ask": false, "call_number": null, "video_enabled": false,
        "video_priority": false, "third_party_enabled": false, "third_party_slots": 1, "language_admin": "en",
        "language_list": [], "group_id": null, "website_list": [], "skill_list": [], "avatar": null, "saml_id": null,
        "timezone": null, "date_format": "DMY", "time_format": "CLASSIC",
    });
    match defaults {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// The fields of an operator who is this person.
pub(super) fn of_person(person: &Person) -> Map<String, Value> {
    let fields = json!({
        "name": person.family_name, "first_name": person.given_name, "pseudo": person.alias,
        "email": person.email.as_ref().unwrap_or(&person.user_name), "timezone": person.time_zone,
        "website_list": [1],
    });
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}
