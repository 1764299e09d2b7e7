//! The check before the first run: the key, as far as an API without a read side can prove it, and what only a person can
//! see in the product's own settings (R44, R46, R50).

use reqwest::StatusCode;
use serde_json::json;

use super::SalesScreen;
use super::errors::{Refusal, classify, remedy};
use super::user::TEAM;
use crate::domain::Failure;
use crate::systems::http::Call;
use crate::systems::{Finding, Rights};

/// What the findings about the key are called.
const KEY: &str = "api key";

fn note(text: impl Into<String>) -> Finding {
    Finding::well(text)
}

fn wrong(subject: &str, problem: impl Into<String>) -> Finding {
    Finding::wrong(subject, problem)
}

fn failed(subject: &str, failure: &Failure) -> Finding {
    let what = failure.to_string();
    Finding::failed(subject, failure, remedy(&failure.code).map_or(what.clone(), |remedy| format!("{what}. {remedy}")))
}

impl SalesScreen {
    /// See [`System::preflight`](crate::systems::System::preflight).
    pub(super) async fn findings(&self) -> Vec<Finding> {
        let mut findings = vec![self.key().await];
        findings.push(match self.automatic_sync_off {
            true => note("automatic sync: off in SalesScreen, as the configuration says"),
            false => Finding::advice(
                "automatic sync",
                "SalesScreen's own `Automatically sync users` would make users beside Muster, and no call shows whether \
                 it is on: switch it off under Settings > Integrations, and say so with automatic_sync_off = true",
            ),
        });
        findings.push(match self.teams.len() {
            0 => note(
                "teams: none configured, so users are made without one and stay unseen until a person gives them one",
            ),
            count => note(format!(
                "teams: {count} configured; no call shows the teams, so compare each key with Settings > Mappings in \
                 SalesScreen"
            )),
        });
        findings.push(note("reading: not offered; edits and deletions in SalesScreen are not seen"));
        findings
    }

    async fn key(&self) -> Finding {
        self.prove_key().await.map_or_else(|failure| failed(KEY, &failure), Finding::well)
    }

    /// Whether the key is accepted: a call without a user is refused for that, and changes nothing. What is known then.
    pub(super) async fn prove_key(&self) -> Result<String, Failure> {
        let answer = self.call(Call::read("preflight"), &json!({})).await?;
        match answer.status {
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY if !answer.is_html() => Ok(KEY.to_owned()),
            status if status.is_success() && !answer.is_html() => {
                Ok(format!("{KEY}: not refused, though a call without a user proves little"))
            }
            status if status.is_success() => Err(answer.unreadable("the answer is no API's")),
            _ => match classify(&answer) {
                Refusal::Failed(failure) => Err(failure),
                Refusal::Taken(_) => Ok(KEY.to_owned()),
            },
        }
    }

    /// See [`System::prove_rights`](crate::systems::System::prove_rights).
    pub(super) fn judge_mapping(&self, rights: &Rights) -> Vec<Finding> {
        let is_mapped = |name: &str| rights.attributes.iter().any(|path| path.as_str() == name);
        let mut findings = Vec::new();
        if rights.attributes.is_empty() {
            return findings;
        }
        if !is_mapped("emails") {
            findings.push(wrong("attribute emails", "SalesScreen takes no user without an e-mail address: map it"));
        }
        for name in ["name.givenName", "name.familyName"] {
            if !is_mapped(name) {
                findings.push(note(format!("attribute {name}: not mapped; SalesScreen may clear what it is not sent")));
            }
        }
        if !is_mapped(TEAM) {
            let text = "not mapped; users are unseen until a person gives them a team";
            findings.push(note(format!("attribute {TEAM}: {text}")));
        } else if self.teams.is_empty() {
            let problem = "a team is mapped, but `teams` of the system lists none: list each key and its name";
            findings.push(wrong(&format!("attribute {TEAM}"), problem));
        }
        findings
    }
}
