//! `[connections.<name>]`: the rules that keep the accounts of two systems in step.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::breaker::Breaker;
use crate::domain::deferral::BusyPolicy;
use crate::domain::guard::Budgets;
use crate::domain::matching::MatchKey;
use crate::domain::rules::{Departure, Flow, Leavers, OnExisting};
use crate::domain::schedule::Schedule;
use crate::domain::{AttributePath, ConnectionName, Side, Sides, SystemName};
use crate::expression::Scope;
use crate::systems::kind::Kind;

use super::attributes::{AttributeConfig, attributes, check_names};
use super::guards::{ProtectedConfig, budgets, busy, loop_breaker, protected};
use super::matching;
use super::schedule::{history, overdue_after, schedule, undo};
use super::shape::{Either, Entry, Flag, Mapped, Text, Words, parsed};
use super::system::FIELD;
use super::table::Table;
use super::words::suggestion;

/// A configured connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionConfig {
    /// Its name.
    pub name: ConnectionName,
    /// Its two ends.
    pub ends: Sides<End>,
    /// Which way it flows.
    pub direction: Direction,
    /// Who creates missing accounts.
    pub create: Create,
    /// When it runs by itself.
    pub schedule: Schedule,
    /// How long after its time a run that goes well may be missing before the connection counts as overdue (R70).
    pub overdue_after: Duration,
    /// Which accounts it is about; `None`: all.
    pub scope: Option<Scope>,
    /// What happens when an account that is to be created exists already.
    pub on_existing: OnExisting,
    /// What follows when an account leaves.
    pub leavers: Leavers,
    /// How many writes that do harm in bulk may pass.
    pub budgets: Budgets,
    /// Accounts that are spared.
    pub protected: ProtectedConfig,
    /// What happens to writes of accounts that somebody works with.
    pub busy: BusyPolicy,
    /// How often an attribute may go to and fro before it is frozen; `None`: as often as it likes.
    pub loop_breaker: Option<Breaker>,
    /// The keys by which partners are found, the surest first.
    pub match_on: Vec<MatchKey>,
    /// The attributes to keep in step, under the names that the link keeps them by. `None`: all that both systems know.
    pub attributes: Option<BTreeMap<AttributePath, AttributeConfig>>,
    /// How long changes are kept with what was decided of them; `None`: they are not.
    pub history: Option<Duration>,
    /// How long is kept what its writes overwrite; `None`: it is not.
    pub undo: Option<Duration>,
    /// Changes whenever anything above does but `history` and `undo`, and with nothing else: not with comments, order, or a spelt-out default.
    pub version: u64,
}

/// One end of a connection.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct End {
    /// The system.
    pub system: SystemName,
    /// The kind of record (R54), as the system calls it: `User`.
    pub object: String,
    /// The field of these records that holds the partner's id, where the file names one.
    pub partner: Option<PartnerField>,
    /// Where the system has a field of its own for the partner's id: whether the id of an account that is linked is put
    /// there if it is empty (R43). At a creation it always is.
    pub write_back: bool,
}

/// The field that holds the partner's id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartnerField {
    /// Its API name.
    pub name: String,
    /// Whether the id of the account on the other side is put there where the field is empty, whichever way the
    /// connection flows.
    pub write_back: bool,
    /// Another field that must be filled for the id to count (R4). It may hold a secret, such as an SSO token: only
    /// whether it is filled is ever asked.
    pub requires: Option<String>,
}

impl End {
    /// Which records it is about.
    fn records(&self) -> (&SystemName, &str) {
        (&self.system, &self.object)
    }
}

/// Which way a connection flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// `b` follows `a`.
    AToB,
    /// `a` follows `b`.
    BToA,
    /// Each follows the other.
    TwoWay {
        /// The side of the system that the file names as `default_system` (R57).
        default_side: Side,
        /// Who wins a clash.
        conflict: Conflict,
    },
}

/// Who wins when both sides changed one attribute since they last agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// The default system (R58).
    DefaultSystem,
    /// The later edit; where time does not tell, the default system.
    LastWrite,
}

/// Who creates an account that is missing on the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Create {
    /// A person, by a command (R45).
    Manual,
    /// Muster.
    Automatic,
}

impl Direction {
    /// The flow of an attribute for which the file says nothing else.
    pub fn flow(self) -> Flow {
        match self {
            Self::AToB => Flow::Towards(Side::B),
            Self::BToA => Flow::Towards(Side::A),
            Self::TwoWay { .. } => Flow::Both,
        }
    }
}

impl ConnectionConfig {
    /// What is configured for an attribute. Where the file lists none, every attribute has the connection's flow and
    /// the same name on both sides; where it lists some, the others are not mapped.
    pub fn attribute(&self, path: &AttributePath) -> Option<AttributeConfig> {
        match &self.attributes {
            Some(attributes) => attributes.get(path).cloned(),
            None => Some(AttributeConfig::plain(path, self.direction.flow())),
        }
    }

    /// The sides on which accounts are created without being asked for.
    pub fn creates(&self) -> Sides<bool> {
        let flow = self.direction.flow();
        Sides::from_fn(|side| self.create == Create::Automatic && flow.writes(side))
    }
}

/// What connections may refer to: every configured system, with its kind unless that has mistakes.
pub(super) type Systems = BTreeMap<SystemName, Option<Arc<dyn Kind>>>;

pub(super) fn connection(
    table: &mut Table<'_, '_>,
    name: &ConnectionName,
    systems: &Systems,
) -> Option<ConnectionConfig> {
    let a = end(table, "a", systems, "One end: the name of a system, or { system = \"crm\", object = \"User\" }.");
    let b = end(table, "b", systems, "The other end.");
    let ends = a.zip(b).map(|(a, b)| Sides { a, b });
    if let Some(ends) = ends.as_ref().filter(|ends| ends.a.records() == ends.b.records()) {
        let problem = format!("both ends are the same records of {}", ends.a.system);
        table.mistake("b", problem, "name another system");
    }
    let (flow, direction) = direction(table, ends.as_ref());
    let create = table.default(
        "create",
        Words(&[("manual", Create::Manual), ("automatic", Create::Automatic)]),
        Create::Manual,
        "Whether accounts that are missing on the side written to are created without a command.",
    );
    let schedule = schedule(table);
    let overdue_after = overdue_after(table, schedule.as_ref());
    let scope = scope(table);
    let on_existing = table.default(
        "on_existing",
        Words(&[("refuse", OnExisting::Refuse), ("link", OnExisting::Link)]),
        OnExisting::Refuse,
        "What happens when an account that is to be created exists already: a dead letter, or the two are linked.",
    );
    let leavers = table.default(
        "leavers",
        Words(&[
            ("report", Leavers::Report),
            ("deactivate", Leavers::Deactivate),
            ("detach", Leavers::Part(Departure::Detach)),
            ("remove", Leavers::Part(Departure::Remove)),
            ("delete", Leavers::Part(Departure::Delete)),
        ]),
        Leavers::Report,
        "What follows for the partner of an account that is gone or no longer active: nothing; it is deactivated; only the \
         link ends; it is taken out of its system's roster; it is deleted. One that comes back is linked or created again.",
    );
    if let (Some(Leavers::Part(how)), Some(direction), Some(ends)) = (leavers, direction, &ends) {
        check_departure(table, how, direction, ends, systems);
    }
    let (budgets, protected) = (budgets(table), protected(table));
    let (busy, loop_breaker) = (busy(table), loop_breaker(table));
    let match_on = matching::match_on(table);
    let (history, undo) = (history(table), undo(table));
    let attributes = attributes(table, flow, ends.as_ref());
    if let (Some(match_on), Some(Some(attributes))) = (&match_on, &attributes) {
        matching::check(table, match_on, attributes);
        check_names(table, attributes);
    }
    let mut connection = ConnectionConfig {
        name: name.clone(),
        ends: ends?,
        direction: direction?,
        create: create?,
        schedule: schedule?,
        overdue_after: overdue_after?,
        scope: scope?,
        on_existing: on_existing?,
        leavers: leavers?,
        budgets: budgets?,
        protected: protected?,
        busy: busy?,
        loop_breaker: loop_breaker?,
        match_on: match_on?,
        attributes: attributes?,
        history: history?,
        undo: undo?,
        version: 0,
    };
    connection.version = super::fingerprint::of_connection(&connection);
    Some(connection)
}

/// Whether the system that is written to can do this to the partner of a leaver.
fn check_departure(
    table: &mut Table<'_, '_>,
    how: Departure,
    direction: Direction,
    ends: &Sides<End>,
    systems: &Systems,
) {
    let word = how.as_str();
    let side = match direction {
        Direction::AToB => Side::B,
        Direction::BToA => Side::A,
        Direction::TwoWay { .. } => {
            let problem =
                format!("cannot {word} the partners of leavers both ways: each side would make the other's anew");
            table.mistake("leavers", problem, "say \"report\" or \"deactivate\", or give the connection one direction");
            return;
        }
    };
    let End { system, object, .. } = &ends[side];
    if let Some(Some(kind)) = systems.get(system)
        && let Err(remedy) = kind.departs(object, how)
    {
        table.mistake("leavers", format!("{system} cannot {word} accounts"), remedy);
    }
}

const CONDITION: Text<String> = Text {
    what: "a condition",
    rule: "a scope is a CEL condition on the attributes of one side, such as a.native.Sync__c == true",
    parse: |text| Some(text.to_owned()),
};

/// The outer `None` is a mistake.
fn scope(table: &mut Table<'_, '_>) -> Option<Option<Scope>> {
    let text = table.optional(
        "scope",
        CONDITION,
        "Which accounts it is about, as a CEL condition on one side: 'a.native.Sync__c == true'. Others are not linked; \
         links of accounts that fit no longer stay, and are not written.",
    );
    let Some(text) = text? else { return Some(None) };
    match Scope::parse(&text) {
        Ok(scope) => Some(Some(scope)),
        Err(error) => {
            table.mistake_within("scope", error.at, format!("{error}"), CONDITION.rule);
            None
        }
    }
}

pub(super) const ATTRIBUTE_RULE: &str =
    "an attribute is a SCIM name such as \"emails\" or \"name.givenName\", a urn: extension, or native.<field>";

fn end(table: &mut Table<'_, '_>, key: &'static str, systems: &Systems, doc: &str) -> Option<End> {
    let text = || {
        parsed::<SystemName>(
            "the name of a system",
            "a name has 1 to 64 characters of a-z, 0-9 and -, and begins with a letter",
        )
    };
    let known = |name: SystemName, table: &mut Table<'_, '_>, key: &str| {
        let known: Vec<_> = systems.keys().map(SystemName::as_str).collect();
        if systems.contains_key(&name) {
            return Some(name);
        }
        let remedy = match known.as_slice() {
            [] => format!("add [systems.{name}]"),
            known => suggestion(name.as_str(), known),
        };
        table.mistake(key, format!("there is no system {name}"), remedy);
        None
    };
    // The kinds of record of a system; none where its own table has mistakes.
    let objects = |system: &SystemName| match systems.get(system) {
        Some(Some(kind)) => kind.objects(),
        _ => &[],
    };
    let with_object = |table: &mut Table<'_, '_>| {
        let system = table.required("system", text(), "The name of a system.");
        let object = table.optional(
            "object",
            parsed::<String>("a kind of record", "the kind of record"),
            "The kind of record; the system's usual one if left out.",
        );
        let partner = partner_field(table);
        let (system, object, (partner, write_back)) = (known(system?, table, "system")?, object?, partner?);
        if let Some(object) = &object
            && let objects @ [_, ..] = objects(&system)
            && !objects.contains(&object.as_str())
        {
            table.mistake(
                "object",
                format!("{system} has no records {object:?} that can be connected"),
                suggestion(object, objects),
            );
            return None;
        }
        if partner.is_some() && matches!(systems.get(&system), Some(Some(kind)) if !kind.takes_partner_field()) {
            let remedy = "leave it out: this kind of system keeps the partner's id in a field of its own";
            table.mistake("partner_field", "cannot be chosen here", remedy);
            return None;
        }
        if write_back && matches!(systems.get(&system), Some(Some(kind)) if kind.takes_partner_field()) {
            table.mistake("write_back", "there is no field to write to", "add partner_field = \"Operator_ID__c\"");
            return None;
        }
        let requires = partner.as_ref().and_then(|partner| partner.requires.as_deref());
        if let (Some(requires), Some(Some(kind))) = (requires, systems.get(&system))
            && kind.reads_field(requires)
        {
            let problem = format!("{requires} may hold a secret, and `fields` of {system} reads it");
            table.mistake("partner_requires", problem, format!("take {requires} out of `fields` of {system}"));
            return None;
        }
        Some((system, object, partner, write_back))
    };
    let plain = Mapped(text(), |system| (system, None, None, false));
    let (system, object, partner, write_back) = table.required(key, Either(plain, with_object), doc)?;
    // The table has looked for its system already; the plain name is looked for here.
    let system = known(system, table, key)?;
    let usual = || objects(&system).first().copied().unwrap_or_default().to_owned();
    let object = object.unwrap_or_else(usual);
    Some(End { system, object, partner, write_back })
}

/// Reads `partner_field` and `write_back`: the field that the file names, or whether the system's own one is filled. The
/// outer `None` is a mistake.
fn partner_field(table: &mut Table<'_, '_>) -> Option<(Option<PartnerField>, bool)> {
    let name = table.optional(
        "partner_field",
        FIELD,
        "The field of these records that holds the id of the account on the other side, such as \"Operator_ID__c\": \
         best a text field that is unique and an external id.",
    );
    let write_back = table.optional(
        "write_back",
        Flag,
        "Whether that id is also put there where the field is empty, whichever way the connection flows. Without \
         partner_field it is about the field that the system has for this: iAdvize's and InitLive's external ID, which new \
         accounts get anyhow.",
    );
    let requires = table.optional(
        "partner_requires",
        FIELD,
        "A field that must be filled for that id to count, such as \"SSO_Token__c\": links are made by saving both. What it \
         holds is never kept or shown, only whether it is filled.",
    );
    let (name, write_back, requires) = (name?, write_back?, requires?);
    let Some(name) = name else {
        if requires.is_some() {
            let remedy = "add partner_field = \"Operator_ID__c\"";
            table.mistake("partner_requires", "there is no field with an id", remedy);
        }
        return requires.is_none().then_some((None, write_back == Some(true)));
    };
    if requires.as_ref().is_some_and(|requires| requires.eq_ignore_ascii_case(&name)) {
        table.mistake("partner_requires", "is the field of the id itself", "name the other field, or leave it out");
        return None;
    }
    Some((Some(PartnerField { name, write_back: write_back.unwrap_or(false), requires }), false))
}

/// Reports connections between the same records: each account would have two links, with two opinions about it.
pub(super) fn check_ends(table: &mut Table<'_, '_>, connections: &[Entry<ConnectionName, ConnectionConfig>]) {
    let mut seen: Vec<(&ConnectionName, [(&SystemName, &str); 2])> = Vec::new();
    for entry in connections {
        let Some(connection) = &entry.value else { continue };
        let mut ends = [connection.ends.a.records(), connection.ends.b.records()];
        ends.sort_unstable();
        match seen.iter().find(|(_, other)| *other == ends) {
            Some((other, _)) => {
                let problem = format!("connects the same records as connections.{other}");
                table.mistake_at(&entry.place, problem, "make one two-way connection of the two, or leave one out");
            }
            None => seen.push((&entry.name, ends)),
        }
    }
}

/// The flow is known even where the rest of the direction has mistakes.
fn direction(table: &mut Table<'_, '_>, ends: Option<&Sides<End>>) -> (Option<Flow>, Option<Direction>) {
    let flow =
        table.required("direction", Words(FLOWS), "Which way values flow: \"a_to_b\", \"b_to_a\" or \"two_way\".");
    let default_system = table.optional(
        "default_system",
        parsed::<String>("the name of a system", "one of the two systems"),
        "The system that wins where both changed the same attribute. Required for two_way, and only there.",
    );
    let conflict = table.optional(
        "conflict",
        Words(CONFLICTS),
        "Who wins where both changed the same attribute: the default system (default), or the later edit. Only for \
         two_way.",
    );
    let direction = match flow {
        Some(Flow::Both) => two_way(table, ends, default_system, conflict),
        Some(Flow::Towards(target)) => {
            for key in ["default_system", "conflict"] {
                if table.has(key) {
                    let remedy = "leave it out, or set direction = \"two_way\"";
                    table.mistake(key, "has no meaning in a one-way connection", remedy);
                }
            }
            Some(if target == Side::B { Direction::AToB } else { Direction::BToA })
        }
        Some(Flow::WatchedOn(_)) | None => None,
    };
    (flow, direction)
}

/// The words for policies, of connections and attributes alike.
pub(super) const CONFLICTS: &[(&str, Conflict)] =
    &[("default_system", Conflict::DefaultSystem), ("last_write", Conflict::LastWrite)];

/// The words for directions, of connections and attributes alike.
pub(super) const FLOWS: &[(&str, Flow)] =
    &[("a_to_b", Flow::Towards(Side::B)), ("b_to_a", Flow::Towards(Side::A)), ("two_way", Flow::Both)];

fn two_way(
    table: &mut Table<'_, '_>,
    ends: Option<&Sides<End>>,
    default_system: Option<Option<String>>,
    conflict: Option<Option<Conflict>>,
) -> Option<Direction> {
    let Some(default_system) = default_system? else {
        let remedy = match ends {
            Some(ends) => format!("add default_system = \"{}\" or \"{}\"", ends.a.system, ends.b.system),
            None => "add default_system with the name of one of the two systems".to_owned(),
        };
        table.mistake("default_system", "a two-way connection needs a default system", remedy);
        return None;
    };
    let default_side = side_named(table, "default_system", &default_system, ends?)?;
    Some(Direction::TwoWay { default_side, conflict: conflict?.unwrap_or(Conflict::DefaultSystem) })
}

/// The side of the system of this name. Where both ends are of one system, `a` and `b` name them.
pub(super) fn side_named(table: &mut Table<'_, '_>, key: &str, name: &str, ends: &Sides<End>) -> Option<Side> {
    let names = if ends.a.system == ends.b.system {
        Sides { a: "a", b: "b" }
    } else {
        Sides { a: ends.a.system.as_str(), b: ends.b.system.as_str() }
    };
    let side = Side::BOTH.into_iter().find(|side| names[*side] == name);
    if side.is_none() {
        let problem = format!("{name:?} is no end of this connection");
        table.mistake(key, problem, suggestion(name, &[names.a, names.b]));
    }
    side
}
