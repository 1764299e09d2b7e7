//! Reading one table of the file, key by key, going on after each mistake.
//!
//! A table is read by one function that asks for its keys. The same function, run without a file, describes the table:
//! so the JSON Schema, the list of known keys and the reader cannot drift apart.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json, json};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::environment::Environment;
use super::shape::{Scalar, Shape};
use super::words::{known_words, nearest, not_known, suggestion};

/// A place in the file: where, and under which key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub span: Range<usize>,
    pub key: String,
}

/// A mistake at its place.
pub(crate) struct Raw {
    pub place: Place,
    pub problem: String,
    pub remedy: String,
    /// What kind of mistake it is, since after a syntax error some kinds are only its consequence.
    pub kind: Kind,
}

/// Kinds of mistakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Syntax,
    Missing,
    UnknownKey,
    Value,
}

/// What is shared by all tables while a file is read.
pub(crate) struct Reader<'e> {
    pub environment: &'e dyn Environment,
    /// Relative paths begin here: the folder of the file.
    pub folder: &'e Path,
    /// The text of the file; empty while it is only described.
    pub text: &'e str,
    pub mistakes: Vec<Raw>,
    /// Values that are no secrets and may be shown.
    pub plain: Vec<Range<usize>>,
}

impl<'e> Reader<'e> {
    pub fn new(environment: &'e dyn Environment, folder: &'e Path, text: &'e str) -> Self {
        Self { environment, folder, text, mistakes: Vec::new(), plain: Vec::new() }
    }

    /// Notes a mistake in a value.
    pub fn mistake(&mut self, place: &Place, problem: impl Into<String>, remedy: impl Into<String>) {
        self.note(Kind::Value, place, problem, remedy);
    }

    pub fn note(&mut self, kind: Kind, place: &Place, problem: impl Into<String>, remedy: impl Into<String>) {
        self.mistakes.push(Raw { place: place.clone(), problem: problem.into(), remedy: remedy.into(), kind });
    }

    /// Notes that this value may be shown.
    pub fn is_plain(&mut self, place: &Place) {
        self.plain.push(place.span.clone());
    }
}

/// A value that was found, and where.
pub(crate) struct Found<'v> {
    pub value: &'v DeValue<'v>,
    pub place: Place,
}

impl Found<'_> {
    /// Its text, or a mistake that says what was expected.
    pub fn text(&self, expected: &str, reader: &mut Reader<'_>) -> Option<&str> {
        let text = self.value.as_str();
        if text.is_none() {
            self.wrong_type(expected, reader);
        }
        text
    }

    pub fn wrong_type(&self, expected: &str, reader: &mut Reader<'_>) {
        let found = match self.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        reader.mistake(&self.place, format!("is {found}"), format!("expected {expected}"));
    }
}

/// One key as the schema has it.
struct Property {
    key: &'static str,
    schema: Json,
    required: bool,
}

/// A table being read, or only described.
pub(crate) struct Table<'t, 'e> {
    /// The table in the file; `None` while it is only described. Then nothing is missing and nothing is wrong.
    node: Option<&'t DeTable<'t>>,
    place: Place,
    reader: &'t mut Reader<'e>,
    properties: Vec<Property>,
    /// Variants by the word that chooses one, of a table that has them: only while it is described.
    variants: Vec<Json>,
    /// Unknown keys are not reported, since the word that decides what is known is wrong.
    lenient: bool,
    /// The remedy for an unknown key that holds a table, where that has a likely reason.
    nested_remedy: Option<&'static str>,
}

impl<'t, 'e> Table<'t, 'e> {
    /// Reads a table with `read` and reports the keys that it did not ask for.
    pub fn read<T>(
        node: &DeTable<'_>,
        place: Place,
        reader: &mut Reader<'_>,
        read: impl FnOnce(&mut Table<'_, '_>) -> Option<T>,
    ) -> Option<T> {
        let mut table = Table::over(Some(node), place, reader);
        let value = read(&mut table);
        table.report_unknown();
        value
    }

    /// What `read` makes of an absent table: its defaults, or `None` if it requires something.
    pub fn absent<T>(reader: &mut Reader<'_>, read: impl FnOnce(&mut Table<'_, '_>) -> Option<T>) -> Option<T> {
        read(&mut Table::over(None, Place { span: 0..0, key: String::new() }, reader))
    }

    /// The JSON Schema of the table that `read` reads.
    pub fn describe<T>(read: impl FnOnce(&mut Table<'_, '_>) -> Option<T>) -> Json {
        let environment = std::collections::BTreeMap::new();
        let mut reader = Reader::new(&environment, Path::new(""), "");
        let mut table = Table::over(None, Place { span: 0..0, key: String::new() }, &mut reader);
        read(&mut table);
        table.schema()
    }

    fn over(node: Option<&'t DeTable<'_>>, place: Place, reader: &'t mut Reader<'e>) -> Self {
        Self { node, place, reader, properties: Vec::new(), variants: Vec::new(), lenient: false, nested_remedy: None }
    }

    /// A key that must be there.
    pub fn required<S: Shape>(&mut self, key: &'static str, shape: S, doc: &str) -> Option<S::Value> {
        self.property(key, &shape, doc, true, None);
        self.node?;
        match self.find(key) {
            Some(found) => shape.read(&found, self.reader),
            None => {
                let place = self.place_of(key);
                self.reader.note(Kind::Missing, &place, "is missing", format!("add it: {doc}"));
                None
            }
        }
    }

    /// A key with a default.
    pub fn default<S: Scalar>(
        &mut self,
        key: &'static str,
        shape: S,
        default: S::Value,
        doc: &str,
    ) -> Option<S::Value> {
        self.property(key, &shape, doc, false, Some(shape.show(&default)));
        match self.find(key) {
            Some(found) => shape.read(&found, self.reader),
            None => Some(default),
        }
    }

    /// A key that may be left out. The outer `None` is a mistake.
    pub fn optional<S: Shape>(&mut self, key: &'static str, shape: S, doc: &str) -> Option<Option<S::Value>> {
        self.property(key, &shape, doc, false, None);
        match self.find(key) {
            Some(found) => shape.read(&found, self.reader).map(Some),
            None => Some(None),
        }
    }

    /// A table that may be left out if its keys have defaults.
    pub fn table<T>(
        &mut self,
        key: &'static str,
        doc: &str,
        read: impl Fn(&mut Table<'_, '_>) -> Option<T>,
    ) -> Option<T> {
        let shape = super::shape::Sub(read);
        self.property(key, &shape, doc, false, None);
        match self.find(key) {
            Some(found) => shape.read(&found, self.reader),
            None => Table::absent(self.reader, &shape.0),
        }
    }

    /// A key whose word decides which other keys there are.
    pub fn variant<T>(&mut self, key: &'static str, doc: &str, variants: &[Variant<T>]) -> Option<T> {
        let words: Vec<_> = variants.iter().map(|variant| variant.word).collect();
        if self.node.is_none() {
            for variant in variants {
                let mut table = Table::over(None, self.place.clone(), self.reader);
                table.properties.push(Property {
                    key,
                    schema: json!({ "const": variant.word, "description": doc }),
                    required: true,
                });
                (variant.read)(&mut table);
                let mut schema = table.schema();
                schema["description"] = json!(variant.doc);
                self.variants.push(schema);
            }
            return None;
        }
        self.properties.push(Property { key, schema: Json::Null, required: true });
        let Some(found) = self.find(key) else {
            self.lenient = true;
            let place = self.place_of(key);
            self.reader.note(Kind::Missing, &place, "is missing", known_words(&words));
            return None;
        };
        let chosen = found.text(&known_words(&words), self.reader).and_then(|text| {
            self.reader.is_plain(&found.place);
            let variant = variants.iter().find(|variant| variant.word == text);
            if variant.is_none() {
                self.reader.mistake(&found.place, not_known(text), suggestion(text, &words));
            }
            variant
        });
        match chosen {
            Some(variant) => (variant.read)(self),
            None => {
                self.lenient = true;
                None
            }
        }
    }

    /// Notes a mistake at a place of another table.
    pub fn mistake_at(&mut self, place: &Place, problem: impl Into<String>, remedy: impl Into<String>) {
        self.reader.mistake(place, problem, remedy);
    }

    /// An environment variable.
    pub fn variable(&self, name: &str) -> Option<String> {
        self.reader.environment.variable(name)
    }

    /// A path of the configuration, which begins at the folder of its file.
    pub fn path(&self, path: &str) -> PathBuf {
        self.reader.folder.join(path)
    }

    /// The text of a file that `key` names, or a mistake.
    pub fn file(&mut self, key: &str, path: &str) -> Option<String> {
        match std::fs::read_to_string(self.path(path)) {
            Ok(text) => Some(text),
            Err(error) => {
                self.mistake(key, format!("the file cannot be read: {error}"), "name a readable file");
                None
            }
        }
    }

    /// What to advise about an unknown key that holds a table.
    pub fn advise_on_nested(&mut self, remedy: &'static str) {
        self.nested_remedy = Some(remedy);
    }

    /// Whether the key is in the file.
    pub fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// Notes a mistake that shows only when keys are seen together.
    pub fn mistake(&mut self, key: &str, problem: impl Into<String>, remedy: impl Into<String>) {
        if self.node.is_some() {
            let place = self.place_of(key);
            self.reader.mistake(&place, problem, remedy);
        }
    }

    /// The same, at a character of the text that the key has, where the file spells that text as it is.
    pub fn mistake_within(
        &mut self,
        key: &str,
        at: Option<usize>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let text = self.find(key).and_then(|found| found.value.as_str());
        let place = self.place_of(key);
        let within = text.zip(at).and_then(|(text, at)| within(self.reader.text, &place.span, text, at));
        let place = Place { span: within.unwrap_or(place.span), key: place.key };
        if self.node.is_some() {
            self.reader.mistake(&place, problem, remedy);
        }
    }

    /// Notes that `missing` has to come with `beside`, which is there.
    pub fn missing_beside(
        &mut self,
        beside: &str,
        missing: &str,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let place = Place { span: self.place_of(beside).span, key: join(&self.place.key, missing) };
        self.reader.note(Kind::Missing, &place, problem, remedy);
    }

    /// Where the key's value is, or where the table is if it has none. The empty key is the table itself.
    pub fn place_of(&self, key: &str) -> Place {
        match self.find(key) {
            Some(found) => found.place,
            None if key.is_empty() => self.place.clone(),
            None => Place { span: self.place.span.clone(), key: join(&self.place.key, key) },
        }
    }

    fn find(&self, key: &str) -> Option<Found<'t>> {
        let (_, value) = self.node?.iter().find(|(name, _)| name.get_ref() == key)?;
        Some(Found { value: value.get_ref(), place: Place { span: value.span(), key: join(&self.place.key, key) } })
    }

    fn property<S: Shape>(&mut self, key: &'static str, shape: &S, doc: &str, required: bool, default: Option<Json>) {
        let mut schema = Json::Null;
        if self.node.is_none() {
            schema = shape.schema();
            schema["description"] = json!(doc);
            if let Some(default) = default {
                schema["default"] = default;
            }
        }
        self.properties.push(Property { key, schema, required });
    }

    fn report_unknown(&mut self) {
        let Some(node) = self.node.filter(|_| !self.lenient) else { return };
        let known: Vec<_> = self.properties.iter().map(|property| property.key).collect();
        for (key, value) in node.iter().filter(|(key, _)| !known.contains(&key.get_ref().as_ref())) {
            let remedy = match self.nested_remedy {
                Some(remedy) if value.get_ref().is_table() => remedy.to_owned(),
                _ => suggestion(key.get_ref(), &known),
            };
            if let Some(meant) = nearest(key.get_ref(), &known) {
                // A key that is missing because it is misspelt is one mistake, not two.
                let meant = join(&self.place.key, meant);
                self.reader.mistakes.retain(|raw| raw.kind != Kind::Missing || raw.place.key != meant);
            }
            let place = Place { span: key.span(), key: join(&self.place.key, key.get_ref()) };
            self.reader.note(Kind::UnknownKey, &place, "is not a known key", remedy);
        }
    }

    fn schema(&self) -> Json {
        if !self.variants.is_empty() {
            return json!({ "oneOf": self.variants });
        }
        let properties: Map<_, _> =
            self.properties.iter().map(|property| (property.key.to_owned(), property.schema.clone())).collect();
        let required: Vec<_> =
            self.properties.iter().filter(|property| property.required).map(|property| property.key).collect();
        let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        schema
    }
}

/// One of the forms that a table can have.
pub(crate) struct Variant<T> {
    /// The word that chooses it.
    pub word: &'static str,
    pub doc: &'static str,
    pub read: fn(&mut Table<'_, '_>) -> Option<T>,
}

/// The entries of a table with names that the file chooses, each with its place.
pub(crate) fn entries<'v>(found: &Found<'v>) -> Vec<(&'v Spanned<toml::de::DeString<'v>>, Found<'v>)> {
    let table = found.value.as_table().into_iter().flat_map(DeTable::iter);
    table
        .map(|(name, value)| {
            let place = Place { span: value.span(), key: join(&found.place.key, name.get_ref()) };
            (name, Found { value: value.get_ref(), place })
        })
        .collect()
}

/// Where a character of a string is in the file, if there are no escapes in it.
fn within(file: &str, span: &Range<usize>, text: &str, at: usize) -> Option<Range<usize>> {
    let spelt = file.get(span.clone())?;
    let quote = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quote| spelt.starts_with(quote))?;
    let begin = spelt.find(text)?;
    // What stands before it may be a line break, which does not count.
    let is_all = begin + text.len() + quote.len() == spelt.len() && begin <= quote.len() + 2;
    let (offset, character) = text.char_indices().nth(at).or_else(|| text.char_indices().next_back())?;
    let start = span.start + begin + offset;
    is_all.then(|| start..start + character.len_utf8())
}

/// A key below another, quoted where TOML would want it quoted.
fn join(parent: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let key = if bare { key.to_owned() } else { format!("{key:?}") };
    if parent.is_empty() { key } else { format!("{parent}.{key}") }
}
