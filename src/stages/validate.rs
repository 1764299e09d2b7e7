//! What a target would refuse is refused before the call, and the refusal names the rule (B22).

use crate::domain::pending::{Need, Pending};
use crate::domain::{Attributes, Code, Failure, FailureClass, Value};
use crate::systems::{AttributeSchema, Schema, ValueKind};

/// Checks values under the target's own names against its schema. The failure is permanent and names the attribute.
pub(crate) fn validate(wanted: &Pending, values: &Attributes, schema: &Schema) -> Result<(), Failure> {
    if matches!(wanted.need, Need::Find { .. } | Need::Part { .. }) {
        // No value is sent, or none that is not there already.
        return Ok(());
    }
    let creating = matches!(wanted.need, Need::Create { .. });
    for attribute in &schema.attributes {
        match values.get(&attribute.path) {
            Some(Some(value)) => check(attribute, value)?,
            Some(None) if attribute.required => {
                return Err(refuse(attribute, "required_missing", "must not be cleared"));
            }
            None if creating && attribute.required => {
                return Err(refuse(attribute, "required_missing", "is required to create an account and has no value"));
            }
            Some(None) | None => {}
        }
    }
    Ok(())
}

fn check(attribute: &AttributeSchema, value: &Value) -> Result<(), Failure> {
    let fits = matches!(
        (attribute.kind, value),
        (ValueKind::Text | ValueKind::Email, Value::Text(_))
            | (ValueKind::Bool, Value::Bool(_))
            | (ValueKind::Int, Value::Int(_))
            | (ValueKind::Set, Value::Set(_))
            | (ValueKind::Reference, Value::Reference { .. })
    );
    if !fits {
        return Err(refuse(attribute, "wrong_kind", "has a value of another kind than the target keeps"));
    }
    let Value::Text(text) = value else { return Ok(()) };
    if attribute.required && text.trim().is_empty() {
        return Err(refuse(attribute, "required_missing", "must not be empty"));
    }
    if let Some(limit) = attribute.max_chars
        && text.chars().count() > limit
    {
        return Err(refuse(attribute, "value_too_long", "is longer than the target allows"));
    }
    if attribute.kind == ValueKind::Email && !is_email(text.trim()) {
        return Err(refuse(attribute, "invalid_email", "is not a valid e-mail address"));
    }
    Ok(())
}

fn refuse(attribute: &AttributeSchema, code: &'static str, what: &str) -> Failure {
    let message = format!("attribute {} {what}", attribute.path);
    Failure::new(FailureClass::Permanent, Code::known(code), message).at(attribute.path.clone())
}

/// Whether a text has the form of an e-mail address, as far as it can be told without sending one: one `@`, something
/// without spaces before it, and a domain of at least one letter after it. Stricter rules refuse real addresses.
fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let plain = |part: &str| !part.is_empty() && !part.chars().any(|c| c.is_whitespace() || c.is_control());
    plain(local)
        && plain(domain)
        && !local.contains('@')
        && local.len() <= 64
        && domain.len() <= 253
        && domain.split('.').all(|label| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R18: a syntactically invalid e-mail address is refused before any call.
    #[test]
    fn email_addresses_are_checked_before_the_call() {
        for good in ["a@b", "o'neil+x@mail.example.org", "Ünïcode@例え.jp", "a@b.co"] {
            assert!(is_email(good), "{good}");
        }
        for bad in ["", "a", "@b", "a@", "a b@c.d", "a@b..c", "a@@b", "a@-b.c", "a@b-.c", "a@b c"] {
            assert!(!is_email(bad), "{bad}");
        }
    }
}
