//! Whether a connection runs as its schedule says (R70), and what people are told when that changes: once when it begins,
//! once when it is over.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::schedule::{Schedule, Timetable};
use super::{ConnectionName, RunId, Timestamp};

/// What is remembered of how a connection runs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Watch {
    /// How it stood when it was last looked at.
    pub standing: Standing,
    /// Alerts that were not delivered everywhere yet, the oldest first.
    pub unsent: Vec<Unsent>,
}

/// How a connection stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Standing {
    /// When the last run that went well began, in the store's clock.
    pub good_at: Option<Timestamp>,
    /// The slot since which no run went well, if that is too long ago.
    pub overdue: Option<Timestamp>,
    /// The first of the runs that ended with an error, if the last one did.
    pub failing: Option<Ended>,
    /// When dead letters were first seen open, while any are.
    #[serde(default)]
    pub letters: Option<Timestamp>,
    /// When attributes were first seen frozen by the loop breaker, while any are.
    #[serde(default)]
    pub frozen: Option<Timestamp>,
}

/// A run of a whole connection whose reading has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Its id.
    pub run: RunId,
    /// When it began, in the store's clock.
    pub began_at: Timestamp,
    /// Why it ended before its end, if it did.
    pub failed: Option<String>,
}

/// What a connection's standing depends on.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'s> {
    /// When it is to run.
    pub schedule: &'s Schedule,
    /// How long after a slot a run that goes well may be missing.
    pub patience: Duration,
    /// Since when the schedule is in force, if a clerk has seen it yet.
    pub timetable: Option<&'s Timetable>,
    /// Its latest runs.
    pub runs: &'s [Ended],
    /// Its open dead letters, if they were counted.
    pub letters: Option<u64>,
    /// Its accounts of which an attribute is frozen, if they were counted.
    pub frozen: Option<u64>,
    /// The store's clock.
    pub now: Timestamp,
}

/// What people are told about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// No run went well for longer than the schedule allows.
    Overdue,
    /// Runs end with an error.
    Failing,
    /// Dead letters wait for a person.
    Letters,
    /// Attributes that went to and fro are frozen (B4).
    Frozen,
}

impl Trouble {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Overdue => "overdue",
            Self::Failing => "failing",
            Self::Letters => "letters",
            Self::Frozen => "frozen",
        }
    }
}

/// Whether it began or is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// It began.
    Firing,
    /// It is over.
    Resolved,
}

/// What people are told. It carries no values of accounts. As JSON it is what a webhook receives; fields are only ever
/// added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// The same each time the alert is delivered: after a crash it may come twice.
    pub id: String,
    /// What it is about.
    pub alert: Trouble,
    /// Whether it began or is over.
    pub state: AlertState,
    /// The connection.
    pub connection: ConnectionName,
    /// When it was noticed: RFC 3339, UTC.
    pub at: String,
    /// Since when there is, or was, trouble: RFC 3339, UTC.
    pub since: String,
    /// The schedule, as text.
    pub schedule: String,
    /// The run that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// A sentence for people; the name that chat services look for.
    pub text: String,
}

/// An alert on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsent {
    /// The alert.
    pub alert: Alert,
    /// The channels that have not taken it, by name.
    pub to: Vec<String>,
}

/// Alerts that wait at most; where nobody takes any for long, the oldest are forgotten.
const UNSENT: usize = 50;

/// Characters of a run's error that an alert repeats.
const REASON_CHARS: usize = 300;

impl Standing {
    /// How a connection stands now, knowing how it stood before.
    pub fn now(&self, sight: &Sight<'_>) -> Self {
        let good = sight.runs.iter().filter(|run| run.failed.is_none()).map(|run| run.began_at).max();
        let good_at = good.max(self.good_at);
        let failing = match sight.runs.iter().max_by_key(|run| run.began_at) {
            // Nothing that ended lately: as before.
            None => self.failing.clone(),
            Some(last) if last.failed.is_none() => None,
            Some(last) => Some(self.failing.clone().unwrap_or_else(|| last.clone())),
        };
        let in_force = sight.timetable.filter(|timetable| timetable.rule == sight.schedule.to_string());
        let overdue = in_force.and_then(|timetable| {
            // A run that begins at its slot serves it, and one between slots all that came before.
            let from = good_at.map_or(timetable.since, |good_at| good_at.max(timetable.since));
            sight.schedule.next(from).filter(|slot| *slot + sight.patience <= sight.now)
        });
        let since = |count: Option<u64>, before: Option<Timestamp>| match count {
            None => before,
            Some(0) => None,
            Some(_) => before.or(Some(sight.now)),
        };
        let (letters, frozen) = (since(sight.letters, self.letters), since(sight.frozen, self.frozen));
        Self { good_at, overdue, failing, letters, frozen }
    }
}

impl Watch {
    /// Notes how the connection stands now, and puts what changed on its way to these channels. `id` names the alerts.
    pub fn turn(&mut self, connection: &ConnectionName, sight: &Sight<'_>, channels: &[&str], id: &str) -> Vec<Alert> {
        let next = self.standing.now(sight);
        let before = std::mem::replace(&mut self.standing, next);
        let after = &self.standing;
        let alert = |alert: Trouble, state, since: Timestamp, run: Option<&Ended>, text: String| Alert {
            id: format!("{id}-{}", alert.as_str()),
            alert,
            state,
            connection: connection.clone(),
            at: sight.now.to_string(),
            since: since.to_string(),
            schedule: sight.schedule.to_string(),
            run: run.map(|run| run.run.clone()),
            text,
        };
        let mut alerts = Vec::new();
        match (&before.failing, &after.failing) {
            (None, Some(run)) => {
                let reason: String = run.failed.as_deref().unwrap_or_default().chars().take(REASON_CHARS).collect();
                let text = format!("{connection}: run {} ended with an error: {reason}", run.run);
                alerts.push(alert(Trouble::Failing, AlertState::Firing, run.began_at, Some(run), text));
            }
            (Some(run), None) => {
                let text = format!("{connection}: runs end well again");
                alerts.push(alert(Trouble::Failing, AlertState::Resolved, run.began_at, Some(run), text));
            }
            _ => {}
        }
        match (before.overdue, after.overdue) {
            (None, Some(slot)) => {
                let text = format!(
                    "{connection} is overdue: it was due at {slot} ({}) and no run since went well. See `muster status`",
                    sight.schedule
                );
                alerts.push(alert(Trouble::Overdue, AlertState::Firing, slot, None, text));
            }
            (Some(slot), None) => {
                let text = format!("{connection} is not overdue any more");
                alerts.push(alert(Trouble::Overdue, AlertState::Resolved, slot, None, text));
            }
            _ => {}
        }
        match (before.letters, after.letters) {
            (None, Some(since)) => {
                let count = sight.letters.unwrap_or_default();
                let text = format!("{connection}: dead letters wait for a person: {count}. See `muster dead list`");
                alerts.push(alert(Trouble::Letters, AlertState::Firing, since, None, text));
            }
            (Some(since), None) => {
                let text = format!("{connection}: no dead letter is open any more");
                alerts.push(alert(Trouble::Letters, AlertState::Resolved, since, None, text));
            }
            _ => {}
        }
        match (before.frozen, after.frozen) {
            (None, Some(since)) => {
                let count = sight.frozen.unwrap_or_default();
                let text = format!(
                    "{connection}: attributes go to and fro between the two sides and are frozen, on accounts: {count}. See \
                     `muster held list`"
                );
                alerts.push(alert(Trouble::Frozen, AlertState::Firing, since, None, text));
            }
            (Some(since), None) => {
                let text = format!("{connection}: no attribute is frozen any more");
                alerts.push(alert(Trouble::Frozen, AlertState::Resolved, since, None, text));
            }
            _ => {}
        }
        if !channels.is_empty() {
            let to: Vec<String> = channels.iter().map(|channel| (*channel).to_owned()).collect();
            self.unsent.extend(alerts.iter().map(|alert| Unsent { alert: alert.clone(), to: to.clone() }));
        }
        // One that is not configured any more takes nothing.
        for unsent in &mut self.unsent {
            unsent.to.retain(|channel| channels.contains(&channel.as_str()));
        }
        self.unsent.retain(|unsent| !unsent.to.is_empty());
        let surplus = self.unsent.len().saturating_sub(UNSENT);
        self.unsent.drain(..surplus);
        alerts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;
    const EVERY: Schedule = Schedule::Every(Duration::from_secs(15 * 60));

    fn ended(minute: i64, failed: Option<&str>) -> Ended {
        let run = format!("r{minute}").parse().unwrap();
        Ended { run, began_at: Timestamp(minute * MINUTE), failed: failed.map(ToOwned::to_owned) }
    }

    /// The alerts of each of these moments, in minutes, with all runs that began before.
    fn told(watch: &mut Watch, schedule: &Schedule, runs: &[Ended], moments: &[i64]) -> Vec<(i64, String)> {
        let timetable = Timetable { rule: schedule.to_string(), since: Timestamp(0), served: Timestamp(0) };
        let name = "crm-chat".parse().unwrap();
        let mut told = Vec::new();
        for minute in moments {
            let now = Timestamp(minute * MINUTE);
            let seen: Vec<Ended> = runs.iter().filter(|run| run.began_at < now).cloned().collect();
            let patience = Duration::from_secs(5 * 60);
            let sight = Sight {
                schedule,
                patience,
                timetable: Some(&timetable),
                runs: &seen,
                letters: None,
                frozen: None,
                now,
            };
            for alert in watch.turn(&name, &sight, &["webhook"], "id") {
                told.push((*minute, format!("{:?} {:?}", alert.alert, alert.state)));
            }
        }
        told
    }

    /// R70: one alert when a connection becomes overdue, one when it recovers, however often it is looked at.
    #[test]
    fn an_overdue_connection_is_told_once_and_its_recovery_once() {
        let mut watch = Watch::default();
        let told = told(&mut watch, &EVERY, &[ended(1, None), ended(44, None)], &[2, 16, 20, 21, 22, 40, 45, 46, 60]);
        assert_eq!(told, [(21, "Overdue Firing".to_owned()), (45, "Overdue Resolved".to_owned())]);
        assert_eq!(watch.unsent.len(), 2);
        assert_eq!(watch.unsent[0].alert.since, "1970-01-01T00:16:00Z", "a quarter after the last good one");
    }

    /// R70: runs that fail are told once, and are no reason to be on time.
    #[test]
    fn failing_runs_are_told_once_and_end_overdue() {
        let runs = [ended(1, None), ended(15, Some("crm: 503")), ended(30, Some("crm: 503")), ended(45, None)];
        let told = told(&mut Watch::default(), &EVERY, &runs, &[2, 16, 20, 31, 46]);
        let expected =
            [(16, "Failing Firing"), (31, "Overdue Firing"), (46, "Failing Resolved"), (46, "Overdue Resolved")];
        assert_eq!(told, expected.map(|(minute, text)| (minute, text.to_owned())));
    }

    /// R64: what does not run by itself is never overdue; when it fails, that is told all the same.
    #[test]
    fn a_manual_connection_is_never_overdue() {
        let runs = [ended(1, None), ended(500, Some("crm: 503"))];
        let told = told(&mut Watch::default(), &Schedule::Manual, &runs, &[2, 400, 501]);
        assert_eq!(told, [(501, "Failing Firing".to_owned())]);
    }

    /// What was told is remembered when the list of runs does not reach back any more.
    #[test]
    fn runs_out_of_sight_change_nothing() {
        let mut watch = Watch::default();
        told(&mut watch, &EVERY, &[ended(1, None), ended(15, Some("crm: 503"))], &[16]);
        assert_eq!(told(&mut watch, &EVERY, &[], &[17, 18]), []);
        assert_eq!(watch.standing.good_at, Some(Timestamp(MINUTE)));
    }

    #[test]
    fn a_channel_that_is_gone_keeps_nothing_and_waiting_alerts_have_a_bound() {
        let mut watch = Watch::default();
        let runs: Vec<Ended> = (0..120).map(|run| ended(run, (run % 2 == 1).then_some("crm: 503"))).collect();
        told(&mut watch, &EVERY, &runs, &(1..=120).collect::<Vec<_>>());
        assert_eq!(watch.unsent.len(), UNSENT);
        assert_eq!(watch.unsent.last().unwrap().alert.run, Some("r119".parse().unwrap()));
        watch.turn(&"crm-chat".parse().unwrap(), &letters(None), &["mail"], "id");
        assert_eq!(watch.unsent, []);
    }

    /// Nothing but this many letters.
    fn letters(letters: Option<u64>) -> Sight<'static> {
        let (schedule, patience) = (&Schedule::Manual, Duration::MAX);
        Sight { schedule, patience, timetable: None, runs: &[], letters, frozen: None, now: Timestamp(0) }
    }

    /// R70: the first letter is told, and that none is left; not each one, and not each look.
    #[test]
    fn dead_letters_are_told_once() {
        let mut watch = Watch::default();
        let mut told = Vec::new();
        for count in [None, Some(0), Some(2), None, Some(3), Some(1), Some(0), None, Some(0)] {
            for alert in watch.turn(&"crm-chat".parse().unwrap(), &letters(count), &["webhook"], "id") {
                told.push((alert.state, alert.id, alert.text));
            }
        }
        let text = "crm-chat: dead letters wait for a person: 2. See `muster dead list`";
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(told[0], (AlertState::Firing, "id-letters".to_owned(), text.to_owned()));
        assert_eq!(told[1].0, AlertState::Resolved);
    }

    /// B4: a loop is told once, and its end once.
    #[test]
    fn what_is_frozen_is_told_once() {
        let mut watch = Watch::default();
        let mut told = Vec::new();
        for frozen in [Some(0), Some(1), Some(2), None, Some(0), Some(0)] {
            for alert in
                watch.turn(&"crm-chat".parse().unwrap(), &Sight { frozen, ..letters(None) }, &["webhook"], "id")
            {
                told.push((alert.alert, alert.state));
            }
        }
        assert_eq!(told, [(Trouble::Frozen, AlertState::Firing), (Trouble::Frozen, AlertState::Resolved)]);
    }
}
