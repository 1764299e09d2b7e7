//! `budgets`, `protected`, `busy` and `loop_breaker` of a connection: how much harm a mistake may do (B10), whom it may not
//! touch, and who is left alone for now (R22).

use std::time::Duration;

use serde_json::{Value as Json, json};
use toml::de::DeValue;

use crate::domain::AttributePath;
use crate::domain::breaker::Breaker;
use crate::domain::deferral::{AfterWait, BusyPolicy, USUAL_WAIT};
use crate::domain::guard::{Budget, Budgets, Risk};
use crate::expression::Scope;

use super::connection::ATTRIBUTE_RULE;
use super::shape::{Either, Lasting, List, Shape, Sub, Text, Word, Words, parsed};
use super::table::{Found, Reader, Table};

/// Accounts that Muster never deactivates, deletes, renames or relinks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ProtectedConfig {
    /// There are none.
    #[default]
    Nobody,
    /// These: ids, `<system>:<id>`, e-mail addresses or user names.
    Listed(Vec<String>),
    /// Those that fit a condition.
    Fitting(Scope),
}

const BUDGET_RULE: &str = "a budget is a share or a number and a window, such as \"2%/1h\" or \"50/30m\"; or \"off\"";

const BUDGET: Text<Option<Budget>> = Text {
    what: "a budget",
    rule: BUDGET_RULE,
    parse: |text| if text == "off" { Some(None) } else { text.parse().ok().map(Some) },
};

pub(super) fn budgets(table: &mut Table<'_, '_>) -> Option<Budgets> {
    let listed = |table: &mut Table<'_, '_>| {
        let mut budgets = Some(Budgets::default());
        for risk in Risk::ALL {
            let budget = table.optional(risk.as_str(), BUDGET, about(risk));
            match (budgets.as_mut(), budget) {
                (Some(budgets), Some(Some(budget))) => budgets.set(risk, budget),
                (_, None) => budgets = None,
                (None, _) | (_, Some(None)) => {}
            }
        }
        budgets
    };
    let doc = "How many writes of the kinds that do harm in bulk may pass within a sliding window, over all workers; what \
               is over a budget is held for a person, and all else flows on. A share is of the accounts that are linked \
               on the side written to. \"off\": no budget at all.";
    let budgets = table.optional("budgets", Either(Word("off", Budgets::off), listed), doc)?;
    Some(budgets.unwrap_or_default())
}

const BREAKER: Text<Option<Breaker>> = Text {
    what: "a loop breaker",
    rule: "a number of turns from 1 to 30 and a window, such as \"6/10m\"; or \"off\"",
    parse: |text| if text == "off" { Some(None) } else { text.parse().ok().map(Some) },
};

/// The outer `None` is a mistake.
pub(super) fn loop_breaker(table: &mut Table<'_, '_>) -> Option<Option<Breaker>> {
    let doc = "How often an attribute of an account may go to and fro between the two sides, or between values, within a \
               sliding window: \"6/10m\" (default). One turn more and it is frozen for a person, and all else flows on.";
    Some(table.optional("loop_breaker", BREAKER, doc)?.unwrap_or(Some(Breaker::default())))
}

fn about(risk: Risk) -> &'static str {
    match risk {
        Risk::Deactivate => "Accounts that are deactivated. 2 %, at least 5, an hour by default, as all but create.",
        Risk::Delete => "Accounts that are deleted.",
        Risk::EmailChange => "Accounts whose e-mail address or user name changes.",
        Risk::RoleElevation => "Accounts whose roles or groups change.",
        Risk::Relink => "Accounts that are linked to another partner than before.",
        Risk::MassClear => "Accounts of which a value is cleared.",
        Risk::Create => "Accounts that are created. No budget by default, so that a first load is not stuck.",
    }
}

/// A list of accounts, or a condition.
struct Spared;

impl Spared {
    fn names() -> List<Text<String>> {
        List { of: parsed("an account", "an id, <system>:<id>, an e-mail address or a user name"), least: 0 }
    }
}

impl Shape for Spared {
    type Value = ProtectedConfig;

    fn schema(&self) -> Json {
        json!({ "oneOf": [{ "type": "string", "minLength": 1 }, Self::names().schema()] })
    }

    fn read(&self, found: &Found<'_>, reader: &mut Reader<'_>) -> Option<ProtectedConfig> {
        let DeValue::String(text) = found.value else {
            return Self::names().read(found, reader).map(ProtectedConfig::Listed);
        };
        reader.is_plain(&found.place);
        match Scope::parse(text) {
            Ok(scope) => Some(ProtectedConfig::Fitting(scope)),
            Err(error) => {
                let remedy = "list the accounts, or write a condition on the attributes of one side, such as \
                              a.native.Is_Admin__c == true";
                reader.mistake(&found.place, format!("{error}"), remedy);
                None
            }
        }
    }
}

pub(super) fn protected(table: &mut Table<'_, '_>) -> Option<ProtectedConfig> {
    let doc = "Accounts that are never deactivated, deleted, renamed or relinked, whatever the budgets say: a list of ids, \
               e-mail addresses or user names, or a CEL condition on one side, which counts from the next time that an \
               account is read.";
    Some(table.optional("protected", Spared, doc)?.unwrap_or_default())
}

/// The shortest and the longest wait for an account that somebody works with.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(31 * 24 * 3600));

/// Reads `busy`.
pub(super) fn busy(table: &mut Table<'_, '_>) -> Option<BusyPolicy> {
    let doc = "What happens to writes of accounts that somebody works with right now, where the system tells (iAdvize): they \
               wait until nobody does.";
    Some(table.optional("busy", Sub(busy_policy), doc)?.unwrap_or_default())
}

fn busy_policy(table: &mut Table<'_, '_>) -> Option<BusyPolicy> {
    let wait = table.default("wait", Lasting(WAITS.0..=WAITS.1), USUAL_WAIT, "How long a write waits at most.");
    let then = table.default(
        "then",
        Words(&[("letter", AfterWait::Letter), ("write", AfterWait::Write)]),
        AfterWait::Letter,
        "What comes after the longest wait: a dead letter, or the write, which throws the person out.",
    );
    let urgent = table.default(
        "urgent",
        List { of: parsed("an attribute", ATTRIBUTE_RULE), least: 0 },
        vec![AttributePath::active()],
        "Attributes whose changes do not wait, whoever that throws out; \"active\" stands for deactivations alone.",
    );
    Some(BusyPolicy { wait: wait?, then: then?, urgent: urgent?.into_iter().collect() })
}
