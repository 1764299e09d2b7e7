//! Every metric: its name, unit, help and labels, and the one method that changes it.
//!
//! Labels have few values: the closed lists of the domain, configured names, and operations that connectors name in
//! code. No id and nothing that a system sent becomes a label.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::broker::BrokerHealth;
use crate::domain::circuit::{self, Open};
use crate::domain::guard::{Risk, spares};
use crate::domain::hold::Why;
use crate::domain::watch::Standing;
use crate::domain::{ChangeOutcome, CommandOutcome, ConnectionName, FailureClass, SystemName};
use crate::systems::CallReport;

/// The content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4";

/// Upper bounds of the freshness buckets, in seconds: an edit that arrives live takes seconds, one that waits for the
/// next run minutes, one that waits for a target that is down up to a day.
const FRESHNESS_BUCKETS: [f64; 15] =
    [0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 1_800.0, 3_600.0, 14_400.0, 43_200.0, 86_400.0];

/// The kind of what is held for no risk of its own.
const NO_RISK: &str = "none";

/// The metrics of one process. Cheap to change from many tasks at once.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    changes: IntCounterVec,
    commands: IntCounterVec,
    commands_emitted: IntCounterVec,
    retries: IntCounterVec,
    letters_opened: IntCounterVec,
    letters_healed: IntCounterVec,
    held: IntCounterVec,
    deferred: IntGaugeVec,
    deferred_oldest: IntGaugeVec,
    clock_ahead: IntGaugeVec,
    circuit_open: IntGaugeVec,
    circuit_since: IntGaugeVec,
    circuits_opened: IntCounterVec,
    api_calls: IntCounterVec,
    api_quota_used: IntGaugeVec,
    api_quota_allowed: IntGaugeVec,
    broker_up: IntGaugeVec,
    broker_blocked: IntGauge,
    store_up: IntGauge,
    published_messages: IntCounter,
    freshness: HistogramVec,
    missed_slots: IntCounterVec,
    overdue: IntGaugeVec,
    failing: IntGaugeVec,
    last_good_run: IntGaugeVec,
    alerts: IntCounterVec,
}

impl Metrics {
    /// All metrics at zero, in a registry of their own, with those of the process and the build.
    pub fn new() -> Self {
        let registry = Registry::new();
        let metrics = Self {
            changes: counters(
                &registry,
                "muster_changes_total",
                "Changes by their terminal outcome; each change of a run is counted once.",
                &["connection", "outcome"],
            ),
            commands: counters(
                &registry,
                "muster_commands_total",
                "Commands by their terminal outcome; each command is counted once.",
                &["connection", "outcome"],
            ),
            commands_emitted: counters(
                &registry,
                "muster_commands_emitted_total",
                "Commands that the mapper asked writers for.",
                &["connection"],
            ),
            retries: counters(
                &registry,
                "muster_retries_total",
                "Commands put on the retry ladder, by the class of the failure.",
                &["system", "class"],
            ),
            letters_opened: counters(
                &registry,
                "muster_letters_opened_total",
                "Dead letters opened; a failure that joins an open letter is not counted.",
                &["connection"],
            ),
            letters_healed: counters(
                &registry,
                "muster_letters_healed_total",
                "Dead letters closed because a later write or read of the same account went well.",
                &["connection"],
            ),
            held: counters(
                &registry,
                "muster_held_total",
                "Writes that a guard has put on hold, by the guard and the kind of write.",
                &["connection", "reason", "risk"],
            ),
            deferred: gauges(
                &registry,
                "muster_deferred_accounts",
                "Accounts whose writes wait until nobody works with them.",
                &["connection"],
            ),
            deferred_oldest: gauges(
                &registry,
                "muster_deferred_oldest_seconds",
                "How long the first of them has waited; 0 if none waits.",
                &["connection"],
            ),
            clock_ahead: gauges(
                &registry,
                "muster_clock_ahead_milliseconds",
                "By how much the clock of a system is ahead of the store's; only where the later edit wins.",
                &["system"],
            ),
            circuit_open: gauges(
                &registry,
                "muster_circuit_open",
                "Whether nobody calls a system because its calls fail, by the reason: 1 or 0.",
                &["system", "reason"],
            ),
            circuit_since: gauges(
                &registry,
                "muster_circuit_open_since_timestamp_seconds",
                "Since when nobody calls a system because its calls fail, in Unix time; 0 if it is called.",
                &["system"],
            ),
            circuits_opened: counters(
                &registry,
                "muster_circuit_opened_total",
                "How often calls of a system were stopped because they failed, by the reason.",
                &["system", "reason"],
            ),
            api_calls: counters(
                &registry,
                "muster_api_calls_total",
                "Calls of a system's interface, by HTTP status; `none` if there was no answer.",
                &["system", "operation", "status"],
            ),
            api_quota_used: gauges(
                &registry,
                "muster_api_quota_used",
                "Calls that the system counted in its own window, as it last said.",
                &["system"],
            ),
            api_quota_allowed: gauges(
                &registry,
                "muster_api_quota_allowed",
                "Calls that the system allows in its own window, as it last said.",
                &["system"],
            ),
            broker_up: gauges(
                &registry,
                "muster_broker_up",
                "Whether the broker connection of this role works: 1 or 0.",
                &["role"],
            ),
            broker_blocked: gauge(
                &registry,
                "muster_broker_blocked",
                "Whether the broker refuses publishes because of an alarm: 1 or 0.",
            ),
            store_up: gauge(&registry, "muster_store_up", "Whether the store answers: 1 or 0."),
            published_messages: register(
                &registry,
                IntCounter::new(
                    "muster_published_messages_total",
                    "Messages that were published and confirmed by the broker.",
                ),
            ),
            freshness: register(
                &registry,
                HistogramVec::new(
                    HistogramOpts::new(
                        "muster_freshness_seconds",
                        "Time from an edit, by the source's own stamp, to the confirmed write at the target.",
                    )
                    .buckets(FRESHNESS_BUCKETS.to_vec()),
                    &["connection"],
                ),
            ),
            missed_slots: counters(
                &registry,
                "muster_missed_slots_total",
                "Slots of a schedule that passed without a run of their own; a later run made up for them.",
                &["connection"],
            ),
            overdue: gauges(
                &registry,
                "muster_overdue",
                "Whether no run went well for longer than the schedule allows: 1 or 0.",
                &["connection"],
            ),
            failing: gauges(
                &registry,
                "muster_failing",
                "Whether the last run ended with an error: 1 or 0.",
                &["connection"],
            ),
            last_good_run: gauges(
                &registry,
                "muster_last_good_run_timestamp_seconds",
                "When the last run that went well began, in Unix time; 0 if none is known.",
                &["connection"],
            ),
            alerts: counters(
                &registry,
                "muster_alerts_total",
                "Alerts handed to a channel: `delivered`, or `failed` and tried again.",
                &["channel", "result"],
            ),
            registry,
        };
        let build = gauges(&metrics.registry, "muster_build_info", "Always 1; the version is a label.", &["version"]);
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        // CPU, memory, file descriptors and threads; the crate knows them on Linux only.
        #[cfg(target_os = "linux")]
        metrics
            .registry
            .register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))
            .expect("its names begin with process_");
        metrics
    }

    /// Makes every series of a connection exist at zero, so that a first failure is an increase and not a new series.
    pub fn expect_connection(&self, connection: &ConnectionName) {
        let connection = connection.as_str();
        for outcome in ChangeOutcome::ALL {
            self.changes.with_label_values(&[connection, outcome.as_str()]);
        }
        for outcome in CommandOutcome::ALL {
            self.commands.with_label_values(&[connection, outcome.as_str()]);
        }
        for risk in Risk::ALL {
            self.held.with_label_values(&[connection, Why::OverBudget.as_str(), risk.as_str()]);
            if spares(risk) {
                self.held.with_label_values(&[connection, Why::Protected.as_str(), risk.as_str()]);
            }
        }
        self.held.with_label_values(&[connection, Why::Frozen.as_str(), NO_RISK]);
        for counters in [&self.commands_emitted, &self.letters_opened, &self.letters_healed, &self.missed_slots] {
            counters.with_label_values(&[connection]);
        }
        self.freshness.with_label_values(&[connection]);
    }

    /// A change met its terminal outcome.
    pub fn change(&self, connection: &ConnectionName, outcome: ChangeOutcome) {
        self.changes.with_label_values(&[connection.as_str(), outcome.as_str()]).inc();
    }

    /// A command met its terminal outcome.
    pub fn command(&self, connection: &ConnectionName, outcome: CommandOutcome) {
        self.commands.with_label_values(&[connection.as_str(), outcome.as_str()]).inc();
    }

    /// Commands were emitted.
    pub fn commands_emitted(&self, connection: &ConnectionName, count: u64) {
        self.commands_emitted.with_label_values(&[connection.as_str()]).inc_by(count);
    }

    /// A command for this target goes up the retry ladder.
    pub fn retry(&self, system: &SystemName, class: FailureClass) {
        self.retries.with_label_values(&[system.as_str(), class.as_str()]).inc();
    }

    /// A dead letter was opened.
    pub fn letter_opened(&self, connection: &ConnectionName) {
        self.letters_opened.with_label_values(&[connection.as_str()]).inc();
    }

    /// A dead letter was closed by a success.
    pub fn letter_healed(&self, connection: &ConnectionName) {
        self.letters_healed.with_label_values(&[connection.as_str()]).inc();
    }

    /// A guard has put a write on hold.
    pub fn held(&self, connection: &ConnectionName, why: Why, risk: Risk) {
        self.held.with_label_values(&[connection.as_str(), why.as_str(), risk.as_str()]).inc();
    }

    /// So many accounts wait until nobody works with them, the first of them for so long.
    pub fn deferred(&self, connection: &ConnectionName, accounts: u64, oldest: Duration) {
        self.deferred.with_label_values(&[connection.as_str()]).set(whole(accounts));
        self.deferred_oldest.with_label_values(&[connection.as_str()]).set(whole(oldest.as_secs()));
    }

    /// The loop breaker has frozen an attribute of an account.
    pub fn frozen(&self, connection: &ConnectionName) {
        self.held.with_label_values(&[connection.as_str(), Why::Frozen.as_str(), NO_RISK]).inc();
    }

    /// By how much the clock of a system is ahead of the store's.
    pub fn clock_ahead(&self, system: &SystemName, milliseconds: i64) {
        self.clock_ahead.with_label_values(&[system.as_str()]).set(milliseconds);
    }

    /// A system is not called any more, since its calls fail.
    pub fn circuit_opened(&self, system: &SystemName, why: circuit::Why) {
        self.circuits_opened.with_label_values(&[system.as_str(), why.as_str()]).inc();
    }

    /// Whether a system is left alone since its calls fail.
    pub fn circuit(&self, system: &SystemName, open: Option<&Open>) {
        for why in circuit::Why::ALL {
            let is_open = open.is_some_and(|open| open.why == why);
            self.circuit_open.with_label_values(&[system.as_str(), why.as_str()]).set(i64::from(is_open));
        }
        let since = open.map_or(0, |open| open.since.0 / 1000);
        self.circuit_since.with_label_values(&[system.as_str()]).set(since);
    }

    /// Calls that a system's connector reported.
    pub fn calls(&self, system: &SystemName, report: &CallReport) {
        let system = system.as_str();
        for (operation, status, count) in &report.calls {
            let digits = status.to_string();
            let status = match status {
                100..=599 => digits.as_str(),
                0 => "none",
                _ => "other",
            };
            self.api_calls.with_label_values(&[system, operation, status]).inc_by(*count);
        }
        if let Some((used, allowed)) = report.usage {
            self.api_quota_used.with_label_values(&[system]).set(whole(used));
            self.api_quota_allowed.with_label_values(&[system]).set(whole(allowed));
        }
    }

    /// The broker connections as they are now.
    pub fn broker(&self, health: &BrokerHealth) {
        self.broker_up.with_label_values(&["publisher"]).set(i64::from(health.publishing));
        self.broker_up.with_label_values(&["consumer"]).set(i64::from(health.consuming));
        self.broker_blocked.set(i64::from(health.blocked.is_some()));
    }

    /// Whether the store answers.
    pub fn store(&self, up: bool) {
        self.store_up.set(i64::from(up));
    }

    /// Messages were confirmed by the broker.
    pub fn published(&self, count: u64) {
        self.published_messages.inc_by(count);
    }

    /// A write was confirmed this long after the edit that it carries.
    pub fn fresh(&self, connection: &ConnectionName, age: Duration) {
        self.freshness.with_label_values(&[connection.as_str()]).observe(age.as_secs_f64());
    }

    /// A run made up for slots that were missed.
    pub fn missed_slots(&self, connection: &ConnectionName, count: u32) {
        self.missed_slots.with_label_values(&[connection.as_str()]).inc_by(u64::from(count));
    }

    /// How a connection stands now.
    pub fn standing(&self, connection: &ConnectionName, standing: &Standing) {
        let connection = connection.as_str();
        self.overdue.with_label_values(&[connection]).set(i64::from(standing.overdue.is_some()));
        self.failing.with_label_values(&[connection]).set(i64::from(standing.failing.is_some()));
        let good_at = standing.good_at.map_or(0, |good_at| good_at.0 / 1000);
        self.last_good_run.with_label_values(&[connection]).set(good_at);
    }

    /// An alert was handed to a channel.
    pub fn alert(&self, channel: &str, delivered: bool) {
        let result = if delivered { "delivered" } else { "failed" };
        self.alerts.with_label_values(&[channel, result]).inc();
    }

    /// All metrics in Prometheus' text form.
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .expect("every family has samples, and a Vec takes everything");
        String::from_utf8(text).expect("names, helps and labels are text")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, metric: prometheus::Result<C>) -> C {
    let metric = metric.expect("the names above are valid");
    registry.register(Box::new(metric.clone())).expect("each name above is there once");
    metric
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register(registry, IntCounterVec::new(Opts::new(name, help), labels))
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    register(registry, IntGaugeVec::new(Opts::new(name, help), labels))
}

fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    register(registry, IntGauge::new(name, help))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used() -> Metrics {
        let metrics = Metrics::new();
        let (connection, system) = ("crm-directory".parse().unwrap(), "directory".parse().unwrap());
        metrics.change(&connection, ChangeOutcome::Accepted);
        metrics.command(&connection, CommandOutcome::Applied);
        metrics.commands_emitted(&connection, 2);
        metrics.retry(&system, FailureClass::Throttled);
        metrics.letter_opened(&connection);
        metrics.letter_healed(&connection);
        metrics.held(&connection, Why::OverBudget, Risk::Deactivate);
        metrics.deferred(&connection, 2, Duration::from_secs(90));
        metrics.calls(
            &system,
            &CallReport {
                calls: vec![("create", 201, 3), ("create", 0, 1), ("list", 999, 1)],
                usage: Some((7, 15_000)),
            },
        );
        metrics.broker(&BrokerHealth { publishing: true, consuming: false, blocked: Some("memory".to_owned()) });
        metrics.store(true);
        metrics.published(4);
        metrics.fresh(&connection, Duration::from_millis(700));
        metrics.missed_slots(&connection, 3);
        let overdue = Some(crate::domain::Timestamp(1_500_000));
        metrics.standing(&connection, &Standing { good_at: overdue, overdue, ..Standing::default() });
        metrics.alert("webhook", true);
        metrics.frozen(&connection);
        metrics.clock_ahead(&"crm".parse().unwrap(), -1_500);
        metrics.circuit_opened(&system, circuit::Why::Failing);
        let symptom = circuit::Symptom {
            class: FailureClass::Transient,
            code: crate::domain::Code::known("server_error"),
            status: Some(500),
        };
        let now = crate::domain::Timestamp(1_500_000);
        let open = Open { since: now, why: circuit::Why::Failing, symptom, probes: 0, probe_at: now, probe: None };
        metrics.circuit(&system, Some(&open));
        metrics
    }

    /// R77: dashboards and alerts are written against this page, so its whole text is kept.
    #[test]
    fn every_metric_has_its_name_help_and_labels() {
        let page = used().render();
        let ours: String = page
            .lines()
            .filter(|line| line.contains("muster_"))
            .map(|line| format!("{line}\n").replace(env!("CARGO_PKG_VERSION"), "VERSION"))
            .collect();
        insta::assert_snapshot!(ours);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_page_shows_the_process() {
        let page = used().render();
        for name in ["process_resident_memory_bytes", "process_open_fds", "process_cpu_seconds_total"] {
            assert!(page.contains(name), "{name}");
        }
    }

    #[test]
    fn an_expected_connection_shows_all_outcomes_at_zero() {
        let metrics = Metrics::new();
        metrics.expect_connection(&"crm-directory".parse().unwrap());
        let page = metrics.render();
        for outcome in ChangeOutcome::ALL {
            let line = format!("muster_changes_total{{connection=\"crm-directory\",outcome=\"{outcome}\"}} 0");
            assert!(page.contains(&line), "{line}");
        }
    }

    #[test]
    fn two_sets_of_metrics_share_nothing() {
        let (one, other) = (used(), Metrics::new());
        assert!(one.render().contains("muster_published_messages_total 4"));
        assert!(other.render().contains("muster_published_messages_total 0"));
    }
}
