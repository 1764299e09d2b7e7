//! `muster dead list`: open letters, one by one or by cause.

use super::select::{Fitting, Letters, groups};
use super::{remedy, shown};
use crate::broker::Broker;
use crate::domain::redrive::Which;
use crate::domain::{AttributePath, DeadLetter, SystemName};
use crate::ops::exit::Exit;
use crate::ops::output::{self, Form};
use crate::stages::Pipeline;
use crate::store::Store;

/// Letters that are shown to a person who does not say how many.
const SHOWN: usize = 50;

/// Lists open letters, oldest first: at most `limit`; all of them where a program reads it and nobody says otherwise.
pub async fn list<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    fitting: &Fitting,
    limit: Option<usize>,
    form: Form,
) -> anyhow::Result<Exit> {
    let which = fitting.which(pipeline).await?;
    let mut letters = Letters::of(pipeline, &which, None).await?;
    let limit = limit.unwrap_or(if form == Form::Json { usize::MAX } else { SHOWN });
    if form == Form::Json {
        let mut count = 0;
        while count < limit
            && let Some(letter) = letters.next(pipeline).await?
        {
            output::object(&shown(&letter, false));
            count += 1;
        }
        return Ok(if count == 0 { Exit::Done } else { Exit::Attention });
    }
    let page = letters.take(pipeline, limit).await?;
    if page.is_empty() {
        output::line("No open letters");
        return Ok(Exit::Done);
    }
    let mut table = output::table(&["LETTER", "TARGET", "CODE", "ATTRIBUTE", "ACCOUNT", "LAST", "TIMES", "WHAT"]);
    for letter in &page {
        table.add_row([
            letter.id.to_string(),
            text(letter.fingerprint.target.as_ref().map(SystemName::as_str)),
            letter.fingerprint.code.to_string(),
            text(letter.fingerprint.attribute.as_ref().map(AttributePath::as_str)),
            account(letter),
            letter.last_at.to_string(),
            letter.failures.to_string(),
            letter.message.clone(),
        ]);
    }
    output::print(&table);
    let all = match &which {
        Which::Fitting(filter) => groups(pipeline, filter).await?.iter().map(|group| group.letters).sum(),
        Which::Letters(ids) => ids.len() as u64,
    };
    let (count, all) = (page.len(), usize::try_from(all).unwrap_or(usize::MAX).max(page.len()));
    if all > count {
        output::line(format!("... and {} more: --limit shows more of them, --group one line a cause", all - count));
    }
    output::line(format!("{}; see one with `muster dead show <letter>`", output::count(all, "open letter")));
    Ok(Exit::Attention)
}

/// Lists what letters have in common, most letters first.
pub async fn list_groups<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    fitting: &Fitting,
    form: Form,
) -> anyhow::Result<Exit> {
    let groups = match fitting.which(pipeline).await? {
        Which::Fitting(filter) => groups(pipeline, &filter).await?,
        Which::Letters(_) => {
            let text = "--account names few letters; list them without --group";
            return Err(crate::ops::sync::UsageError::new(text.to_owned()).into());
        }
    };
    let mut table = output::table(&["LETTERS", "ACCOUNTS", "TARGET", "CLASS", "CODE", "ATTRIBUTE", "FIRST", "LAST"]);
    for group in &groups {
        let (print, advice) = (&group.fingerprint, remedy(pipeline, &group.fingerprint));
        if form == Form::Json {
            output::object(&serde_json::json!({
                "target": print.target, "class": print.class, "code": print.code, "attribute": print.attribute,
                "letters": group.letters, "accounts": group.accounts,
                "first_at": group.first_at, "last_at": group.last_at, "remedy": advice,
            }));
        }
        table.add_row([
            group.letters.to_string(),
            group.accounts.to_string(),
            text(print.target.as_ref().map(SystemName::as_str)),
            print.class.to_string(),
            print.code.to_string(),
            text(print.attribute.as_ref().map(AttributePath::as_str)),
            group.first_at.to_string(),
            group.last_at.to_string(),
        ]);
    }
    if form == Form::Text {
        if groups.is_empty() {
            output::line("No open letters");
        } else {
            output::print(&table);
            output::line("");
            for group in &groups {
                let advice = remedy(pipeline, &group.fingerprint);
                output::line(format!("{}: {advice}", group.fingerprint.code));
            }
            let all = groups.iter().map(|group| usize::try_from(group.letters).unwrap_or(usize::MAX)).sum();
            let causes = output::count(groups.len(), "cause");
            output::line(format!("\n{} of {causes}; see those of one with --code", output::count(all, "open letter")));
        }
    }
    Ok(if groups.is_empty() { Exit::Done } else { Exit::Attention })
}

pub(super) fn text(text: Option<&str>) -> String {
    text.unwrap_or("-").to_owned()
}

/// The account that a person knows the letter by.
pub(super) fn account(letter: &DeadLetter) -> String {
    text(letter.account.as_ref().or(letter.partner.as_ref()).map(|account| account.as_str()))
}
