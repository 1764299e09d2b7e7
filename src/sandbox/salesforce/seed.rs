//! People as users and as contacts of the org.

use serde_json::{Map, Value, json};

use crate::sandbox::INTEGRATION_USERNAME;
use crate::sandbox::clock::iso_ms;
use crate::sandbox::people::Person;

const DAY: i64 = 86_400;

/// A third of a roster carries one and the same stamp, as after a mass update; the rest is spread over the ninety days
/// before `now` (seconds since 1970).
fn stamp(number: usize, now: i64) -> String {
    let spread = (number as i64).wrapping_mul(7919).rem_euclid(90 * DAY);
    let stamp = if number.is_multiple_of(3) { now - 30 * DAY } else { now - 60 - spread };
    iso_ms(stamp * 1000)
}

/// The fields of a person's user.
pub(super) fn user(person: &Person, number: usize, profile: &str, role: &str, now: i64) -> Map<String, Value> {
    let stamp = stamp(number, now);
    object(json!({
        "Username": person.user_name,
        "FirstName": person.given_name,
        "LastName": person.family_name,
        "Email": person.email,
        "Alias": person.alias,
        "CommunityNickname": person.nickname,
        "IsActive": person.active,
        "ProfileId": profile,
        "UserRoleId": if number.is_multiple_of(4) { Value::Null } else { json!(role) },
        "TimeZoneSidKey": person.time_zone,
        "LocaleSidKey": person.locale,
        "LanguageLocaleKey": person.language,
        "EmailEncodingKey": "UTF-8",
        "EmployeeNumber": person.employee_number,
        "Title": person.title,
        "Department": person.department,
        "Phone": person.phone,
        "MobilePhone": person.mobile,
        "City": person.city,
        "Country": person.country,
        "CreatedDate": iso_ms((now - 365 * DAY) * 1000),
        "LastModifiedDate": stamp,
        "SystemModstamp": stamp,
    }))
}

/// The fields of a person's contact. Those who left have opted out of mails.
pub(super) fn contact(person: &Person, number: usize, account: &str, now: i64) -> Map<String, Value> {
    let stamp = stamp(number, now);
    object(json!({
        "FirstName": person.given_name,
        "LastName": person.family_name,
        "Email": person.email,
        "Phone": person.phone,
        "MobilePhone": person.mobile,
        "Title": person.title,
        "Department": person.department,
        "AccountId": if number.is_multiple_of(5) { Value::Null } else { json!(account) },
        "MailingCity": person.city,
        "MailingCountry": person.country,
        "HasOptedOutOfEmail": !person.active,
        "CreatedDate": iso_ms((now - 365 * DAY) * 1000),
        "LastModifiedDate": stamp,
        "SystemModstamp": stamp,
    }))
}

/// The user as whom clients act. It is a robot, so that rosters of people leave it out.
pub(super) fn integration_user(profile: &str) -> Map<String, Value> {
    object(json!({
        "Username": INTEGRATION_USERNAME,
        "LastName": "Integration User",
        "Email": INTEGRATION_USERNAME,
        "Alias": "integr",
        "CommunityNickname": "integration",
        "ProfileId": profile,
        "TimeZoneSidKey": "GMT",
        "LocaleSidKey": "en_US",
        "LanguageLocaleKey": "en_US",
        "EmailEncodingKey": "UTF-8",
        "UserType": "AutomatedProcess",
    }))
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}
