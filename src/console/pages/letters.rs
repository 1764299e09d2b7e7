//! Letters: causes, the letters of one, one letter, what would come of sending them again, and sending or closing them.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::Deserialize;

use super::super::act::Act;
use super::super::api::Shared;
use super::super::letters::{Cause, LetterAsk, LetterList, LetterPage, LettersMeant, PageAsk, Preview};
use super::super::problem::Problem;
use super::{Chrome, Fields, Visitor, done, shown};
use crate::domain::dead_letter::DiscardReason;

const HERE: &str = "/letters";

/// Letters of a preview.
const PREVIEWED: usize = 50;

#[derive(Template)]
#[template(path = "letter_causes.html")]
struct CausesPage {
    chrome: Chrome,
    causes: Vec<Cause>,
    ask: LetterAsk,
    connections: Vec<String>,
}

impl CausesPage {
    fn letters(&self) -> u64 {
        self.causes.iter().map(|cause| cause.letters).sum()
    }
}

pub(super) async fn causes(State(console): State<Shared>, visitor: Visitor, Query(ask): Query<LetterAsk>) -> Response {
    let made = console.operations.causes(&ask).await.map_err(Problem::from).map(|causes| CausesPage {
        chrome: Chrome::new(&console, &visitor, HERE, "Dead letters"),
        causes,
        connections: console.operations.connections().iter().map(ToString::to_string).collect(),
        ask,
    });
    shown(&console, &visitor, HERE, made)
}

#[derive(Template)]
#[template(path = "letter_list.html")]
struct ListPage {
    chrome: Chrome,
    list: LetterList,
    ask: LetterAsk,
    /// What its forms mean: none that is opened after the page was made.
    meant: LetterAsk,
    reasons: [DiscardReason; 4],
}

#[derive(Deserialize)]
pub(super) struct ListAsk {
    #[serde(flatten)]
    ask: LetterAsk,
    #[serde(flatten)]
    page: PageAsk,
}

pub(super) async fn list(State(console): State<Shared>, visitor: Visitor, Query(asked): Query<ListAsk>) -> Response {
    let ListAsk { ask, page } = asked;
    let now = super::super::now();
    let listed = console.operations.letters(&ask, &page).await.map_err(Problem::from);
    let made = listed.and_then(|list| {
        Ok(ListPage {
            chrome: Chrome::new(&console, &visitor, HERE, "Letters of one cause"),
            list,
            meant: ask.as_of(now)?,
            ask,
            reasons: DiscardReason::ALL,
        })
    });
    shown(&console, &visitor, HERE, made)
}

#[derive(Template)]
#[template(path = "letter.html")]
struct OnePage {
    chrome: Chrome,
    letter: LetterPage,
    /// Whether both systems were asked.
    live: bool,
    reasons: [DiscardReason; 4],
}

#[derive(Deserialize)]
pub(super) struct OneAsk {
    id: String,
    #[serde(default)]
    live: Option<String>,
}

pub(super) async fn one(State(console): State<Shared>, visitor: Visitor, Query(asked): Query<OneAsk>) -> Response {
    let live = asked.live.is_some();
    let letter = console.operations.letter(&asked.id, live, visitor.person.values()).await.map_err(Problem::named);
    let made = letter.map(|letter| OnePage {
        chrome: Chrome::new(&console, &visitor, HERE, "Letter"),
        letter,
        live,
        reasons: DiscardReason::ALL,
    });
    shown(&console, &visitor, HERE, made)
}

#[derive(Template)]
#[template(path = "letter_preview.html")]
struct PreviewPage {
    chrome: Chrome,
    preview: Preview,
    meant: LettersMeant,
}

#[derive(Deserialize)]
pub(super) struct PreviewAsk {
    #[serde(flatten)]
    ask: LetterAsk,
    #[serde(default)]
    letter: Option<String>,
    #[serde(default)]
    all: Option<String>,
}

pub(super) async fn preview(
    State(console): State<Shared>,
    visitor: Visitor,
    Query(asked): Query<PreviewAsk>,
) -> Response {
    let PreviewAsk { ask, letter, all } = asked;
    let letters: Vec<_> = letter.into_iter().filter(|id| !id.is_empty()).collect();
    let meant = LettersMeant { letters, filter: ask, all: all.is_some() };
    let preview = console.operations.preview(&meant, PREVIEWED, visitor.person.values()).await;
    let made = preview.map_err(Problem::from).map(|preview| PreviewPage {
        chrome: Chrome::new(&console, &visitor, HERE, "What would come of it"),
        preview,
        meant,
    });
    shown(&console, &visitor, HERE, made)
}

/// Which letters a form means.
fn meant(fields: &Fields) -> LettersMeant {
    let filter = LetterAsk {
        connection: fields.get("connection"),
        target: fields.get("target"),
        class: fields.get("class"),
        code: fields.get("code"),
        attribute: fields.get("attribute"),
        account: fields.get("account"),
        since: fields.get("since"),
        until: fields.get("until"),
        older_than: fields.get("older_than"),
    };
    let letters = fields.all("letter");
    // Who names letters means these.
    let filter = if letters.is_empty() { filter } else { LetterAsk::default() };
    LettersMeant { all: letters.is_empty() && fields.is("all"), letters, filter }
}

pub(super) async fn retry(State(console): State<Shared>, visitor: Visitor, fields: Fields) -> Response {
    let act = || {
        let canary = fields.number("canary", "how many go first")?.unwrap_or_default();
        let rate = fields.number("rate", "the rate")?;
        Ok(Act::Retry { meant: meant(&fields), canary, rate })
    };
    done(&console, &visitor, HERE, act(), "/retries").await
}

pub(super) async fn discard(State(console): State<Shared>, visitor: Visitor, fields: Fields) -> Response {
    let act = || {
        let word = fields.get("reason").ok_or_else(|| Problem::bad_request("choose a reason"))?;
        let known = DiscardReason::ALL.into_iter().find(|reason| reason.as_str() == word);
        let reason = known.ok_or_else(|| Problem::bad_request(format!("`{word}` is no reason")))?;
        Ok(Act::Discard { meant: meant(&fields), reason, text: fields.get("text") })
    };
    done(&console, &visitor, HERE, act(), HERE).await
}
