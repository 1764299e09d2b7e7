//! Accounts: who is meant by a text, and why an account is as it is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::access::Values;
use super::letters::{ValueView, given, shown};
use super::operations::Over;
use crate::broker::Broker;
use crate::domain::{ConnectionName, Side};
use crate::ops::explain::find::find;
use crate::ops::explain::report::{AttributeReport, Report};
use crate::ops::explain::words::short;
use crate::ops::explain::{self};
use crate::ops::sync::UsageError;
use crate::store::Store;

/// Which account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct AccountAsk {
    /// The account: `<system>:<id>`, or an e-mail address or user name that one person has.
    pub account: String,
    /// Only this attribute.
    #[serde(default)]
    pub attribute: Option<String>,
    /// Only on this connection.
    #[serde(default)]
    pub connection: Option<String>,
    /// Do not ask the systems what they hold today.
    #[serde(default)]
    pub offline: bool,
}

/// An account that was found, on one connection.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Found {
    /// The connection.
    pub connection: String,
    /// The account on side a, as `<system>:<id>`.
    pub a: Option<String>,
    /// The account on side b.
    pub b: Option<String>,
    /// Whether the two are linked.
    pub linked: bool,
}

impl Found {
    /// The account by which the page that explains it is asked for.
    pub fn name(&self) -> &str {
        self.a.as_deref().or(self.b.as_deref()).unwrap_or_default()
    }
}

/// Why an account is as it is, on one connection.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Explained {
    /// The connection.
    pub connection: String,
    /// The verdict in one word.
    pub state: String,
    /// The same as a sentence; to who may not see values it says only the state.
    pub verdict: String,
    /// Whether nothing more happens before a person has acted.
    pub needs_a_person: bool,
    /// Both sides.
    pub sides: Vec<ExplainedSide>,
    /// The attributes.
    pub attributes: Vec<ExplainedAttribute>,
    /// Values that did not win, newest first.
    pub kept: Vec<ExplainedKept>,
    /// Open letters about it.
    pub letters: Vec<ExplainedLetter>,
    /// What to do next.
    pub next: Vec<ExplainedStep>,
}

/// One side of it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ExplainedSide {
    /// The system.
    pub system: String,
    /// The account.
    pub account: Option<String>,
    /// What a look at it today showed: `shown`, `absent`, `failed`, `paused` or `not_asked`.
    pub today: String,
    /// What there is to say of it, a sentence each.
    pub text: Vec<String>,
}

/// One attribute.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ExplainedAttribute {
    /// Its canonical name.
    pub attribute: String,
    /// The value that both sides should have; absent if none is known.
    pub value: Option<ValueView>,
    /// Whose value it is and since when.
    pub origin: Option<String>,
    /// Whether both sides hold it and nothing follows.
    pub in_step: bool,
    /// The rule.
    pub rule: Option<String>,
    /// How it is on each side.
    pub sides: Vec<ExplainedAttributeSide>,
}

/// How an attribute is on one side.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ExplainedAttributeSide {
    /// The system.
    pub system: String,
    /// How the value stands towards it, in one word.
    pub standing: String,
    /// The same as a sentence; to who may not see values the word again.
    pub text: String,
}

/// A value that did not win.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ExplainedKept {
    /// Its id.
    pub conflict: String,
    /// The value.
    pub lost: ValueView,
    /// Why, in one word.
    pub reason: String,
    /// When.
    pub at: String,
}

/// An open letter.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ExplainedLetter {
    /// Its id.
    pub letter: String,
    /// What went wrong.
    pub code: String,
    /// What happened.
    pub message: String,
    /// What to do.
    pub remedy: Option<String>,
}

/// What to do next.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ExplainedStep {
    /// In words.
    pub text: String,
    /// The command that does it.
    pub command: Option<String>,
}

impl ExplainedAttribute {
    fn new(attribute: &AttributeReport, values: Values) -> Self {
        let side = |side: &crate::ops::explain::report::AttributeSide| ExplainedAttributeSide {
            system: side.system.to_string(),
            standing: side.standing.to_owned(),
            text: if values.is_open() { side.text.clone() } else { side.standing.replace('_', " ") },
        };
        let path = attribute.attribute.as_str();
        Self {
            attribute: short(&attribute.attribute).to_owned(),
            value: attribute.value.as_ref().map(|value| shown(path, value.as_ref(), values)),
            origin: attribute.origin.clone(),
            in_step: attribute.in_step,
            rule: attribute.rule.clone(),
            sides: attribute.sides.iter().map(side).collect(),
        }
    }
}

impl Explained {
    fn new(report: &Report, values: Values) -> Self {
        // Sentences may quote values.
        let sentence = |text: &str, word: &str| if values.is_open() { text.to_owned() } else { word.replace('_', " ") };
        Self {
            connection: report.connection.to_string(),
            state: report.state.to_owned(),
            verdict: sentence(&report.verdict, report.state),
            needs_a_person: report.needs_a_person,
            sides: report
                .sides
                .iter()
                .map(|side| ExplainedSide {
                    system: side.system.to_string(),
                    account: side.account.as_ref().map(ToString::to_string),
                    today: side.today.to_owned(),
                    text: if values.is_open() { side.text.clone() } else { Vec::new() },
                })
                .collect(),
            attributes: report.attributes.iter().map(|it| ExplainedAttribute::new(it, values)).collect(),
            kept: report
                .kept
                .iter()
                .map(|kept| ExplainedKept {
                    conflict: kept.conflict.clone(),
                    lost: shown(kept.attribute.as_str(), kept.value.as_ref(), values),
                    reason: kept.reason.as_str().to_owned(),
                    at: kept.seen_at.to_string(),
                })
                .collect(),
            letters: report
                .letters
                .iter()
                .map(|letter| ExplainedLetter {
                    letter: letter.letter.to_string(),
                    code: letter.code.clone(),
                    message: letter.message.clone(),
                    remedy: letter.remedy.clone(),
                })
                .collect(),
            next: if values.is_open() {
                let step = |step: &crate::ops::explain::report::Step| ExplainedStep {
                    text: step.text.clone(),
                    command: step.command.clone(),
                };
                report.next.iter().map(step).collect()
            } else {
                Vec::new()
            },
        }
    }
}

impl AccountAsk {
    fn connection(&self) -> Result<Option<ConnectionName>, UsageError> {
        let name = given(&self.connection)
            .map(|name| name.parse().map_err(|_| UsageError::new(format!("`{name}` is no name of a connection"))));
        name.transpose()
    }
}

impl<B: Broker, S: Store> Over<B, S> {
    pub(super) async fn find_accounts(&self, ask: &AccountAsk) -> anyhow::Result<Vec<Found>> {
        let connection = ask.connection()?;
        let meant = find(&self.pipeline, ask.account.trim(), connection.as_ref(), ask.offline).await?;
        let found = |meant: &explain::Meant| {
            let account = |side: Side| {
                let account = meant.accounts[side].as_ref()?;
                Some(format!("{}:{account}", meant.connection.systems[side]))
            };
            Found {
                connection: meant.connection.name.to_string(),
                a: account(Side::A),
                b: account(Side::B),
                linked: meant.link.is_some() && meant.accounts.a.is_some() && meant.accounts.b.is_some(),
            }
        };
        Ok(meant.iter().map(found).collect())
    }

    pub(super) async fn explain_account(&self, ask: &AccountAsk, values: Values) -> anyhow::Result<Vec<Explained>> {
        let ask = explain::Ask {
            account: ask.account.trim().to_owned(),
            attribute: given(&ask.attribute).map(str::to_owned),
            connection: ask.connection()?,
            offline: ask.offline,
        };
        let reports = explain::reports(&self.pipeline, &self.mode, &ask).await?;
        Ok(reports.iter().map(|report| Explained::new(report, values)).collect())
    }
}
