//! `muster dead show`: one letter whole.

use super::list::text;
use super::preview::{Prediction, Sight, predict};
use super::{find, remedy, shown};
use crate::broker::Broker;
use crate::domain::{DeadLetter, LetterContent, Side, Value};
use crate::ops::exit::Exit;
use crate::ops::explain::words::quoted;
use crate::ops::output::{self, Form};
use crate::stages::{Pipeline, from_base64};
use crate::store::Store;

/// What is shown of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// The values themselves, not only what kind they are.
    pub values: bool,
    /// What both systems hold today.
    pub live: bool,
}

/// Shows one letter whole.
pub async fn show<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    id: &str,
    look: Look,
    form: Form,
) -> anyhow::Result<Exit> {
    let letter = find(pipeline, id).await?;
    let prediction = predict(pipeline, std::slice::from_ref(&letter), look.live).await?.pop();
    if form == Form::Json {
        let mut object = shown(&letter, look.values);
        object["remedy"] = remedy(pipeline, &letter.fingerprint).into();
        object["a_retry"] = what_a_retry_does(&letter.content).into();
        if let Some(prediction) = &prediction {
            object["now"] = prediction.json(look.values);
        }
        output::object(&object);
        return Ok(Exit::Done);
    }
    let print = &letter.fingerprint;
    let mut rows = vec![
        ("letter", letter.id.to_string()),
        ("connection", text(letter.connection.as_ref().map(|name| name.as_str()))),
        ("target", text(print.target.as_ref().map(|name| name.as_str()))),
        ("account", text(letter.account.as_ref().map(|account| account.as_str()))),
        ("partner", text(letter.partner.as_ref().map(|account| account.as_str()))),
        ("class", print.class.to_string()),
        ("code", print.code.to_string()),
        ("attribute", text(print.attribute.as_ref().map(|path| path.as_str()))),
        ("what happened", letter.message.clone()),
    ];
    rows.extend(letter.first_message.clone().map(|first| ("at first", first)));
    rows.extend([
        ("HTTP status", text(letter.status.map(|status| status.to_string()).as_deref())),
        ("request id", text(letter.request_id.as_deref())),
        ("first", letter.first_at.to_string()),
        ("last", letter.last_at.to_string()),
        ("times", letter.failures.to_string()),
        ("a retry", what_a_retry_does(&letter.content).to_owned()),
        ("what to do", remedy(pipeline, print).to_owned()),
    ]);
    for (name, value) in rows {
        output::line(format!("{name:<14} {value}"));
    }
    attempts(&letter);
    if let LetterContent::Message { body, .. } = &letter.content {
        let bytes = from_base64(body).unwrap_or_default();
        match look.values {
            true => output::line(format!("\nThe message: {}", String::from_utf8_lossy(&bytes))),
            false => output::line(format!("\nThe message: {} bytes; --values shows them", bytes.len())),
        }
    }
    if let Some(prediction) = &prediction {
        today(prediction, look);
    }
    output::line(format!("\nSee what would come of it:  muster dead preview '{}'", letter.id));
    output::line(format!("Send it again:              muster dead retry '{}'", letter.id));
    output::line(format!("Close it for good:          muster dead discard '{}' --reason ...", letter.id));
    Ok(Exit::Done)
}

fn attempts(letter: &DeadLetter) {
    if letter.attempts.is_empty() {
        return;
    }
    output::line("\nAttempts that failed:");
    let mut table = output::table(&["WHEN", "CODE", "HTTP", "TOOK", "REQUEST ID"]);
    for attempt in &letter.attempts {
        table.add_row([
            attempt.at.to_string(),
            attempt.code.to_string(),
            text(attempt.status.map(|status| status.to_string()).as_deref()),
            text(attempt.latency_ms.map(|latency| format!("{latency} ms")).as_deref()),
            text(attempt.request_id.as_deref()),
        ]);
    }
    output::print(&table);
}

/// What both systems hold, and what would be sent.
fn today(prediction: &Prediction, look: Look) {
    if look.live {
        output::line("");
        for side in Side::BOTH {
            let (system, sight) = (&prediction.systems[side], &prediction.sides[side]);
            match sight {
                Sight::NotAsked => output::line(format!("{system}: nothing to look at")),
                Sight::Absent => output::line(format!("{system}: there is no such account")),
                Sight::Failed(why) => output::line(format!("{system}: it did not say ({why})")),
                Sight::Seen(snapshot) => {
                    output::line(format!("{system}, account {}, holds now:", snapshot.account));
                    for (path, value) in &snapshot.attributes {
                        output::line(format!("  {path} = {}", masked(value.as_ref(), look.values)));
                    }
                }
            }
        }
    }
    output::line(format!("\nSent now, it would be: {}", prediction.text()));
    for (path, value) in &prediction.values {
        output::line(format!("  {path} = {}", masked(value.as_ref(), look.values)));
    }
    if !look.values && !prediction.values.is_empty() {
        output::line("--values shows the values, --live what both systems hold now");
    }
}

/// A value, or only what can be said of it without telling it.
pub(crate) fn masked(value: Option<&Value>, open: bool) -> String {
    match value {
        None => "nothing".to_owned(),
        value if open => quoted(value, true),
        Some(Value::Text(text)) => format!("a text of {}", output::count(text.chars().count(), "character")),
        Some(Value::Bool(_)) => "yes or no".to_owned(),
        Some(Value::Int(_)) => "a number".to_owned(),
        Some(Value::Set(items)) => format!("a set of {}", output::count(items.len(), "text")),
        Some(Value::Reference { .. }) => "an account".to_owned(),
    }
}

/// What sending it again does.
pub(crate) fn what_a_retry_does(content: &LetterContent) -> &'static str {
    match content {
        LetterContent::Command { .. } => "writes what the account lacks on that day, if it still lacks anything",
        LetterContent::Account { .. } => "reads the account again",
        LetterContent::Message { .. } => "puts the message back into its queue as it came",
    }
}
