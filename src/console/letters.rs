//! Dead letters: which are meant, and what is shown of them.

use schemars::JsonSchema;
use serde::Serialize;

use super::access::Values;
use super::operations::Over;
use crate::broker::Broker;
use crate::domain::redrive::Which;
use crate::domain::{Attributes, DeadLetter, LetterId, LetterPlace, Side, Timestamp, Value};
use crate::ops::dead::{self, Letters, Prediction, Sight};
use crate::ops::explain::words::quoted;
use crate::ops::sync::UsageError;
use crate::stages::Pipeline;
use crate::store::Store;

mod meant;

pub use meant::{LetterAsk, LettersMeant, PageAsk};
pub(super) use meant::{filter, given};

/// Letters of a page, where nobody says how many.
const PAGE: usize = 50;

/// Letters of a page at most.
const LONGEST_PAGE: usize = 500;

/// Letters of one cause.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Cause {
    /// The system that refused, or whose records are wrong.
    pub target: Option<String>,
    /// The class of the failure.
    pub class: String,
    /// What went wrong, in one word.
    pub code: String,
    /// The attribute at fault.
    pub attribute: Option<String>,
    /// How many letters are open.
    pub letters: u64,
    /// How many of them are about an account.
    pub accounts: u64,
    /// When the oldest was opened.
    pub first_at: String,
    /// When one last failed.
    pub last_at: String,
    /// What to do.
    pub remedy: String,
}

impl Cause {
    /// The filter that means these letters, among those of another.
    pub fn ask(&self, of: &LetterAsk) -> LetterAsk {
        LetterAsk {
            target: self.target.clone(),
            class: Some(self.class.clone()),
            code: Some(self.code.clone()),
            attribute: self.attribute.clone(),
            ..of.clone()
        }
    }
}

/// A letter in a list.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct LetterView {
    /// Its id.
    pub letter: String,
    /// The connection.
    pub connection: Option<String>,
    /// The system that refused, or whose record is wrong.
    pub target: Option<String>,
    /// The class of the failure.
    pub class: String,
    /// What went wrong, in one word.
    pub code: String,
    /// The attribute at fault.
    pub attribute: Option<String>,
    /// The account that cannot be written or read, where it has an id.
    pub account: Option<String>,
    /// Its partner on the other side.
    pub partner: Option<String>,
    /// When it began.
    pub first_at: String,
    /// When it last failed.
    pub last_at: String,
    /// How often it failed.
    pub failures: u32,
    /// What happened, for a person.
    pub message: String,
}

impl LetterView {
    fn new(letter: &DeadLetter) -> Self {
        let print = &letter.fingerprint;
        Self {
            letter: letter.id.to_string(),
            connection: letter.connection.as_ref().map(ToString::to_string),
            target: print.target.as_ref().map(ToString::to_string),
            class: print.class.to_string(),
            code: print.code.to_string(),
            attribute: print.attribute.as_ref().map(ToString::to_string),
            account: letter.account.as_ref().map(ToString::to_string),
            partner: letter.partner.as_ref().map(ToString::to_string),
            first_at: letter.first_at.to_string(),
            last_at: letter.last_at.to_string(),
            failures: letter.failures,
            message: letter.message.clone(),
        }
    }

    /// The account that a person knows it by.
    pub fn who(&self) -> &str {
        self.account.as_deref().or(self.partner.as_deref()).unwrap_or("-")
    }
}

/// A page of letters, oldest first.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct LetterList {
    /// The letters.
    pub letters: Vec<LetterView>,
    /// What to give as `after` for the next page; absent: that was the last.
    pub next: Option<String>,
}

/// One attempt that failed.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct AttemptView {
    /// When.
    pub at: String,
    /// What went wrong.
    pub code: String,
    /// HTTP status of the answer.
    pub status: Option<u16>,
    /// The vendor's id of the request.
    pub request_id: Option<String>,
    /// How long it took, in milliseconds.
    pub latency_ms: Option<u32>,
}

/// A letter whole.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct LetterPage {
    /// The letter.
    #[serde(flatten)]
    pub letter: LetterView,
    /// What happened the first time, where that was something else.
    pub first_message: Option<String>,
    /// HTTP status of the last answer.
    pub status: Option<u16>,
    /// The vendor's id of the last request.
    pub request_id: Option<String>,
    /// The attempts that failed, oldest first.
    pub attempts: Vec<AttemptView>,
    /// What to do.
    pub remedy: String,
    /// What sending it again does.
    pub a_retry: String,
    /// What would come of it now.
    pub now: Option<PredictionView>,
}

/// What would come of sending a letter again.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct PredictionView {
    /// The letter.
    pub letter: String,
    /// The account that a person knows it by.
    pub account: String,
    /// `applied`, `already_true`, `superseded`, `held`, `discarded`, `still_failing` or `unknown`.
    pub outcome: String,
    /// Why, or what else there is to say.
    pub why: Option<String>,
    /// Whether the account would be created.
    pub creates: bool,
    /// What would be sent.
    pub values: Vec<ValueView>,
    /// What both systems hold now.
    pub sides: Vec<SideView>,
}

/// A value of an attribute.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ValueView {
    /// The attribute.
    pub attribute: String,
    /// The value in words; to who may not see values, only what kind it is.
    pub text: String,
    /// The value; only there for who may see values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<serde_json::Value>,
}

/// What a system holds of an account now.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SideView {
    /// The system.
    pub system: String,
    /// `not_asked`, `absent`, `failed` or `seen`.
    pub state: String,
    /// Why it did not say.
    pub problem: Option<String>,
    /// The account.
    pub account: Option<String>,
    /// What it holds.
    pub values: Vec<ValueView>,
}

/// What would come of sending letters again.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Preview {
    /// One prediction for each letter that was looked at.
    pub predictions: Vec<PredictionView>,
    /// How many would have which outcome.
    pub outcomes: std::collections::BTreeMap<String, u64>,
    /// Whether there are letters that were not looked at.
    pub has_more: bool,
}

/// A value, masked where it may not be seen.
pub(super) fn shown(attribute: &str, value: Option<&Value>, values: Values) -> ValueView {
    let text = if values.is_open() { quoted(value, true) } else { dead::masked(value, false) };
    let value = values.is_open().then(|| serde_json::json!(value));
    ValueView { attribute: attribute.to_owned(), text, value }
}

fn all_shown(attributes: &Attributes, values: Values) -> Vec<ValueView> {
    attributes.iter().map(|(path, value)| shown(path.as_str(), value.as_ref(), values)).collect()
}

impl PredictionView {
    fn new(prediction: &Prediction, values: Values) -> Self {
        let side = |side: Side| {
            let (state, problem) = match &prediction.sides[side] {
                Sight::NotAsked => ("not_asked", None),
                Sight::Absent => ("absent", None),
                Sight::Failed(why) => ("failed", Some(why.clone())),
                Sight::Seen(_) => ("seen", None),
            };
            let seen = match &prediction.sides[side] {
                Sight::Seen(snapshot) => Some(snapshot),
                _ => None,
            };
            SideView {
                system: prediction.systems[side].clone(),
                state: state.to_owned(),
                problem,
                account: seen.map(|snapshot| snapshot.account.to_string()),
                values: seen.map(|snapshot| all_shown(&snapshot.attributes, values)).unwrap_or_default(),
            }
        };
        Self {
            letter: prediction.letter.to_string(),
            account: prediction.account.clone(),
            outcome: prediction.outcome.to_owned(),
            why: prediction.why.clone(),
            creates: prediction.creates,
            values: all_shown(&prediction.values, values),
            sides: Side::BOTH.into_iter().map(side).collect(),
        }
    }
}

/// A place among letters as text, and back.
fn place_text(place: &LetterPlace) -> String {
    format!("{}~{}", place.first_at.0, place.id)
}

fn place_of(text: &str) -> Result<LetterPlace, UsageError> {
    let place = text
        .split_once('~')
        .and_then(|(at, id)| Some(LetterPlace { first_at: Timestamp(at.parse().ok()?), id: LetterId::from_text(id) }));
    place.ok_or_else(|| UsageError::new("`after` is not the `next` of a page".to_owned()))
}

impl<B: Broker, S: Store> Over<B, S> {
    pub(super) async fn letter_causes(&self, ask: &LetterAsk) -> anyhow::Result<Vec<Cause>> {
        let Which::Fitting(filter) = ask.parse()?.which(&self.pipeline).await? else {
            return Err(UsageError::new("an account has few letters; list them one by one".to_owned()).into());
        };
        let cause = |group: dead::Group| Cause {
            remedy: dead::remedy(&self.pipeline, &group.fingerprint).to_owned(),
            target: group.fingerprint.target.as_ref().map(ToString::to_string),
            class: group.fingerprint.class.to_string(),
            code: group.fingerprint.code.to_string(),
            attribute: group.fingerprint.attribute.as_ref().map(ToString::to_string),
            letters: group.letters,
            accounts: group.accounts,
            first_at: group.first_at.to_string(),
            last_at: group.last_at.to_string(),
        };
        Ok(dead::groups(&self.pipeline, &filter).await?.into_iter().map(cause).collect())
    }

    pub(super) async fn letter_list(&self, ask: &LetterAsk, page: &PageAsk) -> anyhow::Result<LetterList> {
        let which = ask.parse()?.which(&self.pipeline).await?;
        let after = given(&page.after).map(place_of).transpose()?;
        let limit = page.limit.map_or(PAGE, |limit| usize::try_from(limit).unwrap_or(LONGEST_PAGE));
        let limit = limit.clamp(1, LONGEST_PAGE);
        let mut letters = Letters::of(&self.pipeline, &which, after).await?;
        let page = letters.take(&self.pipeline, limit).await?;
        let next = match page.last() {
            Some(last) if letters.next(&self.pipeline).await?.is_some() => Some(place_text(&last.place())),
            _ => None,
        };
        Ok(LetterList { letters: page.iter().map(LetterView::new).collect(), next })
    }

    pub(super) async fn letter_page(&self, id: &str, live: bool, values: Values) -> anyhow::Result<LetterPage> {
        let letter = dead::find(&self.pipeline, id).await?;
        let prediction = predictions(&self.pipeline, std::slice::from_ref(&letter), live, values).await?.pop();
        let attempt = |attempt: &crate::domain::dead_letter::FailedAttempt| AttemptView {
            at: attempt.at.to_string(),
            code: attempt.code.to_string(),
            status: attempt.status,
            request_id: attempt.request_id.clone(),
            latency_ms: attempt.latency_ms,
        };
        Ok(LetterPage {
            first_message: letter.first_message.clone(),
            status: letter.status,
            request_id: letter.request_id.clone(),
            attempts: letter.attempts.iter().map(attempt).collect(),
            remedy: dead::remedy(&self.pipeline, &letter.fingerprint).to_owned(),
            a_retry: dead::what_a_retry_does(&letter.content).to_owned(),
            now: prediction,
            letter: LetterView::new(&letter),
        })
    }

    pub(super) async fn letter_preview(
        &self,
        meant: &LettersMeant,
        limit: usize,
        values: Values,
    ) -> anyhow::Result<Preview> {
        let which = meant.parse()?.which(&self.pipeline).await?;
        let mut letters = Letters::of(&self.pipeline, &which, None).await?;
        let looked_at = letters.take(&self.pipeline, limit).await?;
        let has_more = letters.next(&self.pipeline).await?.is_some();
        let predictions = predictions(&self.pipeline, &looked_at, true, values).await?;
        let mut outcomes = std::collections::BTreeMap::new();
        predictions.iter().for_each(|it| *outcomes.entry(it.outcome.clone()).or_default() += 1);
        Ok(Preview { predictions, outcomes, has_more })
    }
}

async fn predictions<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    letters: &[DeadLetter],
    live: bool,
    values: Values,
) -> anyhow::Result<Vec<PredictionView>> {
    let predictions = dead::predict(pipeline, letters, live).await?;
    Ok(predictions.iter().map(|prediction| PredictionView::new(prediction, values)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_its_text() {
        let place = LetterPlace { first_at: Timestamp(17), id: LetterId::from_text("crm-scim/b/00~1") };
        assert_eq!(place_of(&place_text(&place)).unwrap(), place);
        for wrong in ["", "17", "x~y"] {
            assert!(place_of(wrong).is_err(), "{wrong}");
        }
    }

    /// R5: what who looks may not see is in no field of the answer.
    #[test]
    fn a_masked_value_is_not_in_the_answer() {
        let secret = Value::Text("Ada Lovelace".to_owned());
        let masked = serde_json::to_string(&shown("displayName", Some(&secret), Values::Masked)).unwrap();
        assert!(!masked.contains("Ada") && masked.contains("12 characters"), "{masked}");
        let open = serde_json::to_string(&shown("displayName", Some(&secret), Values::Open)).unwrap();
        assert!(open.contains("Ada Lovelace"), "{open}");
    }
}
