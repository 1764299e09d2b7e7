//! Which accounts a connection is about.

use std::fmt;

use cel::Value as Cel;

use super::{Expression, ExpressionError, cel_of, sample};
use crate::domain::{Side, Snapshot};
use crate::systems::Schema;

/// A condition on the accounts of one side.
#[derive(Clone)]
pub struct Scope {
    expression: Expression,
    side: Side,
}

impl Scope {
    /// Reads a condition.
    ///
    /// # Errors
    /// It is no expression, or reads no side.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        let expression = Expression::parse(text)?;
        let side = expression
            .side
            .ok_or_else(|| ExpressionError::new("reads not exactly one side: write a.<attribute> or b.<attribute>"))?;
        Ok(Self { expression, side })
    }

    /// The side that it reads.
    pub fn side(&self) -> Side {
        self.side
    }

    /// What the schema of its side says about it, in sentences: attributes that there are none of, and an answer that
    /// would not be yes or no.
    pub fn problems(&self, schema: &Schema) -> Vec<String> {
        let unknown = self.expression.unknown(schema);
        if !unknown.is_empty() {
            return unknown.into_iter().map(|problem| format!("scope: {problem}")).collect();
        }
        match self.expression.evaluate(|_, path| sample(path, schema)) {
            Ok(Cel::Bool(_)) => Vec::new(),
            Ok(_) => vec!["scope: the answer is neither true nor false; compare with something".to_owned()],
            Err(failed) => vec![format!("scope: on an ordinary account it {}", failed.flaw)],
        }
    }

    /// Whether an account fits; `None` if that cannot be told: an attribute was not seen, or the condition fails on what
    /// it holds.
    pub fn fits(&self, snapshot: &Snapshot) -> Option<bool> {
        let reads = &self.expression.reads;
        if reads.iter().any(|path| !path.is_id() && !snapshot.attributes.contains_key(path)) {
            return None;
        }
        let answer = self.expression.evaluate(|_, path| {
            if path.is_id() {
                return Some(Cel::from(snapshot.account.as_str()));
            }
            snapshot.attributes.get(path)?.as_ref().map(cel_of)
        });
        match answer {
            Ok(Cel::Bool(fits)) => Some(fits),
            _ => None,
        }
    }
}

impl PartialEq for Scope {
    fn eq(&self, other: &Self) -> bool {
        self.expression.text == other.expression.text
    }
}

impl Eq for Scope {}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scope({})", self.expression.text)
    }
}

/// As it was written.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.expression.text)
    }
}
