//! `muster dead preview`: what would come of sending letters again, decided by the functions that the writer decides with
//! on what both systems hold now (B8). Nothing is written.

use std::collections::{BTreeMap, HashMap};
use std::iter;
use std::time::Duration;

use serde_json::json;

use super::list::account;
use super::select::Letters;
use super::show::masked;
use crate::broker::Broker;
use crate::domain::course::{Existing, existing};
use crate::domain::foresight::{Foreseen, foresee};
use crate::domain::guard::{Risk, exposures};
use crate::domain::pending::{Need, Pending};
use crate::domain::redrive::Which;
use crate::domain::resolve::resolve;
use crate::domain::{
    Attributes, ConnectionName, DeadLetter, LetterContent, LetterId, Link, LinkId, Side, Sides, Snapshot, SystemName,
    Value, write,
};
use crate::ops::exit::Exit;
use crate::ops::output::{self, Form};
use crate::stages::searches::Searches;
use crate::stages::{Connection, Pipeline, validate};
use crate::store::{Store, StoreError};
use crate::systems::{Lookup, SearchKey};

/// Letters that are looked at together.
const AT_ONCE: usize = 50;

/// How long a system may take to answer a person who waits.
const LOOK: Duration = Duration::from_secs(15);

/// What came of looking at an account today.
pub(crate) enum Sight {
    /// There is none to look at, or nobody was to look.
    NotAsked,
    /// The system says that there is no such account.
    Absent,
    /// It did not say.
    Failed(String),
    /// There it is.
    Seen(Snapshot),
}

/// What would come of sending a letter again.
pub(crate) struct Prediction {
    pub(crate) letter: LetterId,
    /// The account that a person knows it by.
    pub(crate) account: String,
    pub(crate) systems: Sides<String>,
    pub(crate) sides: Sides<Sight>,
    /// One word.
    pub(crate) outcome: &'static str,
    /// Why, or what else there is to say.
    pub(crate) why: Option<String>,
    pub(crate) creates: bool,
    /// What would be sent, under the names that the target knows.
    pub(crate) values: Attributes,
}

impl Prediction {
    fn new(letter: &DeadLetter, outcome: &'static str, why: Option<String>) -> Self {
        Self {
            letter: letter.id.clone(),
            account: account(letter),
            systems: Sides::from_fn(|_| "-".to_owned()),
            sides: Sides::from_fn(|_| Sight::NotAsked),
            outcome,
            why,
            creates: false,
            values: Attributes::new(),
        }
    }

    /// In words.
    pub(crate) fn text(&self) -> String {
        let creates = if self.creates { " (the account is created)" } else { "" };
        match &self.why {
            Some(why) => format!("{}{creates}: {why}", self.outcome),
            None => format!("{}{creates}", self.outcome),
        }
    }

    pub(super) fn json(&self, open: bool) -> serde_json::Value {
        let told = |attributes: &Attributes| -> BTreeMap<String, serde_json::Value> {
            let value = |value: &Option<Value>| if open { json!(value) } else { json!(masked(value.as_ref(), false)) };
            attributes.iter().map(|(path, it)| (path.to_string(), value(it))).collect()
        };
        let side = |side: Side| match &self.sides[side] {
            Sight::NotAsked => json!(null),
            Sight::Absent => json!({ "absent": true }),
            Sight::Failed(why) => json!({ "error": why }),
            Sight::Seen(snapshot) => json!({ "account": snapshot.account, "attributes": told(&snapshot.attributes) }),
        };
        json!({
            "letter": self.letter, "outcome": self.outcome, "why": self.why, "creates": self.creates,
            "values": told(&self.values), "a": side(Side::A), "b": side(Side::B),
        })
    }
}

/// Tells what would come of sending letters again, at most `limit` of them.
pub async fn preview<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    which: &Which,
    values: bool,
    limit: Option<usize>,
    form: Form,
) -> anyhow::Result<Exit> {
    let mut letters = Letters::of(pipeline, which, None).await?;
    let mut left = limit.unwrap_or(usize::MAX);
    let mut counts = BTreeMap::<&str, usize>::new();
    let mut table = output::table(&["LETTER", "ACCOUNT", "OUTCOME", "WHAT WOULD BE SENT"]);
    while left > 0 {
        let page = letters.take(pipeline, AT_ONCE.min(left)).await?;
        if page.is_empty() {
            break;
        }
        left -= page.len();
        for prediction in predict(pipeline, &page, true).await? {
            *counts.entry(prediction.outcome).or_default() += 1;
            if form == Form::Json {
                output::object(&prediction.json(values));
                continue;
            }
            let sent =
                prediction.values.iter().map(|(path, value)| format!("{path} = {}", masked(value.as_ref(), values)));
            let sent = sent.collect::<Vec<_>>().join(", ");
            table.add_row([prediction.letter.to_string(), prediction.account.clone(), prediction.text(), sent]);
        }
    }
    if form == Form::Text {
        if counts.is_empty() {
            output::line("No open letters");
            return Ok(Exit::Done);
        }
        output::print(&table);
        let counts: Vec<_> = counts.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
        output::line(format!("{}. Nothing was written; `muster dead retry` sends them", counts.join(", ")));
    }
    Ok(Exit::Done)
}

/// What would come of sending these letters again, one prediction each, in no order. `live`: both systems are looked at.
pub(crate) async fn predict<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    letters: &[DeadLetter],
    live: bool,
) -> anyhow::Result<Vec<Prediction>> {
    let mut predictions = Vec::new();
    let mut by_connection = BTreeMap::<ConnectionName, Vec<(&DeadLetter, Side, LinkId)>>::new();
    for letter in letters {
        match (&letter.content, letter.id.link()) {
            (LetterContent::Command { .. }, Some((name, side, link))) if pipeline.connections.contains_key(&name) => {
                by_connection.entry(name).or_default().push((letter, side, link));
            }
            (LetterContent::Command { .. }, _) => {
                let why = "its connection is not configured here".to_owned();
                predictions.push(Prediction::new(letter, "still_failing", Some(why)));
            }
            (LetterContent::Account { .. }, _) if letter.account.is_none() => {
                let why = "the record has no id to ask for; correct it in its system".to_owned();
                predictions.push(Prediction::new(letter, "still_failing", Some(why)));
            }
            (LetterContent::Account { side }, _) => predictions.push(reread(pipeline, letter, *side, live).await),
            (LetterContent::Message { .. }, _) => {
                let why = "the message is put back into its queue; what comes of it shows then".to_owned();
                predictions.push(Prediction::new(letter, "unknown", Some(why)));
            }
        }
    }
    for (name, letters) in by_connection {
        predictions.extend(predict_sides(pipeline, &pipeline.connections[&name], &letters, live).await?);
    }
    Ok(predictions)
}

/// A letter about an account that could not be read.
async fn reread<B, S>(pipeline: &Pipeline<B, S>, letter: &DeadLetter, side: Side, live: bool) -> Prediction {
    let connection = letter.connection.as_ref().and_then(|name| pipeline.connections.get(name));
    let (Some(connection), Some(account)) = (connection.filter(|_| live), &letter.account) else {
        return Prediction::new(letter, "unknown", Some("the account is read again".to_owned()));
    };
    let sight = look(connection, side, std::slice::from_ref(account)).await.pop().unwrap_or(Sight::NotAsked);
    let (outcome, why) = match &sight {
        Sight::Seen(_) => ("applied", Some("it can be read now, and is taken up like any other".to_owned())),
        Sight::Absent => ("still_failing", Some("there is no such account".to_owned())),
        Sight::Failed(why) => ("still_failing", Some(why.clone())),
        Sight::NotAsked => ("unknown", None),
    };
    let mut prediction = Prediction::new(letter, outcome, why);
    prediction.systems = Sides::from_fn(|side| connection.systems[side].to_string());
    prediction.sides[side] = sight;
    prediction
}

/// Letters about sides of links of one connection.
async fn predict_sides<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    connection: &Connection,
    letters: &[(&DeadLetter, Side, LinkId)],
    live: bool,
) -> anyhow::Result<Vec<Prediction>> {
    let name = &connection.name;
    let ids: Vec<_> = letters.iter().map(|(_, _, link)| *link).collect();
    let loaded = match pipeline.store.load(name, &ids).await {
        Err(StoreError::EpochChanged(_)) => {
            pipeline.store.epoch(name).await?;
            pipeline.store.load(name, &ids).await?
        }
        loaded => loaded?,
    };
    let rules = connection.rules(loaded.epoch);
    let mut seen = Sides::<HashMap<LinkId, Sight>>::default();
    for side in Side::BOTH.into_iter().filter(|_| live) {
        let accounts = loaded.items.iter().flatten().filter_map(|it| Some((it.id, it.sides[side].account.clone()?)));
        let (links, accounts): (Vec<_>, Vec<_>) = accounts.unzip();
        seen[side] = links.into_iter().zip(look(connection, side, &accounts).await).collect();
    }
    let mut places = Places::default();
    let mut predictions = Vec::new();
    for ((letter, side, _), link) in letters.iter().zip(loaded.items) {
        let mut prediction = Prediction::new(letter, "superseded", None);
        prediction.systems = Sides::from_fn(|side| connection.systems[side].to_string());
        let Some(mut link) = link else {
            prediction.why = Some("its link is gone; the account is read again".to_owned());
            predictions.push(prediction);
            continue;
        };
        prediction.sides = Sides::from_fn(|side| seen[side].remove(&link.id).unwrap_or(Sight::NotAsked));
        for side in Side::BOTH {
            if let Sight::Seen(snapshot) = &prediction.sides[side]
                && link.epoch == loaded.epoch
            {
                link = resolve(&link, side, snapshot, &rules, loaded.now)
                    .in_scope(side, connection.fits(side, snapshot), &rules)
                    .protected(side, connection.protects(side, snapshot))
                    .link;
            }
        }
        let read = Side::BOTH.into_iter().all(|side| !matches!(prediction.sides[side], Sight::Failed(_)));
        let gone = matches!(prediction.sides[*side], Sight::Absent);
        let told = match foresee(&link, *side, &rules, loaded.epoch, loaded.now, read) {
            Foreseen::Applied(wanted) => {
                prediction.creates = matches!(wanted.need, Need::Create { .. });
                match write::outbound(&rules, *side, &wanted) {
                    Ok(values) => {
                        let answers = (gone, live);
                        let told =
                            written(pipeline, connection, &link, *side, &wanted, answers, &values, &mut places).await?;
                        prediction.values = values;
                        told
                    }
                    Err(failure) => ("still_failing", Some(failure.to_string())),
                }
            }
            Foreseen::AlreadyTrue => ("already_true", Some("nothing is lacking any more".to_owned())),
            Foreseen::Superseded => ("superseded", Some("the next reading of the account decides".to_owned())),
            Foreseen::Held(why) => ("held", why.map(|why| why.as_str().to_owned())),
            Foreseen::Discarded => ("discarded", Some("a person decided that it is not written".to_owned())),
            Foreseen::Waits => ("unknown", Some("another writer has it, or it must be read first".to_owned())),
        };
        (prediction.outcome, prediction.why) = told;
        if !live {
            let known = "as far as the store knows, and --live asks both systems";
            prediction.why = Some(prediction.why.map_or_else(|| known.to_owned(), |why| format!("{why}; {known}")));
        }
        predictions.push(prediction);
    }
    Ok(predictions)
}

/// Places that are left in budgets, by what is foreseen so far.
#[derive(Default)]
struct Places(HashMap<(Side, Risk), u64>);

/// What would come of a write that the link asks for: what the target would refuse by its own rules, who is in the way of
/// a creation, and what is over budget, as the writer finds out. `(gone, live)`: the target has no such account; it may be
/// asked.
#[allow(clippy::too_many_arguments)] // Each is a part of one question that the caller has at hand.
async fn written<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    connection: &Connection,
    link: &Link,
    side: Side,
    wanted: &Pending,
    (gone, live): (bool, bool),
    values: &Attributes,
    places: &mut Places,
) -> anyhow::Result<(&'static str, Option<String>)> {
    let (end, rules) = (&connection.ends[side], connection.rules(link.epoch));
    if let Err(failure) = validate(wanted, values, end.schema()) {
        return Ok(("still_failing", Some(failure.to_string())));
    }
    for exposure in exposures(link, side, wanted, &rules) {
        let Some(budget) = rules.budgets.of(exposure.risk) else { continue };
        let left = match places.0.get(&(side, exposure.risk)) {
            Some(left) => *left,
            None => {
                let now = pipeline.store.epoch(&connection.name).await?.now;
                let spent = pipeline.store.spent(&connection.name, side, exposure.risk).await?;
                let spent = spent.iter().filter(|(_, at)| *at + budget.window > now).count() as u64;
                let accounts = pipeline.store.counts(&connection.name).await?.accounts[side];
                budget.limit(accounts).saturating_sub(spent)
            }
        };
        places.0.insert((side, exposure.risk), left.saturating_sub(1));
        if left == 0 {
            return Ok(("held", Some(format!("over the budget of {}", exposure.risk))));
        }
    }
    match &wanted.need {
        Need::Create { partner } if live => {
            let searches = Searches::new(connection, &rules, side, wanted);
            let asked: Vec<_> = iter::once(SearchKey::Partner(partner.clone())).chain(searches.keys()).collect();
            let mut found = match tokio::time::timeout(LOOK, end.search(&asked)).await {
                Ok(Ok(found)) if found.len() == asked.len() => found,
                Ok(Err(failure)) => return Ok(("unknown", Some(failure.to_string()))),
                _ => return Ok(("unknown", Some("the target did not say who is there".to_owned()))),
            };
            let ours = found.remove(0);
            Ok(match existing(ours, searches.found(found), &rules) {
                Existing::Nobody => ("applied", None),
                Existing::Adopt { account, .. } => {
                    ("superseded", Some(format!("account {} is there and is linked", account.account)))
                }
                Existing::Ambiguous => ("still_failing", Some("several accounts carry the partner's id".to_owned())),
                Existing::Taken { attribute } => {
                    ("still_failing", Some(format!("another account of the target has its {attribute}")))
                }
            })
        }
        Need::Update { .. } if gone => Ok(("still_failing", Some("the target has no such account".to_owned()))),
        _ => {
            let refused = link.sides[side].dead.as_ref().filter(|dead| dead.pending == wanted.digest(&rules));
            let why = refused.map(|dead| {
                format!(
                    "the same values were refused before ({}); whether it takes them now, only the target knows",
                    dead.code
                )
            });
            Ok(("applied", why))
        }
    }
}

/// What a side holds of these accounts now, one answer each.
async fn look(connection: &Connection, side: Side, accounts: &[crate::domain::AccountId]) -> Vec<Sight> {
    let (end, system): (_, &SystemName) = (&connection.ends[side], &connection.systems[side]);
    if accounts.is_empty() || !end.schema().readable {
        return accounts.iter().map(|_| Sight::NotAsked).collect();
    }
    let all = |why: String| accounts.iter().map(|_| Sight::Failed(why.clone())).collect();
    match tokio::time::timeout(LOOK, end.get(accounts)).await {
        Ok(Ok(lookups)) if lookups.len() == accounts.len() => lookups
            .into_iter()
            .map(|lookup| match lookup {
                Lookup::Found(snapshot) => Sight::Seen(snapshot),
                Lookup::Absent(_) => Sight::Absent,
                Lookup::Unreadable { code, .. } => Sight::Failed(format!("it is unusable ({code})")),
            })
            .collect(),
        Ok(Ok(_)) => all(format!("{system} left questions unanswered")),
        Ok(Err(failure)) => all(failure.to_string()),
        Err(_) => all(format!("{system} gave no answer within {} s", LOOK.as_secs())),
    }
}
