//! The report as a page of text, at most [`WIDTH`] characters wide.

use console::{Alignment, measure_text_width, pad_str, truncate_str};

use super::output;
use super::report::{AttributeReport, LetterReport, Report};
use super::words::{quoted, short};

/// Characters of a line.
const WIDTH: usize = 100;

/// Characters of the column of values, as long as they fit.
const VALUE_WIDTH: usize = 44;

/// Prints the page; `asked`: it is about one attribute, which is told at length.
pub(super) fn print(report: &Report, asked: bool) {
    for line in lines(report, asked) {
        output::line(line.trim_end());
    }
}

fn lines(report: &Report, asked: bool) -> Vec<String> {
    let mut page = Page::default();
    page.text("", "  ", &format!("{}: {}", report.connection, sentence(&report.verdict)));
    page.gap();
    let width = report.sides.iter().map(|side| side.name.len()).max().unwrap_or_default() + 2;
    for side in &report.sides {
        let account = side.account.as_ref().map_or("no account", |account| account.as_str());
        page.text(&format!("  {:width$}", side.name), &" ".repeat(width + 2), account);
        for text in &side.text {
            page.text(&" ".repeat(width + 2), &" ".repeat(width + 2), text);
        }
    }
    let told = report.attributes.iter().filter(|attribute| asked || !attribute.is_empty);
    let (plain, more): (Vec<_>, Vec<_>) = told.partition(|attribute| attribute.in_step && !asked);
    for group in alike(&more, asked) {
        page.gap();
        match group[..] {
            [attribute] => page.attribute(attribute, asked),
            _ => page.values("", &group),
        }
        page.situation(group[0], asked);
    }
    if !plain.is_empty() {
        page.gap();
        page.text("", "", "In step");
        page.values("  ", &plain);
    }
    if !report.kept.is_empty() {
        page.gap();
        page.text("", "", "Values that did not win");
        for kept in &report.kept {
            page.text("  ", "    ", &format!("{}, {}", short(&kept.attribute), kept.text));
            page.text("    ", "    ", &kept.back);
        }
    }
    for letter in &report.letters {
        page.gap();
        page.letter(letter, &report.verdict);
    }
    page.gap();
    page.text("", "", "Next");
    for step in &report.next {
        page.text("  ", "  ", &step.text);
        if let Some(command) = &step.command {
            // Never broken: it is there to be copied.
            page.lines.push(format!("    {command}"));
        }
    }
    page.lines
}

/// Attributes in groups of which the same is to be said.
fn alike<'r>(attributes: &[&'r AttributeReport], asked: bool) -> Vec<Vec<&'r AttributeReport>> {
    let mut groups: Vec<Vec<&AttributeReport>> = Vec::new();
    for attribute in attributes {
        let said = |of: &AttributeReport| -> Vec<String> {
            let sides = of.sides.iter().map(|side| side.told(asked).to_owned());
            sides.chain(of.rule.clone()).collect()
        };
        let known = groups.iter_mut().find(|group| attribute.value.is_some() && said(group[0]) == said(attribute));
        match known {
            Some(group) => group.push(attribute),
            None => groups.push(vec![attribute]),
        }
    }
    groups
}

/// The lines so far.
#[derive(Default)]
struct Page {
    lines: Vec<String>,
}

impl Page {
    fn gap(&mut self) {
        self.lines.push(String::new());
    }

    /// A text, broken between words; its first line begins with `first`, the others with `rest`.
    fn text(&mut self, first: &str, rest: &str, text: &str) {
        let mut line = first.to_owned();
        let mut is_empty = true;
        for word in text.split(' ') {
            if !is_empty && measure_text_width(&line) + 1 + measure_text_width(word) > WIDTH {
                self.lines.push(std::mem::replace(&mut line, rest.to_owned()));
                is_empty = true;
            }
            if !is_empty {
                line.push(' ');
            }
            line.push_str(word);
            is_empty = false;
        }
        self.lines.push(line);
    }

    /// What an attribute should be.
    fn attribute(&mut self, attribute: &AttributeReport, asked: bool) {
        let should = match (&attribute.value, &attribute.origin) {
            (Some(value), Some(origin)) => {
                format!("should be {}, the value of {origin}", quoted(value.as_ref(), asked))
            }
            _ => "no value is known that both sides should have".to_owned(),
        };
        self.text("", "  ", &format!("{}: {should}.", short(&attribute.attribute)));
    }

    /// How it is on each side, and by which rule.
    fn situation(&mut self, attribute: &AttributeReport, asked: bool) {
        for side in &attribute.sides {
            self.text("  ", "    ", &format!("{}: {}.", side.name, side.told(asked)));
        }
        let rule = attribute.rule.as_deref().unwrap_or("the attribute is no longer mapped");
        self.text("  ", "    ", &format!("The rule: {rule}."));
    }

    /// Values and whose they are, a line each.
    fn values(&mut self, indent: &str, attributes: &[&AttributeReport]) {
        let value = |attribute: &AttributeReport| quoted(attribute.value.as_ref().and_then(Option::as_ref), false);
        let rows: Vec<_> =
            attributes.iter().map(|attribute| (short(&attribute.attribute), value(attribute), attribute)).collect();
        let names = rows.iter().map(|(name, ..)| measure_text_width(name)).max().unwrap_or_default();
        let values = rows.iter().map(|(_, value, _)| measure_text_width(value)).max().unwrap_or_default();
        for (name, value, attribute) in &rows {
            let origin = attribute.origin.as_deref().unwrap_or_default();
            let origin = origin.split(" (").next().unwrap_or_default();
            let (name, value) = (padded(name, names), padded(value, values.min(VALUE_WIDTH)));
            let pinned = if attribute.pinned_to.is_some() { ", pinned" } else { "" };
            let line = format!("{indent}{name}  {value}  from {origin}{pinned}");
            self.lines.push(truncate_str(&line, WIDTH, "").into_owned());
        }
    }

    fn letter(&mut self, letter: &LetterReport, verdict: &str) {
        self.text("", "", &format!("Open letter {}", letter.letter));
        if !verdict.contains(&letter.message) {
            self.text("  ", "  ", &sentence(&letter.message));
        }
        self.text("  ", "  ", &letter.text);
    }
}

/// Filled up with spaces. Some letters take two places.
fn padded(text: &str, width: usize) -> std::borrow::Cow<'_, str> {
    pad_str(text, width, Alignment::Left, None)
}

/// With a full stop.
fn sentence(text: &str) -> String {
    if text.ends_with('.') { text.to_owned() } else { format!("{text}.") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_broken_between_words() {
        let mut page = Page::default();
        page.text("first ", "  ", &"word ".repeat(40));
        assert!(page.lines.len() > 2 && page.lines.iter().all(|line| line.chars().count() <= WIDTH));
        assert!(page.lines[0].starts_with("first word") && page.lines[1].starts_with("  word"));
    }
}
