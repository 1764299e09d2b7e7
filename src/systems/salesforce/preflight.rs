//! The check before the first run: the token, the API, each field, what is left of the quota, and the rights to write.

use serde_json::Value as Json;

use super::client::described_fields;
use super::errors::remedy;
use super::id::parse_id;
use super::{Object, Salesforce};
use crate::domain::{Failure, Value};
use crate::systems::{Finding, Rights};

/// Calls left below which a person should know, in percent of the day's.
const LOW_QUOTA_PERCENT: u64 = 10;

fn well(subject: impl Into<String>) -> Finding {
    Finding::well(subject)
}

fn wrong(subject: impl Into<String>, problem: impl Into<String>) -> Finding {
    Finding::wrong(subject, problem)
}

fn failed(subject: &str, failure: &Failure) -> Finding {
    let what = failure.to_string();
    Finding::failed(subject, failure, remedy(&failure.code).map_or(what.clone(), |remedy| format!("{what}. {remedy}")))
}

impl Salesforce {
    /// See [`System::preflight`](crate::systems::System::preflight).
    pub(super) async fn findings(&self) -> Vec<Finding> {
        if let Err(failure) = self.client.log_in().await {
            return vec![failed("token", &failure)];
        }
        let mut findings = vec![well("token")];
        match self.client.limits().await {
            Ok(limits) => findings.extend([well("API"), quota(&limits)]),
            Err(failure) => findings.push(failed("API", &failure)),
        }
        let object = self.object.name();
        match self.client.describe(object).await.map(|description| described_fields(&description)) {
            Ok(Some(visible)) => {
                findings.push(well(format!("object {object}")));
                findings.extend(self.fields.names().map(|name| match visible.contains(name) {
                    true => well(format!("field {object}.{name}")),
                    // What is not mapped can do without it; for the rest see `rights`.
                    false => Finding::advice(
                        format!("field {object}.{name}"),
                        format!(
                            "{object} has no plain field {name} that the run-as user can read: give read access to it"
                        ),
                    ),
                }));
            }
            Ok(None) => findings.push(wrong(format!("object {object}"), "its description lists no fields")),
            Err(failure) => findings.push(failed(&format!("object {object}"), &failure)),
        }
        findings
    }

    /// See [`System::prove_rights`](crate::systems::System::prove_rights).
    pub(super) async fn rights(&self, rights: &Rights) -> Vec<Finding> {
        let object = self.object.name();
        let description = match self.client.describe(object).await {
            Ok(description) => description,
            Err(failure) => return vec![failed(&format!("object {object}"), &failure)],
        };
        let flag = |json: &Json, key: &str| json.get(key).and_then(Json::as_bool) == Some(true);
        let mut findings = Vec::new();
        let mut needs = Vec::new();
        needs.extend((!rights.attributes.is_empty()).then_some(("updateable", "edit")));
        needs.extend(rights.creates.then_some(("createable", "create")));
        for (key, right) in &needs {
            let subject = format!("right to {right} {object} records");
            findings.push(match flag(&description, key) {
                true => well(subject),
                false => wrong(subject, format!("the run-as user may not {right} them: {}", self.how_to_grant())),
            });
        }
        let fields: Vec<&Json> = description.get("fields").and_then(Json::as_array).into_iter().flatten().collect();
        let text = |field: &Json, key: &str| field.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
        let described = |name: &str| fields.iter().find(|field| text(field, "name").eq_ignore_ascii_case(name));
        for name in rights.reads.iter().filter_map(|path| self.fields.native(path)) {
            if described(name).is_none() {
                let problem = "it is mapped, and the run-as user cannot read it: give read access to it";
                findings.push(wrong(format!("read access to {object}.{name}"), problem));
            }
        }
        if self.fields.names().any(|name| name.ends_with("__c")) {
            findings.push(well(format!(
                "page layout of {object}: no call shows it; where people are to fill in fields, put them on it by hand"
            )));
        }
        let written: Vec<&str> = rights.attributes.iter().filter_map(|path| self.fields.native(path)).collect();
        let partner = self.fields.partner().filter(|_| rights.creates);
        for name in written.iter().copied().chain(partner.filter(|name| !written.contains(name))) {
            let subject = format!("write access to {object}.{name}");
            let lacks = needs.iter().find(|(key, _)| described(name).is_none_or(|field| !flag(field, key)));
            findings.push(match lacks {
                None => well(subject),
                Some((_, right)) => {
                    wrong(subject, format!("the run-as user may not {right} it: give edit access to it"))
                }
            });
        }
        if let Some(name) = self.fields.partner()
            && described(name).is_some_and(|field| !flag(field, "filterable"))
        {
            let problem =
                "it cannot be searched, so that a lost answer would create a second account: use a text field";
            findings.push(wrong(format!("field {object}.{name}"), problem));
        }
        if !rights.creates {
            return findings;
        }
        let defaults = self.fields.defaults();
        for (name, value) in defaults {
            findings.push(judge_default(object, name, value, described(name).copied()));
        }
        let is_given = |name: &str| {
            let given = written.iter().copied().chain(defaults.keys().map(String::as_str)).chain(self.fields.partner());
            given.into_iter().any(|given| given.eq_ignore_ascii_case(name))
        };
        // What Salesforce wants of each new record.
        let wanted = |field: &Json| {
            flag(field, "createable") && !flag(field, "nillable") && !flag(field, "defaultedOnCreate")
                // A checkbox is never null.
                && text(field, "type") != "boolean"
        };
        for field in fields.iter().filter(|field| wanted(field)) {
            let name = text(field, "name");
            if !is_given(&name) {
                let problem = format!("a new {object} must have it: map it, or give it in `defaults` of the system");
                findings.push(wrong(format!("field {object}.{name}"), problem));
            }
        }
        findings
    }

    fn how_to_grant(&self) -> &'static str {
        match self.object {
            Object::User => "grant it Manage Internal Users",
            Object::Contact => "grant it Create and Edit on the object",
        }
    }
}

/// Whether a default is one that its field takes.
fn judge_default(object: &str, name: &str, value: &Value, field: Option<&Json>) -> Finding {
    let subject = format!("default of {object}.{name}");
    let Some(field) = field else { return wrong(subject, format!("{object} has no such field, or it is hidden")) };
    let says = |key: &str| field.get(key).and_then(Json::as_bool) == Some(true);
    if !says("createable") {
        return wrong(subject, "the run-as user may not set this field: give edit access to it");
    }
    let listed = field.get("picklistValues").and_then(Json::as_array).into_iter().flatten();
    let is_listed = |text: &str| {
        listed.clone().any(|entry| {
            entry.get("value").and_then(Json::as_str) == Some(text)
                && entry.get("active").and_then(Json::as_bool) != Some(false)
        })
    };
    match value.as_text() {
        Some(text) if says("restrictedPicklist") && !is_listed(text) => {
            wrong(subject, "the field's list does not have this value: choose one that Setup shows for it")
        }
        Some(text) if field.get("type").and_then(Json::as_str) == Some("reference") && parse_id(text).is_none() => {
            wrong(subject, "the field takes the id of a record, of 15 or 18 characters")
        }
        _ => well(subject),
    }
}

fn quota(limits: &Json) -> Finding {
    let calls = limits.get("DailyApiRequests");
    let number = |key: &str| calls.and_then(|calls| calls.get(key)).and_then(Json::as_u64);
    match (number("Remaining"), number("Max")) {
        (Some(left), Some(allowed)) if left * 100 < allowed * LOW_QUOTA_PERCENT => Finding::advice(
            "quota",
            format!("only {left} of {allowed} API calls are left today: lower the schedule or buy more"),
        ),
        (Some(_), Some(_)) => well("quota"),
        _ => Finding::advice("quota", "the org does not say how many API calls are left"),
    }
}
