//! What people write about accounts in the Common Expression Language: conditions ([`Scope`]), and how an attribute is
//! made of others ([`Computed`]).
//!
//! An expression reads one side, by the side's letter and the attributes' canonical names: `a.native.Sync__c == true`,
//! `a.active && a["urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department"] in ["Sales", "Support"]`.
//! An attribute without a value is `null`. What the language does is pinned in the snapshots beside this module.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use cel::common::ast::{EntryExpr, Expr, operators};
use cel::common::types::CelString;
use cel::objects::Key;
use cel::{Context, Env, ExecutionError, IdedExpr, Program, Value as Cel};

use crate::domain::mapping::Flaw;
use crate::domain::{AttributePath, Side, Value};
use crate::systems::{Schema, ValueKind};

pub use computed::Computed;
pub use scope::Scope;

use reads::Reads;

mod computed;
mod growth;
mod reads;
mod scope;

/// Longest expression, in bytes.
pub const MAX_BYTES: usize = 4_096;

/// Most text that an expression takes, of all attributes together, in bytes: what it makes of them may be as long as their
/// product.
pub const MAX_INPUT_BYTES: usize = 4_096;

/// Stack on which an expression is read: its parser needs much for each bracket, before anybody can count them.
const READING_STACK_BYTES: usize = 64 * 1024 * 1024;

/// Functions and macros of the language, set up once: the standard ones, those for texts that most implementations have,
/// and letter case of every alphabet.
static LANGUAGE: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut language = Env::stdlib();
    language.add_extension(cel::extensions::strings).expect("the names of the extension are free");
    cel::add_member_overload!(language, fn lower: (CelString) -> CelString).expect("the name is free");
    cel::add_member_overload!(language, fn upper: (CelString) -> CelString).expect("the name is free");
    Arc::new(language)
});

fn lower(text: &CelString<'_>) -> CelString<'static> {
    text.inner().to_lowercase().into()
}

fn upper(text: &CelString<'_>) -> CelString<'static> {
    text.inner().to_uppercase().into()
}

/// Why a text is no expression, for the person who wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct ExpressionError {
    /// What is wrong.
    pub problem: String,
    /// Where, in characters from its beginning; `None`: all of it.
    pub at: Option<usize>,
}

impl ExpressionError {
    fn new(problem: impl Into<String>) -> Self {
        Self { problem: problem.into(), at: None }
    }
}

/// An expression that was read.
#[derive(Clone)]
struct Expression {
    text: Arc<str>,
    program: Arc<Program>,
    /// The side that it reads, if any.
    side: Option<Side>,
    /// What it reads there, each once.
    reads: Vec<AttributePath>,
    /// The texts that are spelt out in it.
    literals: Vec<String>,
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// It is none, reads both sides, or could take long: one loop at most, since loops within loops can take minutes and
    /// cannot be interrupted.
    fn parse(text: &str) -> Result<Self, ExpressionError> {
        if text.len() > MAX_BYTES {
            return Err(ExpressionError::new(format!("is longer than {MAX_BYTES} bytes")));
        }
        let read = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(READING_STACK_BYTES);
            thread.spawn_scoped(scope, || Self::read(text)).ok()?.join().ok()
        });
        read.unwrap_or_else(|| Err(ExpressionError::new("cannot be read")))
    }

    fn read(text: &str) -> Result<Self, ExpressionError> {
        let program = LANGUAGE.compile(text).map_err(|errors| {
            let Some(first) = errors.errors.first() else { return ExpressionError::new("cannot be read") };
            let what = first.msg.lines().next().unwrap_or_default().trim_start_matches("Syntax error: ");
            // What the grammar would have taken instead is a long list.
            let what = match what.split(" expecting ").next().unwrap_or_default() {
                what if what.ends_with("'<EOF>'") => "it ends too early",
                what => what,
            };
            let problem = format!("cannot be read at character {}: {what}", first.pos.1);
            ExpressionError { problem, at: Some(offset(text, first.pos)) }
        })?;
        let Reads { found, literals, .. } = Reads::of(&program)?;
        let side = found.first().map(|(side, _)| *side);
        if found.iter().any(|(other, _)| Some(*other) != side) {
            return Err(ExpressionError::new(
                "reads not exactly one side: an account is known by itself, before its partner is",
            ));
        }
        // In the order in which a person meets them.
        let mut reads: Vec<AttributePath> = Vec::new();
        for (_, path) in found {
            if !reads.contains(&path) {
                reads.push(path);
            }
        }
        Ok(Self { text: text.into(), program: Arc::new(program), side, reads, literals })
    }

    /// Evaluates it over the attributes that it reads; one that `value` has none of is null.
    fn evaluate(&self, value: impl Fn(usize, &AttributePath) -> Option<Cel>) -> Result<Cel, Failed> {
        let mut root = Branch::default();
        let mut input_bytes = 0;
        for (place, path) in self.reads.iter().enumerate() {
            let value = value(place, path).unwrap_or(Cel::Null);
            input_bytes += size_bytes(&value);
            root.put(&segments(path), value);
        }
        if input_bytes > MAX_INPUT_BYTES {
            let what = format!("reads more than {MAX_INPUT_BYTES} bytes of text");
            return Err(Failed { flaw: Flaw { code: Flaw::FAILED, what, at: None }, on_this_value: true });
        }
        let mut context = Context::with_env(Arc::clone(&LANGUAGE));
        if let Some(side) = self.side {
            context.add_variable_from_value(side.as_str(), root.into_cel());
        }
        self.program.execute(&context).map_err(|error| {
            let failing = failing(self.program.expression(), &context);
            let at = begin(&self.program, failing).map(|offset| position(&self.text, offset));
            let place = at.map_or(String::new(), |(line, column)| match self.text.contains('\n') {
                true => format!(" at line {line}, character {column}"),
                false => format!(" at character {column}"),
            });
            let what = format!("fails{place}: {}", reason(&error));
            Failed { flaw: Flaw { code: Flaw::FAILED, what, at }, on_this_value: is_on_this_value(&error) }
        })
    }

    /// The attributes that it reads and the schema has none of, as sentences with the nearest ones that there are.
    fn unknown(&self, schema: &Schema) -> Vec<String> {
        let known: Vec<&str> = schema.attributes.iter().map(|attribute| attribute.path.as_str()).collect();
        let missing = self.reads.iter().filter(|path| schema.attribute(path).is_none());
        let side = self.side.map_or("", Side::as_str);
        missing
            .map(|path| match crate::config::nearest(path.as_str(), &known) {
                Some(near) => format!("{side} has no attribute {path}; did you mean {near}?"),
                None => format!("{side} has no attribute {path}"),
            })
            .collect()
    }
}

/// Why an expression has no result for one account.
struct Failed {
    flaw: Flaw,
    /// Another value of the same kind may have one.
    on_this_value: bool,
}

fn is_on_this_value(error: &ExecutionError) -> bool {
    use ExecutionError::{DivisionByZero, FunctionError, IndexOutOfBounds, NoSuchKey, Overflow, RemainderByZero};
    matches!(
        error,
        DivisionByZero(_)
            | FunctionError { .. }
            | IndexOutOfBounds(_)
            | NoSuchKey(_)
            | Overflow(..)
            | RemainderByZero(_)
    )
}

/// A value of the right kind for an attribute, so that a wrong expression shows before the first account.
fn sample(path: &AttributePath, schema: &Schema) -> Option<Cel> {
    Some(match schema.attribute(path)?.kind {
        ValueKind::Bool => Cel::Bool(true),
        ValueKind::Int => Cel::Int(1),
        ValueKind::Set => Cel::from(vec![Cel::from("text")]),
        ValueKind::Email => Cel::from("ada@example.com"),
        ValueKind::Text | ValueKind::Reference => Cel::from("text"),
    })
}

/// The part of an expression that fails while all that it is made of can be told.
fn failing<'e>(expression: &'e IdedExpr, context: &Context<'_, '_>) -> &'e IdedExpr {
    let fails = |part: &&'e IdedExpr| context.resolve(part).is_err();
    let parts: Vec<&'e IdedExpr> = match &expression.expr {
        Expr::Select(select) => vec![&select.operand],
        Expr::Call(call) => match (call.func_name.as_str(), call.args.as_slice()) {
            // Only the branch that is taken can be at fault.
            (operators::CONDITIONAL, [condition, yes, no]) => match context.resolve(condition) {
                Ok(Cel::Bool(true)) => vec![yes],
                Ok(_) => vec![no],
                Err(_) => vec![condition],
            },
            (_, args) => call.target.as_deref().into_iter().chain(args).collect(),
        },
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map
            .entries
            .iter()
            .flat_map(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
                EntryExpr::StructField(field) => vec![&field.value],
            })
            .collect(),
        Expr::Comprehension(part) => vec![&part.iter_range],
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) => Vec::new(),
    };
    parts.into_iter().find(fails).map_or(expression, |part| failing(part, context))
}

/// Why an evaluation failed, in words that hold no value: the error's own text may quote one.
fn reason(error: &ExecutionError) -> String {
    let operator = |name: &str| name.trim_matches(['_', '@']).replace("_?_:_", "?:").to_owned();
    match error {
        ExecutionError::NoSuchOverload(overload) => {
            let kinds = overload.argument_types().iter().map(|kind| kind_named(kind).unwrap_or("something else"));
            format!("there is no `{}` of {}", operator(overload.function()), kinds.collect::<Vec<_>>().join(" and "))
        }
        ExecutionError::UnsupportedBinaryOperator(name, left, right) => {
            let symbols = [("add", "+"), ("sub", "-"), ("mul", "*"), ("div", "/"), ("rem", "%")];
            let operator = symbols.iter().find(|(known, _)| known == name).map_or(*name, |(_, symbol)| symbol);
            format!("there is no `{operator}` of {} and {}", kind_of(left), kind_of(right))
        }
        ExecutionError::UnexpectedType { got, want } => match (kind_named(got), kind_named(want)) {
            (Some(got), Some(want)) => format!("{want} is needed, and there is {got}"),
            (Some(got), None) => format!("{got} does not fit there"),
            (None, _) => "that value does not fit there".to_owned(),
        },
        ExecutionError::NoSuchKey(_) => "there is no such key".to_owned(),
        ExecutionError::UndeclaredReference(name) => format!("there is no {name}"),
        ExecutionError::FunctionError { function, .. } => format!("`{function}` cannot be done with that value"),
        ExecutionError::InvalidArgumentCount { expected, actual } => {
            format!("it takes {expected} arguments and has {actual}")
        }
        ExecutionError::IndexOutOfBounds(_) => "there is no item at that place".to_owned(),
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => "division by zero".to_owned(),
        ExecutionError::Overflow(..) => "the number is too large".to_owned(),
        ExecutionError::ValuesNotComparable(..) => "the two values cannot be compared".to_owned(),
        _ => "that value does not fit there".to_owned(),
    }
}

/// A kind of value by the language's name for it; `None` for what may be no kind but a value.
fn kind_named(name: &str) -> Option<&'static str> {
    Some(match name {
        "string" => "a text",
        "int" | "uint" => "a whole number",
        "double" | "float" => "a number with a fraction",
        "bool" => "true or false",
        "list" => "a list",
        "map" => "a map",
        "null" | "null_type" => "no value",
        _ => return None,
    })
}

fn kind_of(value: &Cel) -> &'static str {
    kind_named(&value.type_of().to_string()).unwrap_or("something else")
}

/// Where a part of an expression begins, in characters; of a call, its name.
fn begin(program: &Program, part: &IdedExpr) -> Option<usize> {
    let source = program.source_info();
    let start = source.offset_for(part.id)?.0 as usize;
    let name = match &part.expr {
        Expr::Call(call) => call.func_name.as_str(),
        Expr::Select(select) if select.test => operators::HAS,
        _ => return Some(start),
    };
    let before: Vec<char> = source.source.chars().take(start).collect();
    let is_name = before.iter().rev().take(name.chars().count()).rev().copied().eq(name.chars());
    Some(if is_name { start - name.chars().count() } else { start })
}

/// Where a line and a column of the parser are, in characters from the beginning.
fn offset(text: &str, (line, column): (isize, isize)) -> usize {
    let lines = usize::try_from(line - 1).unwrap_or_default();
    let before: usize = text.split_inclusive('\n').take(lines).map(|line| line.chars().count()).sum();
    before + usize::try_from(column - 1).unwrap_or_default()
}

/// Line and column, from 1, of what is so many characters from the beginning.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before: Vec<char> = text.chars().take(offset).collect();
    let line = before.iter().filter(|c| **c == '\n').count() + 1;
    (line, before.iter().rev().take_while(|c| **c != '\n').count() + 1)
}

fn cel_of(value: &Value) -> Cel {
    match value {
        Value::Bool(value) => Cel::Bool(*value),
        Value::Int(value) => Cel::Int(*value),
        Value::Text(text) => Cel::from(text.as_str()),
        Value::Set(items) => Cel::from(items.iter().map(|item| Cel::from(item.as_str())).collect::<Vec<_>>()),
        Value::Reference { account } => Cel::from(account.as_str()),
    }
}

/// Bytes of text in a value.
fn size_bytes(value: &Cel) -> usize {
    match value {
        Cel::String(text) => text.len(),
        Cel::List(items) => items.iter().map(size_bytes).sum(),
        _ => 0,
    }
}

/// The names by which the language reaches an attribute: a schema's URN is one name, and what follows it another.
fn segments(path: &AttributePath) -> Vec<&str> {
    if path.as_str().starts_with("urn:") { vec![path.as_str()] } else { path.as_str().split('.').collect() }
}

/// Attributes under the parts of their names.
#[derive(Default)]
struct Branch {
    leaves: HashMap<String, Cel>,
    branches: HashMap<String, Branch>,
}

impl Branch {
    fn put(&mut self, segments: &[&str], value: Cel) {
        match segments {
            [] => {}
            [last] => drop(self.leaves.insert((*last).to_owned(), value)),
            [first, rest @ ..] => self.branches.entry((*first).to_owned()).or_default().put(rest, value),
        }
    }

    fn into_cel(self) -> Cel {
        let branches = self.branches.into_iter().map(|(name, branch)| (name, branch.into_cel()));
        let entries: HashMap<Key, Cel> =
            self.leaves.into_iter().chain(branches).map(|(name, value)| (Key::from(name), value)).collect();
        Cel::Map(entries.into())
    }
}

#[cfg(test)]
mod tests;
