//! SOQL, as much of it as clients of a roster use: text to [`Query`], bound to the fields that exist.

mod lexer;
mod parser;
mod plan;

pub(super) use plan::{Path, Plan, Step, matches};

use super::error::ApiError;
use super::org::Org;

/// A query as written.
#[derive(Debug, Clone, PartialEq)]
struct Query {
    columns: Columns<String>,
    object: String,
    condition: Option<Condition<String>>,
    order: Vec<Order<String>>,
    limit: Option<usize>,
    offset: usize,
}

/// What a query returns. `P` is the field, as text or bound.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Columns<P> {
    /// `COUNT()`.
    Count,
    Fields(Vec<P>),
}

/// What follows WHERE.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Condition<P> {
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    Compare { path: P, operator: Operator, value: Literal },
    In { path: P, values: Vec<Literal> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Like,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Null,
    Bool(bool),
    Number(i64),
    Text(String),
    /// Milliseconds since 1970.
    DateTime(i64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order<P> {
    pub path: P,
    pub descending: bool,
    pub nulls_last: bool,
}

/// Reads a query and binds it to the org's objects.
///
/// # Errors
/// The code that Salesforce has for what is wrong: `MALFORMED_QUERY`, `INVALID_FIELD`, `INVALID_TYPE`,
/// `NUMBER_OUTSIDE_VALID_RANGE`.
pub(super) fn compile(text: &str, org: &Org) -> Result<Plan, ApiError> {
    if text.chars().count() > 100_000 {
        return Err(ApiError::bad("MALFORMED_QUERY", "SOQL statements cannot be longer than 100000 characters."));
    }
    plan::bind(parser::parse(text)?, org)
}

/// The refusal of text that is no query.
fn malformed(message: impl Into<String>) -> ApiError {
    ApiError::bad("MALFORMED_QUERY", message)
}

#[cfg(test)]
mod tests;
