//! The attributes of an operator: their canonical names, where each stands in either API, and what values it takes.

use std::time::Duration;

use crate::domain::{AttributePath, Comparison};
use crate::systems::{AttributeSchema, Schema, ValueKind};

/// Longest time until a search finds what was just created. The vendor says nothing: our own guess.
const SEARCH_LAG: Duration = Duration::from_secs(5);

/// Longest text of a name, a pseudo or an address. The vendor says nothing: the width of a usual column.
const MAX_TEXT: usize = 255;

/// Most chats at once (R32). More than [`ADVISED_SLOTS`] are advised against.
pub const MAX_SLOTS: i64 = 6;
/// Most chats at once that the vendor advises.
pub const ADVISED_SLOTS: i64 = 4;

/// Which of the two APIs is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// GraphQL.
    Graphql,
    /// REST v2.
    Rest,
}

/// What an attribute refers to by id, and what it is called in our configuration and in letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Websites of REST, projects of GraphQL.
    Projects,
    /// Groups.
    Groups,
    /// Skills.
    Skills,
    /// Roles.
    Roles,
}

impl Table {
    /// The code of a refusal because a name is not in it.
    pub fn unknown(self) -> &'static str {
        match self {
            Self::Projects => "unknown_project",
            Self::Groups => "unknown_group",
            Self::Skills => "unknown_skill",
            Self::Roles => "unknown_role",
        }
    }
}

/// How a value is written in an API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As it is.
    Plain,
    /// A list of texts.
    Texts,
    /// Yes is 10 and no is 0.
    Priority,
    /// Our word, and the vendor's.
    Words(&'static [(&'static str, &'static str)]),
    /// The name of an entry, which is known by its id.
    Named(Table),
    /// The names of entries.
    AllNamed(Table),
    /// A role by its name, in a list of one.
    RoleWord,
}

/// How a clear travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clear {
    /// Not at all: refused with `cannot_clear`.
    Never,
    /// As null.
    Null,
    /// As an empty text. Not confirmed by the vendor.
    EmptyText,
    /// As an empty list.
    EmptyList,
}

/// Where an attribute stands in an API.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// JSON pointer into what is read.
    pub read: &'static str,
    /// JSON pointer into what is sent.
    pub write: &'static str,
    /// How the value is written.
    pub form: Form,
    /// How a clear travels.
    pub clear: Clear,
}

/// What values an attribute takes, beyond its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Any.
    Any,
    /// Not an empty text.
    Filled,
    /// 1 to [`MAX_SLOTS`] (R32).
    Slots,
    /// A code of two letters.
    Language,
    /// The name of a time zone, such as `Europe/Paris` (R41).
    TimeZone,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A number that begins with `+`.
    Phone,
    /// The https address of a PNG, JPG or GIF (R30).
    Avatar,
    /// At least one (R38).
    SomeOf,
}

/// One attribute that can be mapped.
#[derive(Debug)]
pub struct Attribute {
    /// Canonical name.
    pub canonical: &'static str,
    /// Kind of value.
    pub kind: ValueKind,
    /// What values it takes.
    pub rule: Rule,
    /// Its place in GraphQL, if it has one.
    pub graphql: Option<Place>,
    /// Its place in REST, if it has one.
    pub rest: Option<Place>,
}

const CALL_FROM: &[(&str, &str)] = &[("desk", "DESK"), ("phone", "CLICK_TO_CALL_NUMBER")];
const REST_CALL_FROM: &[(&str, &str)] = &[("desk", "ANSWER_FROM_DESK"), ("phone", "ANSWER_FROM_PHONE")];

const fn at(pointer: &'static str) -> Option<Place> {
    Some(Place { read: pointer, write: pointer, form: Form::Plain, clear: Clear::Never })
}

const fn formed(read: &'static str, write: &'static str, form: Form, clear: Clear) -> Option<Place> {
    Some(Place { read, write, form, clear })
}

const fn text(canonical: &'static str, rule: Rule, graphql: Option<Place>, rest: Option<Place>) -> Attribute {
    Attribute { canonical, kind: ValueKind::Text, rule, graphql, rest }
}

const fn flag(canonical: &'static str, graphql: &'static str, rest: Option<Place>) -> Attribute {
    Attribute { canonical, kind: ValueKind::Bool, rule: Rule::Any, graphql: at(graphql), rest }
}

const fn slots(canonical: &'static str, graphql: &'static str, rest: Option<Place>) -> Attribute {
    Attribute { canonical, kind: ValueKind::Int, rule: Rule::Slots, graphql: at(graphql), rest }
}

const fn set(canonical: &'static str, rule: Rule, graphql: Option<Place>, rest: Option<Place>) -> Attribute {
    Attribute { canonical, kind: ValueKind::Set, rule, graphql, rest }
}

const fn priority(pointer: &'static str) -> Option<Place> {
    formed(pointer, pointer, Form::Priority, Clear::Never)
}

/// The partner's id (R43).
pub const EXTERNAL_ID: &str = "externalId";

/// Every attribute that can be written. The SSO key is none of them, since it is never read (R5), nor a password, which is
/// the user's own (R21).
pub const ATTRIBUTES: &[Attribute] = &[
    Attribute { kind: ValueKind::Email, ..text("emails", Rule::Filled, at("/email"), at("/email")) },
    text("name.familyName", Rule::Filled, at("/lastName"), at("/name")),
    text(
        "name.givenName",
        Rule::Any,
        formed("/firstName", "/firstName", Form::Plain, Clear::Null),
        formed("/first_name", "/first_name", Form::Plain, Clear::EmptyText),
    ),
    // The pseudo, which visitors see and which may hide who somebody is (R29).
    text("nickName", Rule::Filled, at("/userName"), at("/pseudo")),
    text(
        "roles",
        Rule::Filled,
        formed("/role/name", "/roleId", Form::Named(Table::Roles), Clear::Never),
        formed("/roles", "/roles", Form::RoleWord, Clear::Never),
    ),
    text("preferredLanguage", Rule::Language, at("/countryPreferences/interfaceLanguage"), at("/language_admin")),
    text("timezone", Rule::TimeZone, at("/countryPreferences/timezone"), None),
    text("native.dateFormat", Rule::OneOf(&["DMY", "MDY", "YMD"]), at("/countryPreferences/dateFormat"), None),
    text("native.timeFormat", Rule::OneOf(&["CLASSIC", "MERIDIAN"]), at("/countryPreferences/timeFormat"), None),
    set(
        "native.languages",
        Rule::Language,
        formed("/countryPreferences/languages", "/countryPreferences/languages", Form::Texts, Clear::EmptyList),
        formed("/language_list", "/language_list", Form::Texts, Clear::EmptyList),
    ),
    set(
        "native.projects",
        Rule::SomeOf,
        formed("/projects", "/projectIds", Form::AllNamed(Table::Projects), Clear::Never),
        formed("/website_list", "/website_list", Form::AllNamed(Table::Projects), Clear::Never),
    ),
    set(
        "native.skills",
        Rule::Any,
        formed("/skills", "/skillIds", Form::AllNamed(Table::Skills), Clear::EmptyList),
        formed("/skill_list", "/skill_list", Form::AllNamed(Table::Skills), Clear::EmptyList),
    ),
    text(
        "native.group",
        Rule::Filled,
        formed("/group/name", "/groupId", Form::Named(Table::Groups), Clear::Never),
        formed("/group_id", "/group_id", Form::Named(Table::Groups), Clear::EmptyText),
    ),
    flag("native.chatEnabled", "/channels/chatConfiguration/isEnabled", at("/chat_enabled")),
    slots("native.chatSlots", "/channels/chatConfiguration/numberOfSlots", at("/chat_max_number")),
    flag("native.chatPriority", "/channels/chatConfiguration/hasPriorityOnChat", priority("/chat_priority")),
    flag("native.chatToVideo", "/channels/chatConfiguration/isAllowChatToVideo", at("/chat_to_video")),
    flag("native.chatAndCall", "/channels/chatConfiguration/isSimultaneousCallAllowed", at("/chat_and_call")),
    flag("native.callEnabled", "/channels/callConfiguration/isEnabled", at("/call_enabled")),
    flag("native.callPriority", "/channels/callConfiguration/hasPriorityOnCall", priority("/call_priority")),
    flag(
        "native.callAskNumber",
        "/channels/callConfiguration/isAlwaysAskForNumber",
        at("/call_config/ask_phone_number_at_every_connection"),
    ),
    text(
        "native.callFrom",
        Rule::OneOf(&["desk", "phone"]),
        formed(
            "/channels/callConfiguration/respondFrom",
            "/channels/callConfiguration/respondFrom",
            Form::Words(CALL_FROM),
            Clear::Never,
        ),
        formed("/call_config/type", "/call_config/type", Form::Words(REST_CALL_FROM), Clear::Never),
    ),
    text(
        "native.callNumber",
        Rule::Phone,
        at("/channels/callConfiguration/clickToCallPhoneNumber"),
        formed("/call_config/phone_number", "/call_config/phone_number", Form::Plain, Clear::EmptyText),
    ),
    flag("native.videoEnabled", "/channels/videoConfiguration/isEnabled", at("/video_enabled")),
    flag("native.videoPriority", "/channels/videoConfiguration/hasPriorityOnVideo", priority("/video_priority")),
    flag("native.thirdPartyEnabled", "/channels/thirdPartyConfiguration/isEnabled", None),
    slots("native.thirdPartySlots", "/channels/thirdPartyConfiguration/numberOfSlots", None),
    text("native.avatar", Rule::Avatar, at("/avatar"), None),
    text("native.samlId", Rule::Filled, at("/samlId"), None),
    text(EXTERNAL_ID, Rule::Filled, at("/externalId"), at("/external_id")),
];

/// A member of a block, and what it holds where nobody says.
pub type Member = (&'static str, &'static str);

/// Blocks of GraphQL that are sent whole, since the vendor requires most of their members, each with the JSON of what
/// stands in a new one. The values of an existing operator are sent as they are.
pub const GRAPHQL_BLOCKS: &[(&str, &[Member])] = &[
    (
        "/channels/chatConfiguration",
        &[
            ("hasPriorityOnChat", "false"),
            ("isAllowChatToVideo", "false"),
            ("isEnabled", "true"),
            ("isSimultaneousCallAllowed", "null"),
            ("numberOfSlots", "2"),
        ],
    ),
    (
        "/channels/callConfiguration",
        &[
            ("clickToCallPhoneNumber", "null"),
            ("hasPriorityOnCall", "false"),
            ("isAlwaysAskForNumber", "false"),
            ("isEnabled", "false"),
            ("respondFrom", "\"DESK\""),
        ],
    ),
    ("/channels/videoConfiguration", &[("hasPriorityOnVideo", "false"), ("isEnabled", "false")]),
    ("/channels/thirdPartyConfiguration", &[("isEnabled", "false"), ("numberOfSlots", "1")]),
    (
        "/countryPreferences",
        &[
            ("dateFormat", "null"),
            ("timeFormat", "null"),
            ("interfaceLanguage", "\"en\""),
            ("languages", "[]"),
            ("timezone", "null"),
        ],
    ),
];

/// The one block of REST: with `ANSWER_FROM_PHONE` one of the other two must be there.
pub const REST_BLOCKS: &[(&str, &[Member])] = &[(
    "/call_config",
    &[("type", "\"ANSWER_FROM_DESK\""), ("ask_phone_number_at_every_connection", "false"), ("phone_number", "null")],
)];

impl Attribute {
    /// Its canonical name.
    pub fn path(&self) -> AttributePath {
        self.canonical.parse().expect("the names of this table are paths")
    }

    /// Its place in an API; `None` if that does not have it.
    pub fn place(&self, wire: Wire) -> Option<&Place> {
        match wire {
            Wire::Graphql => self.graphql.as_ref(),
            Wire::Rest => self.rest.as_ref(),
        }
    }

    /// How the system compares it. It has no empty texts and no empty lists.
    pub fn comparison(&self) -> Comparison {
        let fold_case = self.kind == ValueKind::Email;
        Comparison { fold_case, trim: true, empty_is_clear: true }
    }
}

/// The attribute of this canonical name.
pub fn attribute(path: &AttributePath) -> Option<&'static Attribute> {
    ATTRIBUTES.iter().find(|attribute| attribute.canonical == path.as_str())
}

/// What is known of operators over an API. `filled` are attributes that new ones get from the configuration.
pub fn schema(wire: Wire, filled: &[&str], concurrency: usize) -> Schema {
    let required = |name: &str| matches!(name, "emails" | "name.familyName" | "nickName") && !filled.contains(&name);
    let known = ATTRIBUTES.iter().filter(|attribute| attribute.place(wire).is_some());
    let attributes = known.map(|attribute| AttributeSchema {
        path: attribute.path(),
        kind: attribute.kind,
        max_chars: matches!(attribute.kind, ValueKind::Text | ValueKind::Email).then_some(MAX_TEXT),
        required: required(attribute.canonical),
        writable: true,
        comparison: attribute.comparison(),
    });
    Schema {
        attributes: attributes.collect(),
        grain: Duration::from_secs(1),
        stamps: false,
        batch: 1,
        calls: concurrency.max(1),
        writable: true,
        readable: true,
        whole: false,
        shown_by: None,
        partner: EXTERNAL_ID.parse().ok(),
        incremental: false,
        parse_id: |text| parse_id(text)?.to_string().parse().ok(),
        search_lag: SEARCH_LAG,
    }
}

/// The number that iAdvize shows as Operator ID (R5).
pub fn parse_id(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R5: the Operator ID is a number; anything else is refused.
    #[test]
    fn operator_ids_are_numbers() {
        for (text, id) in
            [("335", Some(335)), (" 0335 ", Some(335)), ("3a", None), ("-3", None), ("+3", None), ("", None)]
        {
            assert_eq!(parse_id(text), id, "{text:?}");
        }
    }

    /// R5, R21: nothing that logs somebody in is an attribute.
    #[test]
    fn no_attribute_is_a_credential() {
        for attribute in ATTRIBUTES {
            for place in [attribute.graphql, attribute.rest].into_iter().flatten() {
                assert!(!["/sso_key", "/password"].contains(&place.read), "{}", attribute.canonical);
            }
        }
    }
}
