//! The check before the first run: the token, the API, each field, and what is left of the quota.

use serde_json::Value as Json;

use super::Salesforce;
use super::client::described_fields;
use super::errors::remedy;
use crate::domain::Failure;
use crate::systems::Finding;

/// Calls left below which a person should know, in percent of the day's.
const LOW_QUOTA_PERCENT: u64 = 10;

fn well(subject: impl Into<String>) -> Finding {
    Finding { subject: subject.into(), problem: None }
}

fn wrong(subject: impl Into<String>, problem: impl Into<String>) -> Finding {
    Finding { subject: subject.into(), problem: Some(problem.into()) }
}

fn failed(subject: &str, failure: &Failure) -> Finding {
    let what = failure.to_string();
    wrong(subject, remedy(&failure.code).map_or(what.clone(), |remedy| format!("{what}. {remedy}")))
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
                    true => well(format!("field {name}")),
                    false => wrong(
                        format!("field {name}"),
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
}

fn quota(limits: &Json) -> Finding {
    let calls = limits.get("DailyApiRequests");
    let number = |key: &str| calls.and_then(|calls| calls.get(key)).and_then(Json::as_u64);
    match (number("Remaining"), number("Max")) {
        (Some(left), Some(allowed)) if left * 100 < allowed * LOW_QUOTA_PERCENT => {
            wrong("quota", format!("only {left} of {allowed} API calls are left today: lower the schedule or buy more"))
        }
        (Some(_), Some(_)) => well("quota"),
        _ => wrong("quota", "the org does not say how many API calls are left"),
    }
}
