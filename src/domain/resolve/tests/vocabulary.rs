//! Words for tests of the core: rules, versions and snapshots in a line each, and a [`Play`] that carries a link
//! through the steps of mapper and writer.

use std::time::Duration;

use crate::domain::attribute::{AttributePath, Attributes, Value};
use crate::domain::id::{AccountId, Epoch, LinkId, Side, Sides, Token};
use crate::domain::link::{Link, Origin};
use crate::domain::pending::{Pending, pending};
use crate::domain::resolve::{JournalReason, Resolution, resolve};
use crate::domain::rules::{AttributeRule, Flow, Policy, Rules};
use crate::domain::write::{Deadlines, Finish, Plan, begin, finish, plan};
use crate::domain::{Snapshot, Timestamp, Version};

/// The grain of both sides' stamps.
pub const GRAIN: Duration = Duration::from_secs(1);

/// How long a lease lasts in a [`Play`], and a request may run, in seconds.
pub const LEASE_S: i64 = 10;

pub fn path(name: &str) -> AttributePath {
    name.parse().unwrap()
}

/// A value; `-` is a clear.
pub fn value(text: &str) -> Option<Value> {
    (text != "-").then(|| Value::from(text))
}

pub fn account(side: Side) -> AccountId {
    format!("account-{side}").parse().unwrap()
}

/// A version with a stamp and a time of reading, both in seconds.
pub fn at(modified_s: f64, read_s: f64) -> Version {
    Version { modified_at: Some(Timestamp(ms(modified_s))), read_at: Timestamp(ms(read_s)), tag: None }
}

/// A version of a side that has no stamps.
pub fn read_at(read_s: f64) -> Version {
    Version { modified_at: None, read_at: Timestamp(ms(read_s)), tag: None }
}

fn ms(seconds: f64) -> i64 {
    (seconds * 1000.0) as i64
}

pub fn attributes(values: &[(&str, &str)]) -> Attributes {
    values.iter().map(|(name, text)| (path(name), value(text))).collect()
}

pub fn snapshot(side: Side, version: Version, values: &[(&str, &str)]) -> Snapshot {
    Snapshot { account: account(side), version, attributes: attributes(values), partner: None }
}

/// Rules for the attributes of these names, all flowing this way.
pub fn rules(flow: Flow, policy: Policy, names: &[&str]) -> Rules {
    let rule = |name: &&str| (path(name), AttributeRule::new(path(name), flow, policy));
    let attributes = names.iter().map(rule).collect();
    Rules { create: Sides { a: true, b: true }, ..Rules::new("crm-scim".parse().unwrap(), EPOCH, attributes, GRAIN) }
}

pub const EPOCH: Epoch = Epoch(7);

/// Two-way, `default` winning every clash.
pub fn two_way(default: Side, names: &[&str]) -> Rules {
    rules(Flow::Both, Policy::DefaultSystem(default), names)
}

/// One-way from `a` to `b`.
pub fn to_b(names: &[&str]) -> Rules {
    rules(Flow::Towards(Side::B), Policy::DefaultSystem(Side::A), names)
}

/// A write under way.
pub struct Going {
    pub side: Side,
    pub token: Token,
    pub wanted: Pending,
}

/// A link on its way through the steps of mapper and writer.
#[derive(Clone)]
pub struct Play {
    pub rules: Rules,
    pub link: Link,
    /// Whatever went into the journal, as `side attribute=value reason`.
    pub journal: Vec<String>,
    /// The store's clock, in seconds.
    pub now_s: f64,
    tokens: u64,
}

impl Play {
    /// Two linked accounts of which nothing was read yet.
    pub fn of(rules: Rules) -> Self {
        let mut link = Link::new(LinkId(1), EPOCH, Origin::FirstMatch, Side::A, account(Side::A));
        link.sides.b.account = Some(account(Side::B));
        Self { rules, link, journal: Vec::new(), now_s: 20.0, tokens: 0 }
    }

    /// Two linked accounts that hold the same values since second 10 and were read in second 20.
    pub fn in_sync(rules: Rules, values: &[(&str, &str)]) -> Self {
        let mut play = Self::of(rules);
        for side in Side::BOTH {
            play.see(side, at(10.0, 20.0), values);
        }
        assert_eq!((play.behind(Side::A), play.behind(Side::B)), (String::new(), String::new()));
        play
    }

    /// The mapper gets a snapshot.
    pub fn see(&mut self, side: Side, version: Version, values: &[(&str, &str)]) -> Resolution {
        self.resolve(side, &snapshot(side, version, values))
    }

    pub fn resolve(&mut self, side: Side, snapshot: &Snapshot) -> Resolution {
        let resolution = resolve(&self.link, side, snapshot, &self.rules, Timestamp(ms(self.now_s)));
        self.link = resolution.link.clone();
        self.journal.extend(resolution.lost.iter().map(|lost| {
            let reason = match lost.reason {
                JournalReason::ConflictLost => "lost",
                JournalReason::MayBeAPersons => "maybe",
                JournalReason::Overruled => "overruled",
                JournalReason::Pinned => "pinned",
                JournalReason::GivenBack => "given back",
            };
            format!("{} {}={} {reason}", lost.side, lost.path, text(lost.value.as_ref()))
        }));
        resolution
    }

    /// What a writer would do about `side`.
    pub fn plan(&self, side: Side) -> Plan {
        plan(&self.link, side, &self.rules, Timestamp(ms(self.now_s)))
    }

    /// A writer takes the lease of `side` and notes what it is about to write.
    pub fn begin(&mut self, side: Side) -> Going {
        let Plan::Write(wanted) = self.plan(side) else { panic!("nothing to write: {:?}", self.plan(side)) };
        self.tokens += 1;
        let token = Token(self.tokens);
        let end = Timestamp(ms(self.now_s) + LEASE_S * 1000);
        let begun_at = Timestamp(ms(self.now_s));
        let deadlines = Deadlines { begun_at, lease_until: end, over_at: end, search_counts_at: end };
        self.link = begin(&self.link, side, token, &wanted, &self.rules, deadlines);
        Going { side, token, wanted }
    }

    /// The answer to that write is committed: `done`, `fenced` or `lost lease`, and what the answer shows besides.
    pub fn finish(
        &mut self,
        going: &Going,
        version: Version,
        values: &[(&str, &str)],
    ) -> (&'static str, Option<Snapshot>) {
        let answer = snapshot(going.side, version, values);
        match finish(&self.link, going.side, going.token, &going.wanted, &answer, &self.rules) {
            Finish::Done { link, rest } => {
                self.link = link;
                ("done", rest)
            }
            Finish::Fenced { link } => {
                self.link = link;
                ("fenced", None)
            }
            Finish::LostLease => ("lost lease", None),
        }
    }

    /// The value of a register, `-` for a clear and `?` if there is none.
    pub fn value(&self, name: &str) -> String {
        self.link.registers.get(&path(name)).map_or("?".into(), |register| text(register.value.as_ref()))
    }

    /// What `side` lacks, as `x=1 y=-`.
    pub fn behind(&self, side: Side) -> String {
        let wanted = pending(&self.link, side, &self.rules).map(|wanted| wanted.values).unwrap_or_default();
        let parts: Vec<String> =
            wanted.iter().map(|(path, value)| format!("{path}={}", text(value.as_ref()))).collect();
        parts.join(" ")
    }
}

/// A value as the tests write it.
pub fn text(value: Option<&Value>) -> String {
    value.map_or("-".into(), |value| value.as_text().unwrap_or("?").to_owned())
}
