//! Systems that nobody calls, since their calls fail: what is known of it, what happens next, and what a person can do.

use serde::Serialize;

use super::output;
use crate::broker::Broker;
use crate::domain::circuit::Why;
use crate::domain::{Code, FailureClass, SystemName, Timestamp};
use crate::stages::{Pipeline, remedy, remedy_of_class};
use crate::store::{Store, SystemState};

/// A system that nobody calls, since its calls fail.
#[derive(Debug, Serialize)]
pub(crate) struct Outage {
    pub(crate) system: SystemName,
    since: Timestamp,
    why: Why,
    /// Class, code and HTTP status of the latest failure.
    class: FailureClass,
    code: Code,
    status: Option<u16>,
    failed_probes: u32,
    /// When the next call is due, which decides.
    next_probe_at: Timestamp,
    /// In one sentence.
    next: String,
    /// What a person can do.
    remedy: String,
}

impl Outage {
    /// That of a system, if it has one.
    pub(super) fn of<B: Broker, S: Store>(
        pipeline: &Pipeline<B, S>,
        name: &SystemName,
        state: &SystemState,
    ) -> Option<Self> {
        let open = state.circuit.open.as_ref()?;
        let (class, code) = (open.symptom.class, open.symptom.code.clone());
        let of_system = pipeline.systems.get(name).and_then(|system| system.remedy(&code));
        let next = match &open.probe {
            Some(_) => "a single call is tried now".to_owned(),
            None if open.probe_at > state.now => format!("a single call is tried at {}", open.probe_at),
            None => "a single call is tried as soon as there is work or a worker has looked".to_owned(),
        };
        Some(Self {
            system: name.clone(),
            since: open.since,
            why: open.why,
            class,
            status: open.symptom.status,
            failed_probes: open.probes,
            next_probe_at: open.probe_at,
            next: format!("{next}; if it goes well, all goes on by itself"),
            remedy: of_system.or_else(|| remedy(&code)).unwrap_or_else(|| remedy_of_class(class)).to_owned(),
            code,
        })
    }

    /// The same for a person.
    pub(crate) fn lines(&self) -> Vec<String> {
        let Self { system, since, why, code, status, failed_probes, next, remedy, .. } = self;
        let what = match why {
            Why::Unauthorised => "refuses the credential",
            Why::Failing => "fails too often",
            Why::Unanswered => "does not answer",
        };
        let status = status.map_or(String::new(), |status| format!(", HTTP {status}"));
        let tries = output::count(usize::try_from(*failed_probes).unwrap_or(usize::MAX), "failed probe");
        vec![
            format!(
                "{system} {what} ({code}{status}) since {since}: nobody calls it. Commands and reads wait, and none is lost."
            ),
            format!("  Next: {next} ({tries} so far)."),
            format!("  To do: {remedy} `muster resume --system {system}` tries at once."),
            String::new(),
        ]
    }
}
