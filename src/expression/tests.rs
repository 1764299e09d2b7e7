use super::*;
use crate::domain::mapping::Formula as _;
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

fn person() -> Snapshot {
    let skills = Value::Set(["chat".to_owned(), "call".to_owned()].into());
    snapshot(&[
        ("name.givenName", Some("Éloïse".into())),
        ("name.familyName", Some("Byron".into())),
        ("title", None),
        ("nickName", Some("".into())),
        ("emails", Some("Ada@X.example".into())),
        ("native.Level", Some(Value::Int(3))),
        ("native.Sync__c", Some(true.into())),
        ("native.skills", Some(skills)),
    ])
}

/// What an expression comes to on one account: the value, or the error with its place.
fn made(text: &str) -> String {
    let computed = match Computed::parse(text, Side::A) {
        Ok(computed) => computed,
        Err(ExpressionError { problem, at }) => return format!("REFUSED at {at:?}: {problem}"),
    };
    let person = person();
    let inputs: Option<Vec<_>> =
        computed.reads().iter().map(|path| crate::domain::rules::shown(&person, path)).collect();
    match inputs.map(|inputs| computed.compute(&inputs)) {
        None => "unknown".to_owned(),
        Some(Ok(value)) => serde_json::to_string(&value).unwrap(),
        Some(Err(flaw)) => format!("ERROR at {:?}: {flaw}", flaw.at),
    }
}

/// What the language does, on one account, as far as anybody may rely on it. A new release of the crate that changes a line
/// of this changes what somebody's configuration means.
#[test]
fn the_language_stays_as_it_is() {
    let expressions = include_str!("expressions.txt").lines().filter(|line| !line.is_empty());
    let pinned: Vec<String> = expressions
        .map(|line| if line.starts_with('#') { format!("\n{line}") } else { format!("{line}\n    {}", made(line)) })
        .collect();
    insta::assert_snapshot!("language", pinned.join("\n"));
}

/// What is too much is refused or fails, before it takes long.
#[test]
fn limits_are_kept() {
    let long = format!("a.title == '{}'", "x".repeat(MAX_BYTES));
    assert!(made(&long).contains("longer than 4096 bytes"));
    assert!(made(&format!("{}a.title{}", "[".repeat(60), "]".repeat(60))).contains("nested more than 40 deep"));
    let computed = Computed::parse("a.title + a.title", Side::A).unwrap();
    let compute = |bytes: usize| computed.compute(&[Some(Value::Text("x".repeat(bytes)))]);
    assert!(compute(MAX_INPUT_BYTES).is_ok());
    assert!(compute(MAX_INPUT_BYTES + 1).unwrap_err().what.contains("more than 4096 bytes"));
    let squared = Computed::parse("a.title.split('').map(c, a.title).join('')", Side::A).unwrap();
    let error = squared.compute(&[Some(Value::Text("x".repeat(MAX_INPUT_BYTES)))]).unwrap_err();
    assert!(error.what.contains("more than 64 KiB"), "{error}");
}

/// What could fill the memory is refused as it is written: an evaluation cannot be interrupted.
#[test]
fn what_grows_and_grows_is_refused() {
    for text in [
        "a.title.replace('', a.title).replace('', a.title)",
        "a.title.split('').map(c, a.title).join('').split('').map(c, a.title).join('')",
        "a.title.split('').map(c, a.title.replace('', a.title)).join('')",
        "[1, 2].map(x, a.title.replace('', a.title)).map(y, a.title + y.replace('', a.title)).join('')",
        "'%s%s%s%s'.format(['%s%s%s%s%s'.format([a.title.replace('', a.title)])])",
    ] {
        let refused = made(text);
        assert!(
            refused.contains("could make more than 32 MiB") || refused.contains("could go round"),
            "{text}: {refused}"
        );
    }
    for text in [
        "a.title.replace('ä', 'ae').replace('ö', 'oe').replace('ü', 'ue').replace('ß', 'ss').replace('é', 'e')",
        "a.native.skills.filter(s, s != '').map(s, s.trim().upper()).filter(s, s.size() < 9).join(', ')",
        "[a.name.givenName, a.name.familyName].filter(n, n != null).join(' ').split(' ').map(w, w.substring(0, 1)).join('')",
        "'%s, %s'.format([a.name.familyName, a.name.givenName])",
    ] {
        assert!(!made(text).contains("REFUSED"), "{text}: {}", made(text));
    }
}

/// What is made of another kind than the attribute takes has no form there: a check on one account may not have met it.
#[test]
fn another_kind_than_the_target_takes_is_a_flaw() {
    let computed = Computed::parse("a.title == 'Chief' ? 5 : 'x'", Side::A).unwrap();
    let inputs = |title: &str| [Some(Value::from(title))];
    let of = |kind: ValueKind, title: &str| computed.clone().making(kind).compute(&inputs(title));
    assert_eq!(of(ValueKind::Text, "Clerk"), Ok(Some("x".into())));
    let flaw = of(ValueKind::Text, "Chief").unwrap_err();
    assert_eq!((flaw.code, flaw.what.as_str()), (Flaw::FAILED, "makes a whole number, and what it is for is a text"));
    assert_eq!(of(ValueKind::Int, "Chief"), Ok(Some(Value::Int(5))));
    assert!(of(ValueKind::Int, "Clerk").is_err());
}

/// An error never quotes what the account holds.
#[test]
fn no_error_quotes_a_value() {
    for text in [
        "a.emails + 1",
        "int(a.emails)",
        "a.emails[0]",
        "a.native.skills[7]",
        "a.emails.matches(a.name.familyName + '(')",
        "{a.emails: 1}[a.name.familyName]",
        "a.emails < 1",
        "a.emails.substring(99)",
        "a.emails ? 1 : 2",
        "!a.emails",
        "{a.emails: 1, a.emails: 2}",
        "a.native.Level / 0",
        "9223372036854775807 + a.native.Level",
    ] {
        let error = made(text);
        assert!(error.starts_with("ERROR"), "{text}: {error}");
        assert!(!["Ada", "example", "Byron", "chat"].iter().any(|value| error.contains(value)), "{text}: {error}");
    }
}
