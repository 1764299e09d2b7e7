//! The check before the first run (R6, R16, R44, R60): what would make the runs of a connection fail account by account
//! blocks that connection, and no other.

use super::Connection;
use crate::domain::{Rules, Side};
use crate::systems::{Finding, Rights};

/// Characters of the problems that a blocked run repeats; `muster check` says them all.
const REASON_CHARS: usize = 400;

/// What a connection does to one of its sides.
pub fn rights(rules: &Rules, side: Side) -> Rights {
    let mut rights = Rights { creates: rules.create[side], ..Rights::default() };
    for rule in rules.attributes.values() {
        if rule.flow.writes(side) {
            rights.attributes.push(rule.names[side].clone());
        }
        if rule.flow.contributes(side) {
            rights.reads.extend(rule.sources(side).iter().cloned());
        }
    }
    rights
}

/// What a person is told of a finding about a side.
pub fn told(connection: &Connection, side: Side, finding: Finding) -> Finding {
    Finding { subject: format!("{}: {}", connection.systems[side], finding.subject), ..finding }
}

/// Why runs of a connection would be blocked, out of the findings about its sides.
pub fn blocked_by<'f>(findings: impl IntoIterator<Item = &'f Finding>) -> Option<String> {
    let problems: Vec<_> = findings
        .into_iter()
        .filter(|finding| finding.blocks)
        .filter_map(|finding| Some(format!("{}: {}", finding.subject, finding.problem.as_deref()?)))
        .collect();
    let all = problems.join("; ");
    let cut: String = all.chars().take(REASON_CHARS).collect();
    let more = if cut.len() < all.len() { "..." } else { "" };
    (!all.is_empty()).then(|| format!("blocked: {cut}{more}"))
}

/// Asks both systems whether the connection can run; why not, if it cannot.
pub(super) async fn blocked(connection: &Connection) -> Option<String> {
    let mut findings = Vec::new();
    for side in Side::BOTH {
        let end = &connection.ends[side];
        let mut found = end.preflight().await;
        if !found.iter().any(|finding| finding.blocks) {
            found.extend(end.prove_rights(&rights(connection.template(), side)).await);
        }
        findings.extend(found.into_iter().map(|finding| told(connection, side, finding)));
    }
    blocked_by(&findings)
}
