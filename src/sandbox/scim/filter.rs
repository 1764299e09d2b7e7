//! The filter language of RFC 7644, section 3.4.2.2, and the paths of PATCH, which contain filters.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::error::ScimError;
use super::path::Path;
use super::schema::{Attribute, Kind, Type};

/// A condition on resources.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Filter {
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Not(Box<Self>),
    Compare {
        path: Path,
        operator: Operator,
        value: Value,
    },
    Present(Path),
    /// `emails[type eq "work"]`: one of the values satisfies all of the inner filter.
    Values {
        path: Path,
        inner: Box<ValueFilter>,
    },
}

/// A condition on one value of a multi-valued attribute.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ValueFilter {
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Not(Box<Self>),
    Compare { sub: &'static Attribute, operator: Operator, value: Value },
    Present(&'static Attribute),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Eq,
    Ne,
    Co,
    Sw,
    Ew,
    Gt,
    Ge,
    Lt,
    Le,
}

/// The target of a PATCH operation.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Target {
    pub path: Path,
    /// Which values of it; all, if absent.
    pub chosen: Option<ValueFilter>,
}

/// Reads a filter.
///
/// # Errors
/// `invalidFilter`, for text that is none and for attributes that do not exist.
pub(super) fn parse(text: &str, kind: Type) -> Result<Filter, ScimError> {
    let mut parser = Parser { rest: text, kind };
    let filter = parser.or()?;
    if parser.rest.trim().is_empty() { Ok(filter) } else { Err(parser.error()) }
}

/// Reads the path of a PATCH operation.
///
/// # Errors
/// `invalidPath`, for text that is none and for attributes that do not exist; `invalidFilter` inside brackets.
pub(super) fn parse_target(text: &str, kind: Type) -> Result<Target, ScimError> {
    let invalid = || ScimError::bad("invalidPath", format!("{text} is no path of a {}", kind.name()));
    let (name, brackets) = match text.split_once('[') {
        Some((name, rest)) => (name, Some(rest.rsplit_once(']').ok_or_else(invalid)?)),
        None => (text, None),
    };
    let path = Path::resolve(kind, name.trim()).ok_or_else(invalid)?;
    let Some((filter, after)) = brackets else { return Ok(Target { path, chosen: None }) };
    let attribute =
        path.attribute.filter(|attribute| attribute.multi_valued && path.sub.is_none()).ok_or_else(invalid)?;
    let mut parser = Parser { rest: filter, kind };
    let chosen = parser.value_or(attribute)?;
    if !parser.rest.trim().is_empty() {
        return Err(parser.error());
    }
    let sub = match after.strip_prefix('.') {
        Some(sub) => Some(attribute.sub(sub).ok_or_else(invalid)?),
        None if after.is_empty() => None,
        None => return Err(invalid()),
    };
    Ok(Target { path: Path { sub, ..path }, chosen: Some(chosen) })
}

struct Parser<'a> {
    rest: &'a str,
    kind: Type,
}

type Parsed<T> = Result<T, ScimError>;

impl<'a> Parser<'a> {
    fn or(&mut self) -> Parsed<Filter> {
        let mut filter = self.and()?;
        while self.keyword("or") {
            filter = Filter::Or(Box::new(filter), Box::new(self.and()?));
        }
        Ok(filter)
    }

    fn and(&mut self) -> Parsed<Filter> {
        let mut filter = self.term()?;
        while self.keyword("and") {
            filter = Filter::And(Box::new(filter), Box::new(self.term()?));
        }
        Ok(filter)
    }

    fn term(&mut self) -> Parsed<Filter> {
        if self.keyword("not") {
            return Ok(Filter::Not(Box::new(self.group(Self::or)?)));
        }
        if self.rest.trim_start().starts_with('(') {
            return self.group(Self::or);
        }
        let name = self.name()?;
        let path = Path::resolve(self.kind, name).ok_or_else(|| self.unknown(name))?;
        if self.sign('[') {
            let attribute =
                path.attribute.filter(|attribute| attribute.kind == Kind::Complex).ok_or_else(|| self.error())?;
            let inner = self.value_or(attribute)?;
            if !self.sign(']') {
                return Err(self.error());
            }
            if !self.rest.starts_with('.') {
                return Ok(Filter::Values { path, inner: Box::new(inner) });
            }
            // `emails[type eq "work"].value eq "a@b"`: one more condition on the same value.
            self.rest = &self.rest[1..];
            let last = self.value_comparison(attribute)?;
            let inner = ValueFilter::And(Box::new(inner), Box::new(last));
            return Ok(Filter::Values { path, inner: Box::new(inner) });
        }
        if self.keyword("pr") {
            return Ok(Filter::Present(path));
        }
        let compared = path.compared().ok_or_else(|| self.error())?;
        let (operator, value) = self.comparison(compared)?;
        Ok(Filter::Compare { path, operator, value })
    }

    fn value_or(&mut self, attribute: &'static Attribute) -> Parsed<ValueFilter> {
        let mut filter = self.value_and(attribute)?;
        while self.keyword("or") {
            filter = ValueFilter::Or(Box::new(filter), Box::new(self.value_and(attribute)?));
        }
        Ok(filter)
    }

    fn value_and(&mut self, attribute: &'static Attribute) -> Parsed<ValueFilter> {
        let mut filter = self.value_term(attribute)?;
        while self.keyword("and") {
            filter = ValueFilter::And(Box::new(filter), Box::new(self.value_term(attribute)?));
        }
        Ok(filter)
    }

    fn value_term(&mut self, attribute: &'static Attribute) -> Parsed<ValueFilter> {
        if self.keyword("not") {
            return Ok(ValueFilter::Not(Box::new(self.group(|parser| parser.value_or(attribute))?)));
        }
        if self.rest.trim_start().starts_with('(') {
            return self.group(|parser| parser.value_or(attribute));
        }
        self.value_comparison(attribute)
    }

    fn value_comparison(&mut self, attribute: &'static Attribute) -> Parsed<ValueFilter> {
        let name = self.name()?;
        let sub = attribute.sub(name).ok_or_else(|| self.unknown(name))?;
        if self.keyword("pr") {
            return Ok(ValueFilter::Present(sub));
        }
        let (operator, value) = self.comparison(sub)?;
        Ok(ValueFilter::Compare { sub, operator, value })
    }

    fn group<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if !self.sign('(') {
            return Err(self.error());
        }
        let filter = inner(self)?;
        if self.sign(')') { Ok(filter) } else { Err(self.error()) }
    }

    fn comparison(&mut self, attribute: &Attribute) -> Parsed<(Operator, Value)> {
        use Operator::{Co, Eq, Ew, Ge, Gt, Le, Lt, Ne, Sw};
        let operators = [
            ("eq", Eq),
            ("ne", Ne),
            ("co", Co),
            ("sw", Sw),
            ("ew", Ew),
            ("gt", Gt),
            ("ge", Ge),
            ("lt", Lt),
            ("le", Le),
        ];
        let Some((_, operator)) = operators.into_iter().find(|(keyword, _)| self.keyword(keyword)) else {
            return Err(self.error());
        };
        let value = self.literal()?;
        let fits = match (attribute.kind, &value) {
            (_, Value::Null) | (Kind::Boolean, Value::Bool(_)) => matches!(operator, Eq | Ne),
            (Kind::DateTime, Value::String(text)) => text.parse::<jiff::Timestamp>().is_ok(),
            (Kind::Boolean, _) => false,
            (_, Value::String(_)) => true,
            _ => false,
        };
        if fits {
            Ok((operator, value))
        } else {
            Err(ScimError::bad("invalidFilter", format!("{} cannot be compared so", attribute.name)))
        }
    }

    fn name(&mut self) -> Parsed<&'a str> {
        let rest = self.rest.trim_start();
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "_-.:$".contains(c))).unwrap_or(rest.len());
        if end == 0 {
            return Err(self.error());
        }
        self.rest = &rest[end..];
        Ok(&rest[..end])
    }

    /// A JSON text, number, boolean or null.
    fn literal(&mut self) -> Parsed<Value> {
        let rest = self.rest.trim_start();
        let end = if rest.starts_with('"') {
            let mut escaped = false;
            let closing = rest.char_indices().skip(1).find(|(_, c)| {
                let closes = *c == '"' && !escaped;
                escaped = *c == '\\' && !escaped;
                closes
            });
            closing.map(|(place, _)| place + 1)
        } else {
            rest.find(|c: char| c.is_whitespace() || ")]".contains(c)).or(Some(rest.len()))
        };
        let end = end.ok_or_else(|| self.error())?;
        let value = serde_json::from_str(&rest[..end]).map_err(|_| self.error())?;
        self.rest = &rest[end..];
        Ok(value)
    }

    fn keyword(&mut self, keyword: &str) -> bool {
        let rest = self.rest.trim_start();
        let found = rest.get(..keyword.len()).is_some_and(|start| start.eq_ignore_ascii_case(keyword))
            && !rest[keyword.len()..].starts_with(|c: char| c.is_ascii_alphanumeric() || "_-.:$".contains(c));
        if found {
            self.rest = &rest[keyword.len()..];
        }
        found
    }

    fn sign(&mut self, sign: char) -> bool {
        let rest = self.rest.trim_start();
        let found = rest.starts_with(sign);
        if found {
            self.rest = &rest[1..];
        }
        found
    }

    fn unknown(&self, name: &str) -> ScimError {
        ScimError::bad("invalidFilter", format!("there is no attribute {name}"))
    }

    fn error(&self) -> ScimError {
        ScimError::bad(
            "invalidFilter",
            format!("the filter cannot be read {} characters before its end", self.rest.chars().count()),
        )
    }
}

impl Filter {
    pub fn holds(&self, resource: &Map<String, Value>) -> bool {
        match self {
            Self::And(a, b) => a.holds(resource) && b.holds(resource),
            Self::Or(a, b) => a.holds(resource) || b.holds(resource),
            Self::Not(inner) => !inner.holds(resource),
            Self::Present(path) => !path.values(resource).is_empty(),
            Self::Compare { path, operator, value } => {
                let Some(attribute) = path.compared() else { return false };
                compare_any(&path.values(resource), attribute, *operator, value)
            }
            Self::Values { path, inner } => {
                let whole = path.attribute.and_then(|attribute| match path.extension {
                    None => resource.get(attribute.name),
                    Some(urn) => resource.get(urn)?.get(attribute.name),
                });
                match whole {
                    Some(Value::Array(items)) => items.iter().any(|item| inner.holds(item)),
                    Some(value) => inner.holds(value),
                    None => false,
                }
            }
        }
    }

    /// Whether it looks at an attribute of this name.
    pub fn mentions(&self, name: &str) -> bool {
        match self {
            Self::And(a, b) | Self::Or(a, b) => a.mentions(name) || b.mentions(name),
            Self::Not(inner) => inner.mentions(name),
            Self::Present(path) | Self::Compare { path, .. } | Self::Values { path, .. } => {
                path.attribute.is_some_and(|attribute| attribute.name == name)
            }
        }
    }

    /// Whether it is made of `eq` and `and` alone.
    pub fn is_equality_only(&self) -> bool {
        match self {
            Self::And(a, b) => a.is_equality_only() && b.is_equality_only(),
            Self::Compare { operator, .. } => *operator == Operator::Eq,
            _ => false,
        }
    }

    /// Whether it is `userName eq` or `externalId eq` and no more.
    pub fn is_by_name(&self) -> bool {
        let Self::Compare { path, operator: Operator::Eq, .. } = self else { return false };
        path.extension.is_none()
            && path.attribute.is_some_and(|attribute| matches!(attribute.name, "userName" | "externalId"))
    }
}

impl ValueFilter {
    pub fn holds(&self, value: &Value) -> bool {
        match self {
            Self::And(a, b) => a.holds(value) && b.holds(value),
            Self::Or(a, b) => a.holds(value) || b.holds(value),
            Self::Not(inner) => !inner.holds(value),
            Self::Present(sub) => value.get(sub.name).is_some(),
            Self::Compare { sub, operator, value: wanted } => {
                compare_any(&value.get(sub.name).into_iter().collect::<Vec<_>>(), sub, *operator, wanted)
            }
        }
    }
}

fn compare_any(values: &[&Value], attribute: &Attribute, operator: Operator, wanted: &Value) -> bool {
    match operator {
        Operator::Ne => !compare_any(values, attribute, Operator::Eq, wanted),
        Operator::Eq if wanted.is_null() => values.is_empty(),
        _ => values.iter().any(|value| compare(value, attribute, operator, wanted)),
    }
}

fn compare(value: &Value, attribute: &Attribute, operator: Operator, wanted: &Value) -> bool {
    if let (Value::Bool(value), Value::Bool(wanted)) = (value, wanted) {
        return operator == Operator::Eq && value == wanted;
    }
    let (Value::String(value), Value::String(wanted)) = (value, wanted) else { return false };
    let order = |ordering: Ordering| match operator {
        Operator::Eq => ordering.is_eq(),
        Operator::Gt => ordering.is_gt(),
        Operator::Ge => ordering.is_ge(),
        Operator::Lt => ordering.is_lt(),
        Operator::Le => ordering.is_le(),
        _ => false,
    };
    if attribute.kind == Kind::DateTime
        && let (Ok(value), Ok(wanted)) = (value.parse::<jiff::Timestamp>(), wanted.parse::<jiff::Timestamp>())
    {
        return order(value.cmp(&wanted));
    }
    let (value, wanted) = if attribute.case_exact {
        (value.clone(), wanted.clone())
    } else {
        (value.to_lowercase(), wanted.to_lowercase())
    };
    match operator {
        Operator::Co => value.contains(&wanted),
        Operator::Sw => value.starts_with(&wanted),
        Operator::Ew => value.ends_with(&wanted),
        _ => order(value.cmp(&wanted)),
    }
}

#[cfg(test)]
mod tests;
