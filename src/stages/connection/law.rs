//! The round-trip law of attributes that flow both ways (R87, B26): what one side is told of a value, sent back, is that
//! value again, as the side compares. Here it is tried on made-up values, before anything flows; what it misses is found
//! value by value later ([`Mapping::enter`](crate::domain::mapping::Mapping::enter)).

use crate::domain::mapping::Mapping;
use crate::domain::{Comparison, Side, Sides, Value};
use crate::systems::{AttributeSchema, ValueKind};

/// Texts that are made up by chance, besides those that are known to matter.
const RANDOM_TEXTS: usize = 300;

/// The longest of them, in characters.
const MAX_CHARS: u64 = 16;

/// What such texts are made of: letters of both cases, with letters whose other case is longer or is none, spaces, digits,
/// punctuation, and characters of several bytes.
const ALPHABET: &str = "abcdxyzABCXYZ0189 -_.,@/'+\u{a0}\u{e9}\u{c9}\u{df}\u{130}\u{f1}\u{3a3}\u{3c2}\u{416}\u{5d0}\u{4f8b}\u{1f600}\u{301}";

/// Texts that mappings often treat in ways of their own.
const KNOWN: &[&str] = &[
    "",
    " ",
    "a",
    "A",
    "Ada",
    "ADA",
    "ada",
    " Ada ",
    "Ada Lovelace",
    "Lovelace, Ada",
    "ada@example.com",
    "Ada@Example.COM",
    "\u{c9}loise",
    "stra\u{df}e",
    "O'Neil",
    "null",
    "true",
    "0",
    "007",
    "a-b-c",
    "a.b.c",
    "a/b",
    "\t",
    "x\ny",
];

/// Tries the law.
///
/// # Errors
/// A value that would come back as another one, in a sentence.
pub(super) fn check(mapping: &Mapping, ends: Sides<&AttributeSchema>, known: &[String]) -> Result<(), String> {
    let trials = Sides::from_fn(|side| try_side(mapping, ends, side, known));
    // Where every value of one side has a form on the other and comes back, a value of the other side that is of no such
    // form is simply none that flows: `corp-ada` and `ada`.
    let whole = Side::BOTH.into_iter().any(|side| trials[side].is_whole && trials[side].broken.is_none());
    let broken = Side::BOTH.into_iter().find_map(|side| trials[side].broken.as_ref());
    match broken {
        Some(broken) if !whole => Err(broken.clone()),
        _ => Ok(()),
    }
}

/// What trying the values of one side came to.
struct Trial {
    /// Every one of them has a form on the other side.
    is_whole: bool,
    /// One that does not come back.
    broken: Option<String>,
}

fn try_side(mapping: &Mapping, ends: Sides<&AttributeSchema>, side: Side, known: &[String]) -> Trial {
    let comparison = Sides { a: ends.a.comparison, b: ends.b.comparison };
    let mut trial = Trial { is_whole: true, broken: None };
    for value in values(ends[side].kind, known) {
        let value = comparison[side].kept(value);
        let Some(told) = tell(mapping, side, &value) else {
            trial.is_whole = false;
            continue;
        };
        let back = tell(mapping, side.other(), &comparison[side.other()].kept(told.clone()));
        if !same(comparison[side], back.as_ref(), &value) && trial.broken.is_none() {
            trial.broken = Some(sentence(side, &value, &told, back.as_ref()));
        }
    }
    trial
}

/// What the other side is told of a value of this one; `None`: it has no form there.
fn tell(mapping: &Mapping, side: Side, value: &Option<Value>) -> Option<Option<Value>> {
    let way = match side {
        Side::A => &mapping.to_link.a,
        Side::B => &mapping.to_a,
    };
    match way {
        Some(conversion) => conversion.convert(std::slice::from_ref(value)).ok(),
        None => Some(value.clone()),
    }
}

fn same(comparison: Comparison, back: Option<&Option<Value>>, value: &Option<Value>) -> bool {
    back.is_some_and(|back| comparison.equal(back.as_ref(), value.as_ref()))
}

fn sentence(side: Side, value: &Option<Value>, told: &Option<Value>, back: Option<&Option<Value>>) -> String {
    let comes = match back {
        Some(back) => format!("comes back as {}", shown(back)),
        None => "does not come back at all".to_owned(),
    };
    format!(
        "both ways, each value must come back as it was; {} on side {side} becomes {} on side {}, which {comes}. Make each of \
         the two the inverse of the other, or give the attribute the direction a_to_b or b_to_a",
        shown(value),
        shown(told),
        side.other()
    )
}

/// A made-up value as people read it.
fn shown(value: &Option<Value>) -> String {
    match value {
        None => "no value".to_owned(),
        Some(Value::Bool(value)) => value.to_string(),
        Some(Value::Int(value)) => value.to_string(),
        Some(Value::Text(text)) => format!("{text:?}"),
        Some(Value::Set(items)) => format!("{items:?}"),
        Some(Value::Reference { account }) => account.to_string(),
    }
}

/// Values of a kind: the same ones every time.
fn values(kind: ValueKind, known: &[String]) -> Vec<Option<Value>> {
    let text = |text: String| Some(Value::Text(text));
    let mut values = vec![None];
    match kind {
        ValueKind::Bool => values.extend([false, true].map(|value| Some(Value::Bool(value)))),
        ValueKind::Int => {
            let near = [0, 1, -1, 2, 7, 10, 100, i64::from(i32::MAX), i64::from(i32::MIN)];
            values.extend(near.map(|value| Some(Value::Int(value))));
        }
        ValueKind::Set => {
            let texts = texts(known);
            values.push(Some(Value::Set(Default::default())));
            values.extend(texts.chunks(3).map(|items| Some(Value::Set(items.iter().cloned().collect()))));
        }
        ValueKind::Email => {
            let is_local = |text: &String| !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c == '@');
            let locals = texts(known).into_iter().filter(is_local);
            values.extend(
                locals.flat_map(|local| [text(format!("{local}@example.com")), text(format!("{local}@X.Example"))]),
            );
            values.extend(known.iter().filter(|text| text.contains('@')).cloned().map(text));
        }
        ValueKind::Text | ValueKind::Reference => values.extend(texts(known).into_iter().map(text)),
    }
    values
}

fn texts(known: &[String]) -> Vec<String> {
    let mut chance = Chance(0x6d75_7374_6572);
    let letters: Vec<char> = ALPHABET.chars().collect();
    let mut texts: Vec<String> = KNOWN.iter().map(|text| (*text).to_owned()).collect();
    for text in known {
        let word = chance.word(&letters);
        texts.extend([text.clone(), text.to_lowercase(), text.to_uppercase()]);
        texts.extend([format!("{text}{word}"), format!("{word}{text}"), format!("{word}{text}{word}"), text.repeat(2)]);
    }
    texts.extend((0..RANDOM_TEXTS).map(|_| chance.word(&letters)));
    texts
}

/// Numbers that look like chance and are the same every time (SplitMix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    fn word(&mut self, letters: &[char]) -> String {
        let length = self.below(MAX_CHARS + 1);
        let count = u64::try_from(letters.len()).unwrap_or(1);
        (0..length).filter_map(|_| letters.get(usize::try_from(self.below(count)).unwrap_or_default())).collect()
    }
}

#[cfg(test)]
mod tests;
