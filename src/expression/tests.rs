use super::*;
use crate::domain::{Attributes, Snapshot, Timestamp, Version};

fn snapshot(values: &[(&str, Option<Value>)]) -> Snapshot {
    let attributes: Attributes = values.iter().map(|(path, value)| (path.parse().unwrap(), value.clone())).collect();
    Snapshot {
        account: "u1".parse().unwrap(),
        version: Version { modified_at: None, read_at: Timestamp(0), tag: None },
        partner: None,
        attributes,
    }
}

fn fits(scope: &str, values: &[(&str, Option<Value>)]) -> Option<bool> {
    Scope::parse(scope).unwrap().fits(&snapshot(values))
}

const DEPARTMENT: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department";

#[test]
fn accounts_fit_or_do_not() {
    let ticked = [("native.Sync__c", Some(Value::Bool(true))), ("emails", Some("ada@x.example".into()))];
    assert_eq!(fits("a.native.Sync__c", &ticked), Some(true));
    assert_eq!(fits("!a.native.Sync__c", &ticked), Some(false));
    assert_eq!(fits("a.native.Sync__c && a.emails.endsWith('@x.example')", &ticked), Some(true));
    assert_eq!(fits("a.id == 'u1'", &[]), Some(true));
    let sales = [(DEPARTMENT, Some("Sales".into()))];
    assert_eq!(fits(&format!("b['{DEPARTMENT}'] in ['Sales', 'Support']"), &sales), Some(true));
    assert_eq!(
        fits("a.name.familyName.matches('^L.*e$')", &[("name.familyName", Some("Lovelace".into()))]),
        Some(true)
    );
    let skills = Value::Set(["chat".to_owned(), "call".to_owned()].into());
    assert_eq!(fits("a.native.skills.exists(s, s == 'call')", &[("native.skills", Some(skills))]), Some(true));
}

#[test]
fn what_cannot_be_told_is_not_guessed() {
    assert_eq!(fits("a.native.Sync__c", &[]), None, "not seen");
    assert_eq!(fits("a.native.Sync__c == true", &[("native.Sync__c", None)]), Some(false), "no value");
    assert_eq!(fits("a.native.Sync__c", &[("native.Sync__c", None)]), None, "null is no answer");
    assert_eq!(fits("a.emails.endsWith('x')", &[("emails", None)]), None, "it fails on null");
    assert_eq!(fits("a.emails != null && a.emails.endsWith('x')", &[("emails", None)]), Some(false));
}

#[test]
fn what_is_no_scope_says_why() {
    for (text, said) in [
        ("a.native.Sync__c ==", "cannot be read"),
        ("true", "reads not exactly one side"),
        ("a.active && b.active", "reads not exactly one side"),
        ("c.active", "c is neither"),
        ("a", "a is neither"),
        ("a.x.exists(p, a.y.exists(q, p == q))", "a loop within a loop"),
    ] {
        let error = Scope::parse(text).unwrap_err().to_string();
        assert!(error.contains(said), "{text}: {error}");
    }
    assert!(Scope::parse(&format!("a.x == '{}'", "x".repeat(MAX_BYTES))).is_err());
    for (before, after) in [("(", ")"), ("!", ""), ("[", "]"), ("a.x ? true : ", ""), ("a.x || ", ""), ("-", "")] {
        let times = MAX_BYTES / 2 / (before.len() + after.len()).max(2);
        let deep = format!("{}a.x{}", before.repeat(times), after.repeat(times));
        if let Ok(scope) = Scope::parse(&deep) {
            assert_eq!(scope.fits(&snapshot(&[("x", Some(Value::Bool(false)))])), Some(false), "{before}");
        }
    }
    let long = vec!["a.x == 'y'"; 30].join(" || ");
    assert_eq!(fits(&long, &[("x", Some("y".into()))]), Some(true));
}
