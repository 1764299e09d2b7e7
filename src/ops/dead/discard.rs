//! `muster dead discard`: closes letters for good, with a reason. Who did it, when and why is logged where the letters
//! are. A side that was refused stays buried: nothing asks for a command until its values, the rules or a person
//! change something.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use super::retry::AT_ONCE;
use super::select::{Letters, groups};
use super::{log_closed, now};
use crate::broker::Broker;
use crate::domain::audit::LONGEST_TEXT;
use crate::domain::dead_letter::DiscardReason;
use crate::domain::redrive::Which;
use crate::domain::{DeadLetter, LetterContent, Resolution};
use crate::ops::audit;
use crate::ops::exit::Exit;
use crate::ops::output::{self, Form};
use crate::ops::sync::UsageError;
use crate::stages::Pipeline;
use crate::store::Store;

/// How many letters are told one by one to a person.
const TOLD: usize = 20;

/// Why letters are closed.
#[derive(Debug, Clone)]
pub struct Grounds {
    /// The reason.
    pub reason: DiscardReason,
    /// What else there is to say.
    pub text: Option<String>,
}

impl Grounds {
    /// That it can be kept.
    pub(crate) fn check(&self) -> Result<(), UsageError> {
        match self.text.as_ref().is_some_and(|text| text.chars().count() > LONGEST_TEXT) {
            true => Err(UsageError::new(format!("the text is longer than {LONGEST_TEXT} characters"))),
            false => Ok(()),
        }
    }
}

/// Closes the letters that are meant and were open when this began, telling of each; how many.
pub(crate) async fn close<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    which: &Which,
    grounds: &Grounds,
    mut told: impl FnMut(&DeadLetter, &'static str),
) -> anyhow::Result<usize> {
    grounds.check()?;
    let mut letters = Letters::of(pipeline, &which.clone().as_of(now()), None).await?;
    let mut closed = 0;
    loop {
        let page = letters.take(pipeline, AT_ONCE).await?;
        if page.is_empty() {
            return Ok(closed);
        }
        let resolution = Resolution::Discarded { reason: grounds.reason, text: grounds.text.clone() };
        let ids: Vec<_> = page.iter().map(|letter| letter.id.clone()).collect();
        // The log first: a letter that nobody lists any more must have somebody who says why.
        log_closed(pipeline, &ids, &resolution).await?;
        pipeline.store.file_letters(&[], &ids).await?;
        closed += ids.len();
        audit::count("letters", ids.len() as u64);
        page.iter().for_each(|letter| told(letter, what_follows(&letter.content)));
    }
}

/// Closes letters. A person at a terminal is asked first, unless `sure`.
pub async fn discard<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    which: &Which,
    grounds: &Grounds,
    sure: bool,
    form: Form,
) -> anyhow::Result<Exit> {
    grounds.check()?;
    // What a person is asked about is what is there now, however long the answer takes.
    let which = &which.clone().as_of(now());
    let meant = match which {
        Which::Fitting(filter) => {
            let count: u64 = groups(pipeline, filter).await?.iter().map(|group| group.letters).sum();
            usize::try_from(count).unwrap_or(usize::MAX)
        }
        Which::Letters(ids) => ids.len(),
    };
    let page = Letters::of(pipeline, which, None).await?.take(pipeline, TOLD).await?;
    if page.is_empty() {
        if form == Form::Text {
            output::line("No open letters");
        }
        return Ok(Exit::Done);
    }
    if !sure && std::io::stdin().is_terminal() && !confirmed(&page, meant, grounds)? {
        output::line("Nothing was changed");
        return Ok(Exit::Done);
    }
    let closed = close(pipeline, which, grounds, |letter, text| match form {
        Form::Json => output::object(&serde_json::json!({
            "letter": letter.id, "discarded": true, "reason": grounds.reason, "text": text,
        })),
        Form::Text if meant <= TOLD => output::line(format!("{}: {text}", letter.id)),
        Form::Text => {}
    })
    .await?;
    if form == Form::Text && meant > TOLD {
        output::line(format!("{} closed as {}", output::count(closed, "letter"), grounds.reason));
    }
    Ok(Exit::Done)
}

fn what_follows(content: &LetterContent) -> &'static str {
    match content {
        LetterContent::Command { .. } => {
            "discarded; nothing is written until its values or the rules change, or `muster dead retry` takes it back"
        }
        LetterContent::Account { .. } => "discarded; a later reading that fails as well opens a new letter",
        LetterContent::Message { .. } => "discarded; the message stays in the log of letters only",
    }
}

/// Asks on standard error, which a terminal shows even where the output goes elsewhere.
fn confirmed(letters: &[DeadLetter], meant: usize, grounds: &Grounds) -> anyhow::Result<bool> {
    let mut terminal = std::io::stderr().lock();
    for letter in letters.iter().take(TOLD) {
        writeln!(terminal, "{}: {}", letter.id, letter.message)?;
    }
    if meant > TOLD {
        writeln!(terminal, "... and {} more", meant - TOLD)?;
    }
    let what = output::count(meant, "letter");
    write!(terminal, "Close {what} for good, as {} ({})? [y/N] ", grounds.reason, grounds.reason.meaning())?;
    terminal.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
