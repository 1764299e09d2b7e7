//! The check before the first run: the key, the organisation, the filters, and whether the key may create users.

use reqwest::StatusCode;

use super::InitLive;
use super::errors::{Subject, classify, remedy};
use super::user::partner_of;
use crate::domain::Failure;
use crate::systems::{Finding, Rights, SearchKey};

/// Nobody has it.
const NOBODY: &str = "muster-preflight@invalid.example";

fn note(text: impl Into<String>) -> Finding {
    Finding::well(text)
}

fn failed(subject: &str, failure: &Failure) -> Finding {
    let what = failure.to_string();
    let problem = remedy(&failure.code).map_or(what.clone(), |remedy| format!("{what}. {remedy}"));
    Finding::failed(subject, failure, problem)
}

impl InitLive {
    /// See [`System::preflight`](crate::systems::System::preflight).
    pub(super) async fn findings(&self) -> Vec<Finding> {
        let query = [("skip", "0".to_owned()), ("take", "10".to_owned())];
        let roster = match self.client.list("preflight", &query, None).await {
            Ok(roster) => roster,
            Err(failure) => return vec![failed("api key and organisation", &failure)],
        };
        let mut findings = vec![note("api key and organisation")];
        if roster.users.is_empty() {
            let text = "the key sees nobody: its maker may not be a Full Organization Manager, or there is nobody yet";
            findings.push(note(format!("users: {text}")));
        } else if roster.users.iter().all(|user| partner_of(user).is_none()) {
            findings.push(note(
                "externalId: no user shown has one. If InitLive drops it, a person whose creation was cut off is found by \
                 the e-mail address only, and counts as one who was there before (`on_existing`)",
            ));
        }
        for (name, key) in [
            ("username", SearchKey::Attribute("emails".parse().expect("a constant path"), NOBODY.to_owned())),
            ("externalId", SearchKey::Partner(NOBODY.parse().expect("a constant id"))),
        ] {
            findings.push(match self.heeds_filter(&key).await {
                Ok(true) => note(format!("filter {name}")),
                Ok(false) => note(format!("filter {name}: passed over, so each such search reads the whole list")),
                Err(failure) => failed(&format!("filter {name}"), &failure),
            });
        }
        findings.push(note(
            "lists: without a count, so somebody who is missing from one is taken for gone only if the key sees others and \
             not them",
        ));
        findings
    }

    /// See [`System::prove_rights`](crate::systems::System::prove_rights). Whether users can be changed shows at the first
    /// change: each may keep their own profile.
    pub(super) async fn rights(&self, rights: &Rights) -> Vec<Finding> {
        const SUBJECT: &str = "right to create users";
        if !rights.creates {
            return Vec::new();
        }
        // Refused for what it lacks, it would have been allowed.
        vec![match self.client.try_to_create(None).await {
            Ok(answer) if matches!(answer.status, StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY) => {
                note(SUBJECT)
            }
            Ok(answer) if answer.status.is_success() => note(format!("{SUBJECT}: not refused")),
            Ok(answer) => failed(SUBJECT, &classify(&answer, Subject::Roster)),
            Err(failure) => failed(SUBJECT, &failure),
        }]
    }
}
