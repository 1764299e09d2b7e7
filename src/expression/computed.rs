//! Attributes that are made of others.

use std::fmt;

use cel::Value as Cel;

use super::{Expression, ExpressionError, cel_of, kind_of, sample};
use crate::domain::attribute::MAX_VALUE_BYTES;
use crate::domain::mapping::{Flaw, Formula};
use crate::domain::{AttributePath, Side, Value};
use crate::systems::{AttributeSchema, Schema, ValueKind};

/// An expression that makes the value of an attribute out of those of an account of the other side.
#[derive(Clone)]
pub struct Computed {
    expression: Expression,
    /// The kind of what it has to make, once that is known.
    target: Option<ValueKind>,
}

impl Computed {
    /// Reads the expression for an attribute whose values come from `side`. One that reads nothing says the same of
    /// everybody.
    ///
    /// # Errors
    /// It is no expression, or reads the other side.
    pub fn parse(text: &str, side: Side) -> Result<Self, ExpressionError> {
        let expression = Expression::parse(text)?;
        if expression.side == Some(side.other()) {
            return Err(ExpressionError::new(format!(
                "reads side {}, and the values that go there come from side {side}: write {side}.<attribute>",
                side.other()
            )));
        }
        Ok(Self { expression, target: None })
    }

    /// The same for a target of this kind: whatever else it makes of an account has no form there.
    #[must_use]
    pub fn making(self, target: ValueKind) -> Self {
        Self { target: Some(target), ..self }
    }

    /// The texts that are spelt out in it: values that it may treat in ways of their own.
    pub fn literals(&self) -> &[String] {
        &self.expression.literals
    }

    /// What the two schemas say about it, in sentences: attributes that there are none of on the side that it reads, and a
    /// result that `target` could not take.
    pub fn problems(&self, schema: &Schema, target: &AttributeSchema, has_table: bool) -> Vec<String> {
        let unknown = self.expression.unknown(schema);
        if !unknown.is_empty() {
            return unknown;
        }
        let made = match self.expression.evaluate(|_, path| sample(path, schema)) {
            Ok(made) => made,
            // What it does with a text may depend on the text; what is of another kind does not.
            Err(failed) if failed.on_this_value => return Vec::new(),
            Err(failed) => return vec![format!("on an ordinary account it {}", failed.flaw)],
        };
        let (made, value) = match value_of(&made) {
            Ok(value) => (kind_of(&made), value),
            Err(flaw) => return vec![format!("it {flaw}")],
        };
        match value {
            Some(value) if !(fits(target.kind, &value) && (!has_table || matches!(value, Value::Text(_)))) => {
                let table = if has_table { ", and `values` are for texts" } else { "" };
                vec![format!("it makes {made}, and {} is {}{table}", target.path, kind(target.kind))]
            }
            _ => Vec::new(),
        }
    }
}

fn fits(kind: ValueKind, value: &Value) -> bool {
    matches!(
        (kind, value),
        (ValueKind::Text | ValueKind::Email, Value::Text(_))
            | (ValueKind::Bool, Value::Bool(_))
            | (ValueKind::Int, Value::Int(_))
            | (ValueKind::Set, Value::Set(_))
    )
}

fn kind(kind: ValueKind) -> &'static str {
    match kind {
        ValueKind::Text => "a text",
        ValueKind::Email => "an e-mail address",
        ValueKind::Bool => "true or false",
        ValueKind::Int => "a whole number",
        ValueKind::Set => "a list of texts",
        ValueKind::Reference => "another account, which no expression can make",
    }
}

impl Formula for Computed {
    fn text(&self) -> &str {
        &self.expression.text
    }

    fn reads(&self) -> &[AttributePath] {
        &self.expression.reads
    }

    fn compute(&self, inputs: &[Option<Value>]) -> Result<Option<Value>, Flaw> {
        let input = |place: usize| inputs.get(place).and_then(Option::as_ref);
        let made = self.expression.evaluate(|place, _| input(place).map(cel_of));
        let value = |made: Cel| match (value_of(&made)?, self.target) {
            (Some(value), Some(target)) if !fits(target, &value) => Err(Flaw {
                code: Flaw::FAILED,
                what: format!("makes {}, and what it is for is {}", kind_of(&made), kind(target)),
                at: None,
            }),
            (value, _) => Ok(value),
        };
        match made.map_err(|failed| failed.flaw).and_then(value) {
            // Whoever does not speak of accounts without a value means that there is none to make.
            Err(_) if !inputs.is_empty() && inputs.iter().all(Option::is_none) => Ok(None),
            made => made,
        }
    }
}

/// The attribute's value for what an expression came to.
fn value_of(made: &Cel) -> Result<Option<Value>, Flaw> {
    let flaw = |what: String| Flaw { code: Flaw::FAILED, what, at: None };
    let text = |item: &Cel| match item {
        Cel::String(text) => Ok(text.to_string()),
        other => Err(flaw(format!("makes a list with {} in it, and only texts can be", kind_of(other)))),
    };
    let value = match made {
        Cel::Null => return Ok(None),
        Cel::Bool(value) => Value::Bool(*value),
        Cel::Int(value) => Value::Int(*value),
        Cel::UInt(value) => match i64::try_from(*value) {
            Ok(value) => Value::Int(value),
            Err(_) => return Err(flaw("makes a number that is too large".to_owned())),
        },
        Cel::String(text) => Value::Text(text.to_string()),
        Cel::List(items) => Value::Set(items.iter().map(text).collect::<Result<_, _>>()?),
        Cel::Float(_) => return Err(flaw("makes a number with a fraction; int(...) makes it whole".to_owned())),
        other => return Err(flaw(format!("makes {}, which no attribute can be", kind_of(other)))),
    };
    if value.size_bytes() > MAX_VALUE_BYTES {
        return Err(flaw(format!("makes more than {} KiB", MAX_VALUE_BYTES / 1024)));
    }
    Ok(Some(value))
}

impl PartialEq for Computed {
    fn eq(&self, other: &Self) -> bool {
        self.expression.text == other.expression.text
    }
}

impl Eq for Computed {}

impl fmt::Debug for Computed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Computed({})", self.expression.text)
    }
}

/// As it was written.
impl fmt::Display for Computed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.expression.text)
    }
}
