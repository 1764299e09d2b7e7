//! What values operators can have: checked before a call, and refused by name (B22).

use super::attributes::{ADVISED_SLOTS, Clear, MAX_SLOTS, Rule, Wire, attribute};
use crate::domain::{AttributePath, Attributes, Code, Failure, FailureClass, Value};

/// A refusal of a value before any call (B22). The text never shows the value.
pub fn refuse(path: &AttributePath, code: &'static str, what: &str) -> Failure {
    let text = format!("attribute {path} {what}");
    Failure::new(FailureClass::Permanent, Code::known(code), text).at(path.clone())
}

/// Checks values before a call: limits and vocabularies that need nothing from the system.
pub fn check(wire: Wire, values: &Attributes) -> Result<(), Failure> {
    for (path, value) in values {
        let Some((attribute, place)) = attribute(path).and_then(|known| Some((known, known.place(wire)?))) else {
            return Err(refuse(path, "unknown_attribute", "is none that this API of iAdvize has"));
        };
        match value {
            None if place.clear == Clear::Never => {
                return Err(refuse(path, "cannot_clear", "cannot be cleared over this API of iAdvize"));
            }
            None => {}
            Some(value) => obeys(attribute.rule, value).map_err(|(code, what)| refuse(path, code, what))?,
        }
    }
    Ok(())
}

/// Whether a value obeys a rule.
fn obeys(rule: Rule, value: &Value) -> Result<(), (&'static str, &'static str)> {
    let texts: Vec<&str> = match value {
        Value::Text(text) => vec![text],
        Value::Set(items) => items.iter().map(String::as_str).collect(),
        _ => Vec::new(),
    };
    let all = |fits: fn(&str) -> bool| texts.iter().all(|text| fits(text));
    match rule {
        Rule::Any => Ok(()),
        Rule::Filled if !all(|text| !text.trim().is_empty()) => Err(("required_missing", "must not be empty")),
        Rule::Slots => match value {
            Value::Int(slots) if *slots > MAX_SLOTS => Err(("too_many_slots", "is above the 6 that iAdvize allows")),
            Value::Int(slots) if *slots < 1 => Err(("too_few_slots", "is below 1: switch the channel off instead")),
            _ => Ok(()),
        },
        Rule::Language if !all(|text| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_lowercase())) => {
            Err(("invalid_language", "is no language code of two small letters (ISO 639-1)"))
        }
        Rule::TimeZone if !all(is_time_zone) => {
            Err(("invalid_time_zone", "is no name of a time zone, such as Europe/Paris"))
        }
        Rule::OneOf(words) if !texts.iter().all(|text| words.contains(text)) => {
            Err(("unknown_word", "is none of the words that iAdvize has for it"))
        }
        Rule::Phone if !all(|text| text.len() > 1 && text.starts_with('+')) => {
            Err(("invalid_phone_number", "does not begin with + and the code of a country"))
        }
        Rule::Avatar if !all(is_avatar) => Err(("invalid_avatar", "is not the https address of a PNG, JPG or GIF")),
        Rule::SomeOf if texts.is_empty() => Err(("required_missing", "names none, and one is needed")),
        _ => Ok(()),
    }
}

/// Whether a time zone has this name. Where the machine has no list of them, its form is all that is looked at.
fn is_time_zone(name: &str) -> bool {
    let formed = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_+-".contains(&byte));
    formed && (jiff::tz::db().is_definitively_empty() || jiff::tz::TimeZone::get(name).is_ok())
}

/// Whether an address may be that of an avatar (R30). One that does not say its format is left to the vendor; the size
/// is advice and not looked at.
fn is_avatar(text: &str) -> bool {
    let Ok(url) = url::Url::parse(text) else { return false };
    let file = url.path().rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let format = file.rsplit_once('.').map(|(_, format)| format);
    url.scheme() == "https" && format.is_none_or(|format| matches!(format, "png" | "jpg" | "jpeg" | "gif"))
}

/// Whether values give somebody more chats at once than the vendor advises (R32).
pub fn exceeds_advice(values: &Attributes) -> bool {
    let slots = |value: &Option<Value>| matches!(value, Some(Value::Int(slots)) if *slots > ADVISED_SLOTS);
    values
        .iter()
        .any(|(path, value)| attribute(path).is_some_and(|attribute| attribute.rule == Rule::Slots) && slots(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> AttributePath {
        text.parse().unwrap()
    }

    #[track_caller]
    fn refused(name: &str, value: Value, code: Option<&str>) {
        let values = Attributes::from([(path(name), Some(value))]);
        let result = check(Wire::Graphql, &values);
        assert_eq!(result.err().as_ref().map(|failure| failure.code.as_str().to_owned()).as_deref(), code, "{name}");
    }

    /// R30, R32, R34, R38, R40, R41, R42, B22: limits and vocabularies are checked before a call.
    #[test]
    fn values_are_checked_before_a_call() {
        let set = |items: &[&str]| Value::Set(items.iter().map(|item| (*item).to_owned()).collect());
        for (slots, code) in
            [(0, Some("too_few_slots")), (1, None), (4, None), (5, None), (6, None), (7, Some("too_many_slots"))]
        {
            refused("native.chatSlots", Value::Int(slots), code);
        }
        for (name, value, code) in [
            ("preferredLanguage", "fr".into(), None),
            ("preferredLanguage", "fr-FR".into(), Some("invalid_language")),
            ("native.languages", set(&["fr", "en"]), None),
            ("native.languages", set(&["fr", "English"]), Some("invalid_language")),
            ("timezone", "Europe/Paris".into(), None),
            ("timezone", "Paris time".into(), Some("invalid_time_zone")),
            ("native.dateFormat", "YMD".into(), None),
            ("native.dateFormat", "yyyy-mm-dd".into(), Some("unknown_word")),
            ("native.timeFormat", "MERIDIAN".into(), None),
            ("native.callFrom", "landline".into(), Some("unknown_word")),
            ("native.callNumber", "+33 1 23".into(), None),
            ("native.callNumber", "01 23".into(), Some("invalid_phone_number")),
            ("native.avatar", "https://x.example/a.PNG".into(), None),
            ("native.avatar", "https://x.example/a.jpg?size=60".into(), None),
            ("native.avatar", "https://x.example/a.webp".into(), Some("invalid_avatar")),
            ("native.avatar", "http://x.example/a.png".into(), Some("invalid_avatar")),
            ("native.projects", set(&[]), Some("required_missing")),
            ("nickName", " ".into(), Some("required_missing")),
            ("displayName", "x".into(), Some("unknown_attribute")),
        ] {
            refused(name, value, code);
        }
    }

    /// R32: more than four chats at once are allowed and remarked on.
    #[test]
    fn more_chats_than_advised_are_noticed() {
        for (slots, noticed) in [(4, false), (5, true)] {
            let values = Attributes::from([(path("native.chatSlots"), Some(Value::Int(slots)))]);
            assert_eq!(exceeds_advice(&values), noticed, "{slots}");
        }
    }

    /// B21: what can be cleared is cleared, and the rest refused by name.
    #[test]
    fn clears_are_carried_or_refused() {
        for (name, wire, code) in [
            ("name.givenName", Wire::Graphql, None),
            ("native.skills", Wire::Graphql, None),
            ("native.group", Wire::Graphql, Some("cannot_clear")),
            ("native.group", Wire::Rest, None),
            ("timezone", Wire::Graphql, Some("cannot_clear")),
            ("timezone", Wire::Rest, Some("unknown_attribute")),
        ] {
            let values = Attributes::from([(path(name), None)]);
            let code_found = check(wire, &values).err().map(|failure| failure.code.as_str().to_owned());
            assert_eq!(code_found.as_deref(), code, "{name} {wire:?}");
        }
    }
}
