use serde_json::json;

use super::*;

fn ada() -> Map<String, Value> {
    let ada = json!({
        "id": "Id-1", "userName": "Ada@x.example", "externalId": "E1", "title": "Agent \"007\"", "active": true,
        "name": {"givenName": "Ada", "familyName": "Lovelace"},
        "emails": [{"value": "ada@x.example", "type": "work", "primary": true}, {"value": "home@x.example", "type": "home"}],
        "meta": {"lastModified": "2026-01-01T10:00:00.000Z"},
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"department": "Support", "manager": {"value": "m1"}},
    });
    ada.as_object().unwrap().clone()
}

#[test]
fn filters_hold_as_the_rfc_says() {
    for (filter, expected) in [
        (r#"userName eq "ADA@X.EXAMPLE""#, true),
        (r#"USERNAME EQ "ada@x.example""#, true),
        (r#"urn:ietf:params:scim:schemas:core:2.0:User:userName sw "ada""#, true),
        (r#"externalId eq "e1""#, false),
        (r#"id eq "Id-1""#, true),
        (r#"id eq "id-1""#, false),
        (r#"title eq "agent \"007\"""#, true),
        (r#"title co "007""#, true),
        (r#"userName ew "example" and title sw "A""#, true),
        (r#"title pr"#, true),
        (r#"nickName pr"#, false),
        (r#"nickName eq null"#, true),
        (r#"nickName ne "x""#, true),
        (r#"active eq true"#, true),
        (r#"active ne true"#, false),
        (r#"not (active eq true)"#, false),
        (r#"nickName pr or title pr and active eq false"#, false),
        (r#"(nickName pr or title pr) and active eq true"#, true),
        (r#"name.familyName eq "lovelace""#, true),
        (r#"emails eq "home@x.example""#, true),
        (r#"emails.type eq "home" and emails.value eq "ada@x.example""#, true),
        (r#"emails[type eq "home" and value eq "ada@x.example"]"#, false),
        (r#"emails[type eq "work" and not (primary eq false)]"#, true),
        (r#"emails[type eq "work"].value eq "ada@x.example""#, true),
        (r#"emails[type eq "home"].value eq "ada@x.example""#, false),
        (r#"meta.lastModified gt "2026-01-01T09:59:59Z""#, true),
        (r#"meta.lastModified ge "2026-01-01T11:00:00+01:00""#, true),
        (r#"meta.lastModified lt "2026-01-01T10:00:00Z""#, false),
        (r#"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department eq "support""#, true),
        (r#"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value eq "m1""#, true),
    ] {
        let parsed = parse(filter, Type::User).unwrap_or_else(|error| panic!("{filter}: {}", error.detail));
        assert_eq!(parsed.holds(&ada()), expected, "{filter}");
    }
}

#[test]
fn what_is_no_filter_is_refused() {
    for filter in [
        "",
        "userName",
        "userName eq",
        "userName eq ada",
        "userName eq 'ada'",
        "userName like \"ada\"",
        "userName eq \"a\" xor title pr",
        "(userName pr",
        "userName pr)",
        "bogus eq \"x\"",
        "name.bogus eq \"x\"",
        "emails[type eq \"work\"",
        "active gt true",
        "active eq \"true\"",
        "meta.created gt \"yesterday\"",
        "not userName pr",
    ] {
        assert_eq!(parse(filter, Type::User).unwrap_err().scim_type, Some("invalidFilter"), "{filter}");
    }
}
