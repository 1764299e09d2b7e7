//! Conditions that people write about accounts, in the Common Expression Language: the scope of a connection.
//!
//! A scope reads one side, by the side's letter and the attributes' canonical names: `a.native.Sync__c == true`,
//! `a.active && a["urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department"] in ["Sales", "Support"]`.
//! An attribute without a value is `null`.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use cel::common::ast::{EntryExpr, Expr, LiteralValue};
use cel::objects::Key;
use cel::{Context, Env, IdedExpr, Program, Value as Cel};

use crate::domain::{AttributePath, Side, Snapshot, Value};
use crate::systems::{Schema, ValueKind};

/// Longest condition, in bytes.
pub const MAX_BYTES: usize = 4_096;

/// Deepest nesting. Conditions are evaluated on the stacks of the workers.
const MAX_DEPTH: usize = 40;

/// Stack on which a condition is read: its parser needs much for each bracket, before anybody can count them.
const READING_STACK_BYTES: usize = 64 * 1024 * 1024;

/// Functions and macros of the language, set up once.
static LANGUAGE: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// Which accounts a connection is about.
#[derive(Clone)]
pub struct Scope {
    text: Arc<str>,
    program: Arc<Program>,
    side: Side,
    reads: Vec<AttributePath>,
}

/// Why a text is no scope, for the person who wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ScopeError(String);

impl Scope {
    /// Reads a condition.
    ///
    /// # Errors
    /// It is none, reads no side or both, or could take long: one loop at most, since loops within loops can take minutes
    /// and cannot be interrupted.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        if text.len() > MAX_BYTES {
            return Err(ScopeError(format!("is longer than {MAX_BYTES} bytes")));
        }
        let read = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(READING_STACK_BYTES);
            thread.spawn_scoped(scope, || Self::read(text)).ok()?.join().ok()
        });
        read.unwrap_or_else(|| Err(ScopeError("cannot be read".to_owned())))
    }

    fn read(text: &str) -> Result<Self, ScopeError> {
        let program = LANGUAGE.compile(text).map_err(|errors| {
            let first = errors.errors.first().map(|error| (error.pos, error.msg.lines().next().unwrap_or_default()));
            let (at, what) = first.unwrap_or_default();
            ScopeError(format!("cannot be read at character {}: {what}", at.1))
        })?;
        let mut reads = Reads::default();
        reads.walk(program.expression(), Nesting::default(), &[])?;
        let (Some((side, _)), true) = (reads.found.first(), reads.is_of_one_side()) else {
            return Err(ScopeError("reads not exactly one side: write a.<attribute> or b.<attribute>".to_owned()));
        };
        let side = *side;
        let mut paths: Vec<_> = reads.found.into_iter().map(|(_, path)| path).collect();
        paths.sort();
        paths.dedup();
        Ok(Self { text: text.into(), program: Arc::new(program), side, reads: paths })
    }

    /// The side that it reads.
    pub fn side(&self) -> Side {
        self.side
    }

    /// What the schema of its side says about it, in sentences: attributes that there are none of, and an answer that
    /// would not be yes or no.
    pub fn problems(&self, schema: &Schema) -> Vec<String> {
        let unknown: Vec<String> = self
            .reads
            .iter()
            .filter(|path| schema.attribute(path).is_none())
            .map(|path| format!("scope: {} has no attribute {path}", self.side))
            .collect();
        if !unknown.is_empty() {
            return unknown;
        }
        // Once with values of the right kinds, so that a wrong one shows now and not with the first account.
        let sample = |path: &AttributePath| {
            Some(match schema.attribute(path)?.kind {
                ValueKind::Bool => Cel::Bool(true),
                ValueKind::Int => Cel::Int(1),
                ValueKind::Set => Cel::from(vec![Cel::from("text")]),
                ValueKind::Email => Cel::from("ada@example.com"),
                ValueKind::Text | ValueKind::Reference => Cel::from("text"),
            })
        };
        match self.evaluate(sample) {
            Ok(Cel::Bool(_)) => Vec::new(),
            Ok(_) => vec!["scope: the answer is neither true nor false; compare with something".to_owned()],
            Err(why) => vec![format!("scope: it fails on an ordinary account: {why}")],
        }
    }

    /// Whether an account fits; `None` if that cannot be told: an attribute was not seen, or the condition fails on what
    /// it holds.
    pub fn fits(&self, snapshot: &Snapshot) -> Option<bool> {
        if self.reads.iter().any(|path| !path.is_id() && !snapshot.attributes.contains_key(path)) {
            return None;
        }
        let value = |path: &AttributePath| {
            if path.is_id() {
                return Some(Cel::from(snapshot.account.as_str()));
            }
            snapshot.attributes.get(path)?.as_ref().map(cel_of)
        };
        match self.evaluate(value) {
            Ok(Cel::Bool(fits)) => Some(fits),
            _ => None,
        }
    }

    /// Evaluates it over the attributes that it reads; one that `value` has none of is null.
    fn evaluate(&self, value: impl Fn(&AttributePath) -> Option<Cel>) -> Result<Cel, String> {
        let mut root = Branch::default();
        for path in &self.reads {
            root.put(&segments(path), value(path).unwrap_or(Cel::Null));
        }
        let mut context = Context::with_env(Arc::clone(&LANGUAGE));
        context.add_variable_from_value(self.side.as_str(), root.into_cel());
        // The message may quote a value, so only its kind is told.
        self.program.execute(&context).map_err(|error| {
            let text = format!("{error:?}");
            text.split(['(', '{', ' ']).next().unwrap_or_default().to_owned()
        })
    }
}

impl PartialEq for Scope {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Scope {}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scope({})", self.text)
    }
}

/// As it was written.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
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

/// Where in an expression one is.
#[derive(Debug, Clone, Copy, Default)]
struct Nesting {
    depth: usize,
    loops: usize,
}

/// What an expression reads.
#[derive(Default)]
struct Reads {
    found: Vec<(Side, AttributePath)>,
}

impl Reads {
    fn is_of_one_side(&self) -> bool {
        self.found.windows(2).all(|pair| pair[0].0 == pair[1].0)
    }

    /// Walks through an expression, which is nested like that, below loops whose variables are `bound`.
    fn walk(&mut self, expression: &IdedExpr, above: Nesting, bound: &[&str]) -> Result<(), ScopeError> {
        let below = Nesting { depth: above.depth + 1, ..above };
        if below.depth > MAX_DEPTH {
            return Err(ScopeError(format!("is nested more than {MAX_DEPTH} deep; a list after `in` is flat")));
        }
        if let Some((side, segments)) = chain(expression, bound) {
            let path = segments.join(".").parse();
            let path = path.map_err(|_| ScopeError(format!("{side}.{} is no attribute", segments.join("."))))?;
            self.found.push((side, path));
            return Ok(());
        }
        let mut all = |parts: &[&IdedExpr]| parts.iter().try_for_each(|part| self.walk(part, below, bound));
        match &expression.expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(name) if bound.contains(&name.as_str()) => Ok(()),
            Expr::Ident(name) => Err(ScopeError(format!("{name} is neither a side's attribute nor a value"))),
            Expr::Select(select) => all(&[&select.operand]),
            Expr::Call(call) => {
                if let Some(target) = &call.target {
                    all(&[target])?;
                }
                all(&call.args.iter().collect::<Vec<_>>())
            }
            Expr::List(list) => all(&list.elements.iter().collect::<Vec<_>>()),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => all(&[&entry.key, &entry.value]),
                EntryExpr::StructField(field) => all(&[&field.value]),
            }),
            Expr::Struct(_) => Err(ScopeError("makes an object; a scope compares attributes".to_owned())),
            Expr::Comprehension(part) => {
                if above.loops > 0 {
                    return Err(ScopeError("has a loop within a loop, which could take minutes".to_owned()));
                }
                all(&[&part.iter_range, &part.accu_init])?;
                let variables = [part.iter_var.as_str(), part.accu_var.as_str()].into_iter();
                let inner: Vec<&str> =
                    bound.iter().copied().chain(variables).chain(part.iter_var2.as_deref()).collect();
                for part in [&part.loop_cond, &part.loop_step, &part.result] {
                    self.walk(part, Nesting { loops: above.loops + 1, ..below }, &inner)?;
                }
                Ok(())
            }
        }
    }
}

/// The side and the names of `a.name.givenName` or `a["urn:..."]`.
fn chain<'e>(expression: &'e IdedExpr, bound: &[&str]) -> Option<(Side, Vec<&'e str>)> {
    let (of, name) = match &expression.expr {
        Expr::Select(select) => (&*select.operand, select.field.as_str()),
        Expr::Call(call) if call.func_name == cel::common::ast::operators::INDEX => match call.args.as_slice() {
            [of, IdedExpr { expr: Expr::Literal(LiteralValue::String(name)), .. }] => (of, name.inner()),
            _ => return None,
        },
        _ => return None,
    };
    if let Expr::Ident(root) = &of.expr {
        let side = Side::BOTH.into_iter().find(|side| side.as_str() == root && !bound.contains(&root.as_str()))?;
        return Some((side, vec![name]));
    }
    let (side, mut segments) = chain(of, bound)?;
    segments.push(name);
    Some((side, segments))
}

#[cfg(test)]
mod tests;
