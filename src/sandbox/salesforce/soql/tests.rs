use serde_json::{Map, Value, json};

use super::super::org::{Checks, Org};
use super::{compile, matches};

fn org() -> Org {
    let mut org = Org::new(&[], 1_000);
    let profile = org.first_id("Profile");
    for (name, email, title, active, stamp) in [
        ("ada@x.example", "Ada@X.example", json!("Agent"), true, "2026-01-01T10:00:00Z"),
        ("bob@x.example", "o'bob@x.example", Value::Null, true, "2026-01-01T10:00:00Z"),
        ("cy_d@x.example", "cy@x.example", json!("50% agent"), false, "2026-01-01T10:00:01Z"),
    ] {
        let fields = json!({"Username": name, "LastName": &name[..3], "Email": email, "Title": title, "IsActive": active,
            "ProfileId": profile, "SystemModstamp": stamp, "Alias": "x"});
        let Value::Object(fields) = fields else { unreachable!() };
        org.create("User", &fields, 1_000, Checks::Seed).unwrap();
    }
    org
}

#[track_caller]
fn check(condition: &str, expected: &str) {
    let org = org();
    let text = format!("SELECT Id FROM User WHERE UserType = 'Standard' {condition}");
    let plan = compile(&text, &org).unwrap_or_else(|error| panic!("{condition}: {}", error.message));
    let table = org.table("User").unwrap();
    let names: Vec<_> = matches(&plan, &org, false)
        .iter()
        .map(|serial| table.rows[serial].cell("Username").as_text().unwrap()[..1].to_owned())
        .collect();
    assert_eq!(names.join(""), expected, "{condition}");
}

#[test]
fn conditions_choose_rows() {
    for (condition, expected) in [
        ("AND Email = 'ADA@x.EXAMPLE'", "a"),
        ("AND Email != 'ada@x.example' ORDER BY Id", "bc"),
        ("AND Title = null", "b"),
        ("AND Title != null ORDER BY Username", "ac"),
        ("AND Title != 'agent' ORDER BY Username", "bc"),
        ("AND Email = 'o\\'bob@x.example'", "b"),
        ("AND Email IN ('cy@x.example', 'ada@x.example') ORDER BY Username DESC", "ca"),
        ("AND Email NOT IN ('cy@x.example', 'ada@x.example')", "b"),
        ("AND Title LIKE '%AGENT' ORDER BY Username", "ac"),
        ("AND Title LIKE '50\\%%'", "c"),
        ("AND Username LIKE 'cy\\_d@%'", "c"),
        ("AND Username LIKE '_y%'", "c"),
        ("AND IsActive = false", "c"),
        ("AND NOT IsActive = TRUE", "c"),
        ("AND (Title = null OR IsActive = false) ORDER BY Username", "bc"),
        ("AND SystemModstamp > 2026-01-01T10:00:00Z", "c"),
        ("AND SystemModstamp >= 2026-01-01T11:00:01+01:00", "c"),
        ("AND SystemModstamp >= 2026-01-01T10:00:00.500Z", "c"),
        ("AND SystemModstamp < 2026-01-01T10:00:01Z ORDER BY Username", "ab"),
        ("AND SystemModstamp >= 2026-01-01T10:00:00Z ORDER BY SystemModstamp, Id LIMIT 2", "ab"),
        ("AND SystemModstamp >= 2026-01-01T10:00:00Z ORDER BY SystemModstamp DESC, Id", "cab"),
        ("AND Profile.Name = 'system administrator' ORDER BY Username", "abc"),
        ("AND UserRole.Name = null ORDER BY Username", "abc"),
        ("ORDER BY Title, Username", "bca"),
        ("ORDER BY Title NULLS LAST", "cab"),
        ("ORDER BY Title DESC NULLS LAST", "acb"),
        ("ORDER BY Username LIMIT 1 OFFSET 1", "b"),
        ("AND User.LastName = 'ADA'", "a"),
    ] {
        check(condition, expected);
    }
}

#[test]
fn a_position_by_stamp_and_id_goes_on_where_it_ended() {
    let org = org();
    let table = org.table("User").unwrap();
    let ids: Vec<_> = table.stamps.iter().map(|(_, serial)| table.rows[serial].id()).collect();
    check(
        &format!(
            "AND ((SystemModstamp = 2026-01-01T10:00:00Z AND Id > '{}') OR SystemModstamp > 2026-01-01T10:00:00Z) \
             ORDER BY SystemModstamp, Id",
            ids[1]
        ),
        "bc",
    );
    check(&format!("AND Id IN ('{}', '{}')", &ids[1][..15], ids[3]), "ac");
}

#[test]
fn wrong_queries_are_refused_with_their_code() {
    let org = org();
    for (text, code) in [
        ("", "MALFORMED_QUERY"),
        ("SELECT Id FROM User WHERE", "MALFORMED_QUERY"),
        ("SELECT Id FROM User WHERE Email = 'a' AND Title = 'b' OR Title = 'c'", "MALFORMED_QUERY"),
        ("SELECT Id FROM User WHERE Email = 'a\\x'", "MALFORMED_QUERY"),
        ("SELECT Id FROM User WHERE Email = 'a", "MALFORMED_QUERY"),
        ("SELECT Id FROM User WHERE Email = \"a\"", "MALFORMED_QUERY"),
        ("SELECT Id, Bogus FROM User", "INVALID_FIELD"),
        ("SELECT Id, Id FROM User", "INVALID_FIELD"),
        ("SELECT Bogus.Name FROM User", "INVALID_FIELD"),
        ("SELECT Id FROM User WHERE SystemModstamp > '2026-01-01T10:00:00Z'", "INVALID_FIELD"),
        ("SELECT Id FROM User WHERE IsActive = 'true'", "INVALID_FIELD"),
        ("SELECT Id FROM User WHERE Title = 5", "INVALID_FIELD"),
        ("SELECT Id FROM Nothing", "INVALID_TYPE"),
        ("SELECT Id FROM User OFFSET 2001", "NUMBER_OUTSIDE_VALID_RANGE"),
    ] {
        assert_eq!(compile(text, &org).map(|_| ()).unwrap_err().code, code, "{text}");
    }
}

#[test]
fn rows_written_later_are_found_under_their_new_values() {
    let mut org = org();
    let id = org.table("User").unwrap().rows.values().nth(1).unwrap().id();
    let fields: Map<String, Value> = Map::from_iter([("Email".to_owned(), json!("new@x.example"))]);
    org.update("User", &id, &fields, 5_000_000_000, Checks::All).unwrap();
    for (text, expected) in [
        ("SELECT Id FROM User WHERE Email = 'ada@x.example'", 0),
        ("SELECT Id FROM User WHERE Email = 'NEW@x.example'", 1),
        ("SELECT Id FROM User WHERE SystemModstamp > 2100-01-01T00:00:00Z", 1),
    ] {
        assert_eq!(matches(&compile(text, &org).unwrap(), &org, false).len(), expected, "{text}");
    }
}
