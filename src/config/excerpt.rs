//! A line of the file as it may be shown beside a mistake. Only what is known to be no secret is shown: keys, and values
//! that a reader declared plain. Everything else, comments included, is left out or becomes `***`.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Characters of a line that are shown at most.
const WIDTH: usize = 100;

/// A line, and where its caret goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Excerpt {
    /// The line.
    pub text: String,
    /// Characters before the caret.
    pub indent: usize,
    /// Carets.
    pub width: usize,
}

/// The text of a file with the places that may be shown.
pub(super) struct Source<'f> {
    text: &'f str,
    /// Keys, headers and values, in order.
    tokens: Vec<Token>,
    /// Whether it is TOML. Then all text that is no value and no comment is a key or punctuation.
    valid: bool,
}

struct Token {
    span: Range<usize>,
    shown: bool,
}

impl<'f> Source<'f> {
    /// A file of which these values may be shown, and all keys.
    pub fn new(text: &'f str, document: &DeTable<'_>, plain: &[Range<usize>], valid: bool) -> Self {
        let mut source = Self { text, tokens: Vec::new(), valid };
        source.collect(document, plain);
        source.tokens.sort_by_key(|token| token.span.start);
        source
    }

    fn collect(&mut self, table: &DeTable<'_>, plain: &[Range<usize>]) {
        for (key, value) in table.iter() {
            self.tokens.push(Token { span: key.span(), shown: true });
            self.collect_value(value, plain);
        }
    }

    fn collect_value(&mut self, value: &Spanned<DeValue<'_>>, plain: &[Range<usize>]) {
        match value.get_ref() {
            DeValue::Table(table) => {
                if self.text.get(value.span()).is_some_and(|text| text.starts_with('[')) {
                    self.tokens.push(Token { span: value.span(), shown: true });
                }
                self.collect(table, plain);
            }
            DeValue::Array(items) => items.iter().for_each(|item| self.collect_value(item, plain)),
            _ => self.tokens.push(Token { span: value.span(), shown: plain.contains(&value.span()) }),
        }
    }

    /// Line and column of an offset, both from 1; the column in characters.
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let before = &self.text[..self.boundary(offset)];
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
    }

    /// The line of an offset, without its end.
    pub fn line_of(&self, offset: usize) -> Range<usize> {
        let offset = self.boundary(offset);
        let start = self.text[..offset].rfind('\n').map_or(0, |newline| newline + 1);
        let end = self.text[offset..].find('\n').map_or(self.text.len(), |newline| offset + newline);
        start..end
    }

    /// The line of a mistake. Of a line that is no TOML, only what reads like one of our keys is shown.
    pub fn excerpt(&self, span: &Range<usize>, broken: bool) -> Option<Excerpt> {
        let line = self.line_of(span.start);
        let (text, columns) = if broken { self.broken_line(&line) } else { self.line(&line) };
        if text.trim().is_empty() {
            return None;
        }
        let column = |offset: usize| columns.iter().take_while(|known| **known < offset).count();
        let indent = column(span.start).min(text.chars().count());
        let width = column(span.end.min(line.end)).saturating_sub(indent).max(1);
        // A long line is cut so that the caret stays in sight.
        let skip = if indent > WIDTH - 20 { indent - 20 } else { 0 };
        let text = text.chars().skip(skip).take(WIDTH).collect::<String>().trim_end().to_owned();
        Some(Excerpt { text, indent: indent - skip, width: width.min(WIDTH - (indent - skip)) })
    }

    /// The text shown for a line, and for each of its characters the offset in the file that it stands for.
    fn line(&self, line: &Range<usize>) -> (String, Vec<usize>) {
        let mut shown = Shown::default();
        let mut offset = line.start;
        while offset < line.end {
            match self.tokens.iter().find(|token| token.span.contains(&offset)) {
                Some(token) => {
                    let end = token.span.end.min(line.end);
                    if token.shown {
                        shown.push(offset, &self.text[offset..end])
                    } else {
                        shown.hide(offset)
                    }
                    offset = end;
                }
                None => {
                    let Some(character) = self.text[offset..].chars().next() else { break };
                    match character {
                        '#' => break,
                        ' ' | '\t' | '=' | '[' | ']' | '{' | '}' | ',' | '.' | '"' | '\'' => {
                            shown.push(offset, &self.text[offset..offset + character.len_utf8()]);
                        }
                        '\r' => {}
                        _ if self.valid => shown.push(offset, &self.text[offset..offset + character.len_utf8()]),
                        _ => {
                            shown.hide(offset);
                            break;
                        }
                    }
                    offset += character.len_utf8();
                }
            }
        }
        (shown.text, shown.offsets)
    }

    fn broken_line(&self, line: &Range<usize>) -> (String, Vec<usize>) {
        let text = &self.text[line.clone()];
        let key = text.split('=').next().unwrap_or(text);
        let is_key = |c: char| c.is_ascii_lowercase() || "_-. \"[]".contains(c);
        let begins_well = key.len() < text.len() || text.starts_with('[');
        let mut shown = Shown::default();
        if begins_well && key.len() <= 60 && key.chars().all(is_key) {
            shown.push(line.start, key);
            if key.len() < text.len() {
                shown.push(line.start + key.len(), "= ");
                // Behind everything else, so that the caret of whatever follows points here.
                shown.hide(usize::MAX);
            }
        } else if !text.trim().is_empty() {
            shown.hide(usize::MAX);
        }
        (shown.text, shown.offsets)
    }

    /// The nearest place at or before an offset where a character begins.
    fn boundary(&self, offset: usize) -> usize {
        let offset = offset.min(self.text.len());
        (0..=offset).rev().find(|offset| self.text.is_char_boundary(*offset)).unwrap_or(0)
    }
}

#[derive(Default)]
struct Shown {
    text: String,
    offsets: Vec<usize>,
}

impl Shown {
    fn push(&mut self, offset: usize, text: &str) {
        for (index, character) in text.char_indices() {
            // A terminal obeys control characters, and a tab would move the caret.
            self.text.push(if character.is_control() { ' ' } else { character });
            self.offsets.push(offset + index);
        }
    }

    fn hide(&mut self, offset: usize) {
        self.text.push_str("***");
        self.offsets.extend([offset; 3]);
    }
}
