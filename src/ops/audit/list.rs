//! `muster audit list` and `muster audit export`.

use std::collections::BTreeMap;

use serde_json::json;

use crate::domain::Timestamp;
use crate::domain::audit::{About, End, Entry, Line, Outcome, Verb};
use crate::ops::exit::Exit;
use crate::ops::output::{self, Form};
use crate::store::{Store, StoreError};

/// Lines that are read at a time.
const PAGE: usize = 500;

/// Acts that are shown to a person at most, unless they say otherwise.
const SHOWN: usize = 50;

/// Which entries are meant.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    pub by: Option<String>,
    pub verb: Option<Verb>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

impl Wanted {
    fn is_everything(&self) -> bool {
        self.by.is_none() && self.verb.is_none() && self.since.is_none() && self.until.is_none()
    }

    fn fits(&self, entry: &Entry) -> bool {
        self.by.as_ref().is_none_or(|by| entry.is_by(by))
            && self.verb.is_none_or(|verb| entry.verb == verb)
            && self.since.is_none_or(|since| entry.at >= since)
            && self.until.is_none_or(|until| entry.at < until)
    }
}

/// Hands all lines of the store to `take`, in order.
pub(super) async fn each_line<S: Store>(store: &S, take: impl FnMut(Line)) -> Result<(), StoreError> {
    let anchor = store.acts_ends().await?.anchor;
    each_line_behind(store, anchor.as_ref(), take).await
}

/// The same, behind an anchor that is known.
pub(super) async fn each_line_behind<S: Store>(
    store: &S,
    anchor: Option<&End>,
    mut take: impl FnMut(Line),
) -> Result<(), StoreError> {
    let mut after = anchor.map_or(0, |anchor| anchor.number);
    loop {
        let page = store.acts(after, PAGE).await?;
        let (read, last) = (page.len(), page.last().and_then(Line::place));
        page.into_iter().for_each(&mut take);
        match last {
            // One that cannot be read does not tell where it is, so that the page cannot be told from the next one.
            Some(last) if read == PAGE && last.number > after => after = last.number,
            _ => return Ok(()),
        }
    }
}

/// An act, of one or two entries.
pub(crate) struct Told {
    pub(crate) begun: Entry,
    pub(crate) ended: Option<Entry>,
}

/// Acts, the latest first, at most so many.
pub(crate) async fn latest<S: Store>(store: &S, limit: usize) -> Result<Vec<Told>, StoreError> {
    let (acts, _) = gather(store, &Wanted::default()).await?;
    Ok(acts.into_values().rev().take(limit).collect())
}

/// The acts that are wanted, by their numbers, and how many entries this version cannot read.
async fn gather<S: Store>(store: &S, wanted: &Wanted) -> Result<(BTreeMap<u64, Told>, usize), StoreError> {
    let (mut acts, mut unreadable) = (BTreeMap::<u64, Told>::new(), 0);
    each_line(store, |line| match line.entry() {
        Some(entry) if entry.outcome == Outcome::Begun => {
            if wanted.fits(&entry) {
                acts.insert(entry.number, Told { begun: entry, ended: None });
            }
        }
        Some(entry) => {
            if let Some(act) = acts.get_mut(&entry.act) {
                act.ended = Some(entry);
            }
        }
        None => unreadable += 1,
    })
    .await?;
    Ok((acts, unreadable))
}

/// Lists acts, the latest first.
pub(super) async fn list<S: Store>(
    store: &S,
    wanted: &Wanted,
    limit: Option<usize>,
    form: Form,
) -> anyhow::Result<Exit> {
    let (acts, unreadable) = gather(store, wanted).await?;
    let all = acts.len();
    let limit = limit.unwrap_or(if form == Form::Json { usize::MAX } else { SHOWN });
    let shown = acts.into_values().rev().take(limit);
    if form == Form::Json {
        shown.for_each(|act| output::object(&act.json()));
        return Ok(Exit::Done);
    }
    let mut table = output::table(&["ACT", "BEGUN", "WHO", "WHAT", "ABOUT", "CAME TO"]);
    for act in shown {
        let Told { begun, .. } = &act;
        let who = format!("{} ({})", begun.by, begun.door.as_str());
        table.add_row([
            begun.number.to_string(),
            begun.at.to_string(),
            who,
            begun.verb.to_string(),
            act.about(),
            act.end(),
        ]);
    }
    match all {
        0 => output::line("Nobody did anything that is kept"),
        _ => output::print(&table),
    }
    if all > limit {
        output::line(format!("... and {} before them; --limit shows more", all - limit));
    }
    if unreadable > 0 {
        let entries = if unreadable == 1 { "1 entry".to_owned() } else { format!("{unreadable} entries") };
        output::line(format!("{entries} cannot be read by this version: see `muster audit verify`"));
    }
    Ok(Exit::Done)
}

impl Told {
    /// What it was about, in words.
    pub(crate) fn about(&self) -> String {
        let About { connection, accounts, ids, more, options } = self.begun.about.clone().unwrap_or_default();
        let mut words: Vec<String> = connection.iter().map(ToString::to_string).collect();
        words.extend(accounts);
        words.extend(self.turned_out().into_iter().flat_map(|about| about.accounts.clone()));
        words.extend(ids);
        if more > 0 {
            words.push(format!("and {more} more"));
        }
        words.extend(options.iter().map(|(name, value)| match value.as_str() {
            "yes" => name.clone(),
            value => format!("{name}={value}"),
        }));
        words.extend(self.begun.why.reason.iter().map(|reason| format!("because: {reason}")));
        words.extend(self.begun.why.text.iter().map(|text| format!("“{text}”")));
        words.join(" ")
    }

    /// What was added to it when it ended.
    fn turned_out(&self) -> Option<&About> {
        self.ended.as_ref()?.about.as_ref()
    }

    /// What it came to, in words.
    pub(crate) fn end(&self) -> String {
        let Some(ended) = &self.ended else { return "no end is noted".to_owned() };
        let counts: Vec<_> = ended.counts.iter().map(|(what, count)| format!("{what} {count}")).collect();
        [vec![ended.outcome.as_str().to_owned()], counts].concat().join(", ")
    }

    fn json(&self) -> serde_json::Value {
        let Entry { chain, number, at, by, door, verb, about, why, .. } = &self.begun;
        json!({
            "chain": chain, "act": number, "begun_at": at, "by": by, "door": door, "verb": verb, "about": about, "why": why,
            "outcome": self.ended.as_ref().map_or(Outcome::Begun, |ended| ended.outcome),
            "ended_at": self.ended.as_ref().map(|ended| ended.at),
            "turned_out": self.turned_out(), "counts": self.ended.as_ref().map(|ended| &ended.counts),
        })
    }
}

/// Writes entries as they are. Of a whole export the hashes can be followed by any program.
pub(super) async fn export<S: Store>(store: &S, wanted: &Wanted) -> anyhow::Result<Exit> {
    if wanted.is_everything()
        && let Some(anchor) = store.acts_ends().await?.anchor
    {
        output::object(&json!({ "anchor": anchor }));
    }
    each_line(store, |line| {
        let is_wanted = wanted.is_everything() || line.entry().is_some_and(|entry| wanted.fits(&entry));
        if is_wanted {
            output::line(line.as_str());
        }
    })
    .await?;
    Ok(Exit::Done)
}
