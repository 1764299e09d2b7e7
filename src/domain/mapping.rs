//! What the values of one side are called on the other: formulas, which people write as expressions, and tables.
//!
//! The link keeps one form of each value: that of the side written to, and of an attribute that flows both ways that of
//! side `b`. So a [`Mapping`] has a way into the link for each side that differs from it, and where values also flow back
//! to side `a`, a way out.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::attribute::{AttributePath, Comparison, Value};
use super::id::{Side, Sides};

/// Computes a value from attributes of one account. It knows no clock and no chance: the same inputs, the same value.
pub trait Formula: fmt::Debug + Send + Sync {
    /// As it was written.
    fn text(&self) -> &str;

    /// The attributes that it reads, under the names of their side.
    fn reads(&self) -> &[AttributePath];

    /// The value for these inputs, one for each attribute that it reads and in the same order (`None`: the attribute has
    /// no value).
    ///
    /// # Errors
    /// It fails on them; the flaw never shows a value.
    fn compute(&self, inputs: &[Option<Value>]) -> Result<Option<Value>, Flaw>;
}

/// Why a value has no form on the other side. It names places and kinds, never a value: it reaches letters and logs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Flaw {
    /// Of which kind it is: the code of the letter about it.
    pub code: &'static str,
    /// What is wrong, in words that follow the attribute's name.
    pub what: String,
    /// Line and column in the expression, in characters and from 1, where it is one that fails.
    pub at: Option<(usize, usize)>,
}

impl Flaw {
    /// Code of an expression that fails on what an account holds.
    pub const FAILED: &'static str = "mapping_failed";
    /// Code of a value that a table which works both ways does not list.
    pub const NOT_LISTED: &'static str = "value_not_listed";
    /// Code of a value that would come back as another one.
    pub const NOT_REVERSIBLE: &'static str = "mapping_not_reversible";

    fn new(code: &'static str, what: &str) -> Self {
        Self { code, what: what.to_owned(), at: None }
    }
}

/// What the values of one system are called in another: a department there is a team's key here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ValueTable {
    /// The text of the one system, letter by letter, and that of the other.
    pub entries: BTreeMap<String, String>,
    /// What stands for a value that is not listed, and for none; `None`: a clear.
    pub otherwise: Option<String>,
}

impl ValueTable {
    /// The value as the other system calls it.
    pub fn translate(&self, value: Option<&Value>) -> Option<Value> {
        let listed = value.and_then(Value::as_text).and_then(|text| self.entries.get(text));
        listed.or(self.otherwise.as_ref()).map(|text| Value::from(text.as_str()))
    }
}

/// One step from one form of a value to another.
#[derive(Debug, Clone)]
pub enum Step {
    /// What an expression makes of it.
    Formula(Arc<dyn Formula>),
    /// What a table calls it. Only where it flows one way.
    Table(ValueTable),
    /// What a table that works both ways calls it. A value that is not listed has no form on the other side: to call it
    /// anything, or nothing, would lose it on the way back.
    Dictionary(BTreeMap<String, String>),
}

impl Step {
    fn apply(&self, inputs: &[Option<Value>]) -> Result<Option<Value>, Flaw> {
        let first = || inputs.first().and_then(Option::as_ref);
        match self {
            Self::Formula(formula) => formula.compute(inputs),
            Self::Table(table) => Ok(table.translate(first())),
            Self::Dictionary(entries) => match first() {
                None => Ok(None),
                Some(value) => match value.as_text().and_then(|text| entries.get(text)) {
                    Some(text) => Ok(Some(Value::from(text.as_str()))),
                    None => Err(Flaw::new(Flaw::NOT_LISTED, "has a value that is not under `values`")),
                },
            },
        }
    }
}

impl PartialEq for Step {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Formula(one), Self::Formula(other)) => one.text() == other.text(),
            (Self::Table(one), Self::Table(other)) => one == other,
            (Self::Dictionary(one), Self::Dictionary(other)) => one == other,
            _ => false,
        }
    }
}

impl Eq for Step {}

/// A way from one form of a value to another, step by step. Without steps the value stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conversion(pub Vec<Step>);

impl Conversion {
    /// The formula of it, if it has one.
    pub fn formula(&self) -> Option<&dyn Formula> {
        self.0.iter().find_map(|step| match step {
            Step::Formula(formula) => Some(&**formula),
            Step::Table(_) | Step::Dictionary(_) => None,
        })
    }

    /// The attributes that it reads, where the attribute itself is called `own`.
    pub fn reads<'c>(&'c self, own: &'c AttributePath) -> &'c [AttributePath] {
        match self.0.first() {
            Some(Step::Formula(formula)) => formula.reads(),
            Some(Step::Table(_) | Step::Dictionary(_)) | None => std::slice::from_ref(own),
        }
    }

    /// The other form of the inputs, which are those of [`reads`](Self::reads).
    ///
    /// # Errors
    /// They have none.
    pub fn convert(&self, inputs: &[Option<Value>]) -> Result<Option<Value>, Flaw> {
        let Some((first, rest)) = self.0.split_first() else {
            return Ok(inputs.first().cloned().flatten());
        };
        let value = first.apply(inputs)?;
        rest.iter().try_fold(value, |value, step| step.apply(&[value]))
    }
}

/// How the values of an attribute get into the link's form, and out of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mapping {
    /// From what the side holds to what the link keeps; `None`: it is the same.
    pub to_link: Sides<Option<Conversion>>,
    /// From what the link keeps to what side `a` holds, where both sides contribute and differ.
    pub to_a: Option<Conversion>,
}

impl Mapping {
    /// Of an attribute that flows from this side only.
    pub fn one_way(from: Side, conversion: Conversion) -> Self {
        let mut to_link = Sides::default();
        to_link[from] = (!conversion.0.is_empty()).then_some(conversion);
        Self { to_link, to_a: None }
    }

    /// Of an attribute that flows both ways.
    pub fn both_ways(to_b: Conversion, to_a: Conversion) -> Self {
        Self { to_link: Sides { a: Some(to_b), b: None }, to_a: Some(to_a) }
    }

    /// Whether values are the same on both sides.
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// What `side` is called in the link, for the values of what it reads.
    ///
    /// # Errors
    /// They have no form there, or one from which they would not come back the same (R87).
    pub fn enter(
        &self,
        side: Side,
        inputs: &[Option<Value>],
        comparison: &Sides<Comparison>,
    ) -> Result<Option<Value>, Flaw> {
        let kept = match &self.to_link[side] {
            Some(conversion) => conversion.convert(inputs)?,
            None => inputs.first().cloned().flatten(),
        };
        if self.comes_back(side, inputs, &kept, comparison)? {
            return Ok(kept);
        }
        Err(Flaw::new(Flaw::NOT_REVERSIBLE, "has a value that would come back from the other side as another one"))
    }

    /// Whether what `side` holds is what it would be told again, were `kept` sent to the other side, read there and sent
    /// back.
    fn comes_back(
        &self,
        side: Side,
        inputs: &[Option<Value>],
        kept: &Option<Value>,
        comparison: &Sides<Comparison>,
    ) -> Result<bool, Flaw> {
        let (Some(to_a), Some(to_b)) = (&self.to_a, &self.to_link.a) else { return Ok(true) };
        let told_to_a = to_a.convert(std::slice::from_ref(&comparison.b.kept(kept.clone())));
        let told = match side {
            Side::A => told_to_a,
            // There and back again: what `a` keeps of it is what would be read.
            Side::B => to_b.convert(&[comparison.a.kept(told_to_a?)]),
        };
        let held = inputs.first().cloned().flatten();
        match told {
            Ok(told) => Ok(comparison[side].equal(told.as_ref(), held.as_ref())),
            Err(_) => Ok(false),
        }
    }

    /// What `side` is told for a value of the link.
    ///
    /// # Errors
    /// It has no form there, or one that is read there as another value: it entered under an earlier configuration (R87).
    pub fn leave(
        &self,
        side: Side,
        value: &Option<Value>,
        comparison: &Sides<Comparison>,
    ) -> Result<Option<Value>, Flaw> {
        let (Some(to_a), Side::A) = (&self.to_a, side) else { return Ok(value.clone()) };
        let told = to_a.convert(std::slice::from_ref(value))?;
        let read = match &self.to_link.a {
            Some(to_b) => to_b.convert(&[comparison.a.kept(told.clone())]),
            None => Ok(told.clone()),
        };
        match read {
            Ok(read) if comparison.b.equal(read.as_ref(), value.as_ref()) => Ok(told),
            _ => Err(Flaw::new(Flaw::NOT_REVERSIBLE, "has a value that would be read there as another one")),
        }
    }

    /// Whether `side` contributes values that are converted.
    pub fn converts(&self, side: Side) -> bool {
        self.to_link[side].is_some() || (side == Side::B && self.to_a.is_some())
    }

    /// The attributes of `side` that its values are made of, where it calls the attribute `own`.
    pub fn reads<'m>(&'m self, side: Side, own: &'m AttributePath) -> &'m [AttributePath] {
        match &self.to_link[side] {
            Some(conversion) => conversion.reads(own),
            None => std::slice::from_ref(own),
        }
    }
}
