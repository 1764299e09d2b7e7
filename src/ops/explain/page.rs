//! The report as a page of text, at most [`WIDTH`] characters wide.

use super::output;
use super::report::{AttributeReport, LetterReport, Report};
use super::words::{quoted, short};

/// Characters of a line.
const WIDTH: usize = 100;

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
    let (plain, more): (Vec<_>, Vec<_>) = report.attributes.iter().partition(|attribute| attribute.in_step && !asked);
    for attribute in more {
        page.gap();
        page.attribute(attribute, asked);
    }
    page.plain(&plain);
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
            if !is_empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
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

    /// All there is to say of an attribute.
    fn attribute(&mut self, attribute: &AttributeReport, asked: bool) {
        let should = match (&attribute.value, &attribute.origin) {
            (Some(value), Some(origin)) => {
                format!("should be {}, the value of {origin}", quoted(value.as_ref(), asked))
            }
            _ => "no value is known that both sides should have".to_owned(),
        };
        self.text("", "  ", &format!("{}: {should}.", short(&attribute.attribute)));
        for side in &attribute.sides {
            let text = if asked { &side.full_text } else { &side.text };
            self.text("  ", "    ", &format!("{}: {text}.", side.name));
        }
        let rule = attribute.rule.as_deref().unwrap_or("the attribute is no longer mapped");
        self.text("  ", "    ", &format!("The rule: {rule}."));
    }

    /// Attributes of which there is no more to say than their value, a line each.
    fn plain(&mut self, attributes: &[&AttributeReport]) {
        if attributes.is_empty() {
            return;
        }
        self.gap();
        self.text("", "", "The same on both sides");
        let width = |text: &dyn Fn(&AttributeReport) -> usize| attributes.iter().map(|a| text(a)).max().unwrap_or(0);
        let value = |attribute: &AttributeReport| quoted(attribute.value.as_ref().and_then(Option::as_ref), false);
        let name_width = width(&|attribute| short(&attribute.attribute).chars().count()) + 2;
        let value_width = width(&|attribute| value(attribute).chars().count()).min(36) + 2;
        for attribute in attributes {
            let origin = attribute.origin.as_deref().unwrap_or_default();
            let origin = origin.split(" (").next().unwrap_or_default();
            let line = format!(
                "  {:name_width$}{:value_width$}{}",
                short(&attribute.attribute),
                value(attribute),
                if origin.is_empty() { String::new() } else { format!("from {origin}") }
            );
            self.lines.push(line.chars().take(WIDTH).collect());
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
