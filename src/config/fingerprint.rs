//! Numbers that change with the meaning of a configuration and with nothing else: not with order, comments, or a default
//! that is spelt out. They are kept in links, so the texts hashed here must not change without need.

use std::fmt::Write;
use std::hash::Hasher;

use siphasher::sip::SipHasher24;

use crate::domain::breaker::Breaker;
use crate::domain::deferral::{AfterWait, BusyPolicy};
use crate::domain::guard::{Budgets, Risk};
use crate::domain::mapping::ValueTable;
use crate::domain::rules::{Drift, Flow, Leavers, Occasion, OnExisting};
use crate::domain::schedule::Schedule;
use crate::domain::{Side, Sides};
use crate::systems::kind::Fingerprint;

use super::attributes::AttributeConfig;
use super::connection::{Conflict, ConnectionConfig, Create, Direction, End, PartnerField};
use super::guards::ProtectedConfig;
use super::system::SystemConfig;
use super::{Config, Infrastructure, WriterConfig};

/// Of everything that a connection says.
pub(super) fn of_connection(connection: &ConnectionConfig) -> u64 {
    hash(&connection_text(connection))
}

/// Of everything that all processes of an installation must have in common. Secrets are left out, so that they can be
/// renewed, and so is what concerns one process alone.
pub(super) fn of_config(config: &Config) -> u64 {
    // Named one by one, so that a new field does not compile until it was thought of here.
    let Config {
        infrastructure,
        systems,
        connections,
        writer,
        telemetry: _,
        alerts: _,
        api: _,
        retention: _,
        fingerprint: _,
    } = config;
    let WriterConfig { attempts, lease, request_timeout, concurrency: _ } = writer;
    let mut text = match infrastructure {
        Infrastructure::Servers { broker, store } => {
            format!("broker {} {}\nstore {} {}\n", broker.url, broker.prefix, store.url, store.prefix)
        }
        Infrastructure::File { path } => format!("file {}\n", path.display()),
    };
    push(&mut text, "attempts", attempts);
    push(&mut text, "lease", lease.as_millis());
    push(&mut text, "request_timeout", request_timeout.as_millis());
    systems.values().for_each(|system| text.push_str(&system_text(system)));
    connections.values().for_each(|connection| text.push_str(&connection_text(connection)));
    hash(&text)
}

fn hash(text: &str) -> u64 {
    // Any fixed key will do: the number is compared, it protects nothing.
    let mut hasher = SipHasher24::new_with_keys(0x6d75_7374_6572, 1);
    hasher.write(text.as_bytes());
    hasher.finish()
}

fn push(text: &mut String, key: &str, value: impl std::fmt::Display) {
    writeln!(text, "{key}={value}").expect("a String takes everything");
}

fn system_text(system: &SystemConfig) -> String {
    let mut text = format!("[system {}]\n", system.name);
    let mut of = Fingerprint::default();
    system.kind.fingerprint(&mut of);
    text.push_str(&of.0);
    text
}

fn conflict_text(conflict: Conflict) -> &'static str {
    match conflict {
        Conflict::DefaultSystem => "default_system",
        Conflict::LastWrite => "last_write",
    }
}

fn connection_text(connection: &ConnectionConfig) -> String {
    let ConnectionConfig {
        name,
        ends,
        direction,
        create,
        schedule,
        overdue_after,
        scope,
        on_existing,
        leavers,
        budgets,
        protected,
        busy,
        loop_breaker,
        match_on,
        attributes,
        // What is recorded decides nothing.
        history: _,
        undo: _,
        version: _,
    } = connection;
    let mut text = format!("[connection {name}]\n");
    let Sides { a, b } = ends;
    for (key, End { system, object, partner, write_back }) in [("a", a), ("b", b)] {
        push(&mut text, key, format_args!("{system} {object}"));
        if *write_back {
            push(&mut text, "write_back", key);
        }
        if let Some(PartnerField { name, write_back, requires }) = partner {
            push(&mut text, "partner_field", format_args!("{name} {write_back}"));
            if let Some(requires) = requires {
                push(&mut text, "partner_requires", requires);
            }
        }
    }
    match direction {
        Direction::AToB => push(&mut text, "direction", "a_to_b"),
        Direction::BToA => push(&mut text, "direction", "b_to_a"),
        Direction::TwoWay { default_side, conflict } => {
            push(&mut text, "default", default_side);
            push(&mut text, "conflict", conflict_text(*conflict));
        }
    }
    push(
        &mut text,
        "create",
        match create {
            Create::Manual => "manual",
            Create::Automatic => "automatic",
        },
    );
    match schedule {
        Schedule::Manual => push(&mut text, "schedule", "manual"),
        Schedule::Every(every) => push(&mut text, "every", every.as_millis()),
        Schedule::Daily { .. } => push(&mut text, "schedule", schedule),
    }
    if *overdue_after != schedule.usual_patience() {
        push(&mut text, "overdue_after", overdue_after.as_millis());
    }
    if let Some(scope) = scope {
        push(&mut text, "scope", scope);
    }
    push(
        &mut text,
        "on_existing",
        match on_existing {
            OnExisting::Refuse => "refuse",
            OnExisting::Link => "link",
        },
    );
    push(
        &mut text,
        "leavers",
        match leavers {
            Leavers::Report => "report",
            Leavers::Deactivate => "deactivate",
            Leavers::Part(how) => how.as_str(),
        },
    );
    // What is as by default stands in no text, so that links from before there were guards keep their number.
    for risk in Risk::ALL {
        let budget = budgets.of(risk);
        if budget != Budgets::default().of(risk) {
            let budget = budget.map_or("off".to_owned(), |budget| format!("{budget} {}", budget.at_least));
            push(&mut text, "budget", format_args!("{risk} {budget}"));
        }
    }
    match protected {
        ProtectedConfig::Nobody => {}
        ProtectedConfig::Listed(names) => names.iter().for_each(|name| push(&mut text, "protected", name)),
        ProtectedConfig::Fitting(condition) => push(&mut text, "protected if", condition),
    }
    if *busy != BusyPolicy::default() {
        let BusyPolicy { wait, then, urgent } = busy;
        let then = match then {
            AfterWait::Letter => "letter",
            AfterWait::Write => "write",
        };
        push(&mut text, "busy", format_args!("{} {then}", wait.as_millis()));
        urgent.iter().for_each(|path| push(&mut text, "urgent", path));
    }
    if *loop_breaker != Some(Breaker::default()) {
        let breaker = loop_breaker.map_or("off".to_owned(), |breaker| format!("{breaker:?}"));
        push(&mut text, "loop breaker", breaker);
    }
    match_on.iter().for_each(|path| push(&mut text, "match", path));
    match attributes {
        None => push(&mut text, "attributes", "all"),
        Some(attributes) => {
            for (path, AttributeConfig { names, flow, owner, conflict, occasion, drift, made, values }) in attributes {
                push(&mut text, "attribute", format_args!("{path} {} {}", names.a, names.b));
                push(
                    &mut text,
                    "flow",
                    match flow {
                        Flow::Towards(Side::A) => "a",
                        Flow::Towards(Side::B) => "b",
                        Flow::Both => "both",
                        Flow::WatchedOn(Side::A) => "watched on a",
                        Flow::WatchedOn(Side::B) => "watched on b",
                    },
                );
                push(&mut text, "owner", owner.map_or("", Side::as_str));
                if let Some(conflict) = conflict {
                    push(&mut text, "conflict", conflict_text(*conflict));
                }
                push(
                    &mut text,
                    "on",
                    match occasion {
                        Occasion::Always => "always",
                        Occasion::Create => "create",
                        Occasion::Fill => "fill",
                    },
                );
                push(
                    &mut text,
                    "drift",
                    match drift {
                        Drift::Keep => "keep",
                        Drift::Enforce => "enforce",
                    },
                );
                for side in Side::BOTH {
                    if let Some(made) = &made[side] {
                        push(&mut text, "made", format_args!("{side} {made}"));
                    }
                }
                if let Some(ValueTable { entries, otherwise }) = values {
                    entries.iter().for_each(|entry| push(&mut text, "value", format_args!("{entry:?}")));
                    push(&mut text, "otherwise", format_args!("{otherwise:?}"));
                }
            }
        }
    }
    text
}
