//! How much an expression can make of what it reads, told before it is ever evaluated: an evaluation cannot be interrupted,
//! and a text that is put into itself a few times fills the memory.

use cel::IdedExpr;
use cel::common::ast::{EntryExpr, Expr, LiteralValue, operators};

use super::MAX_INPUT_BYTES;
use super::reads::chain;

/// The most that any part of an expression may come to, in bytes of text.
const MAX_MADE_BYTES: u64 = 32 * 1024 * 1024;

/// The most rounds of a loop.
const MAX_ROUNDS: u64 = 65_536;

/// A number, `true`, a comparison: nothing that grows.
const PLAIN_BYTES: u64 = 64;

/// An upper bound of what a part of an expression comes to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Size {
    /// Bytes of text, of all items together.
    bytes: u64,
    /// Items, if it is a list.
    items: u64,
}

/// What attributes, all together, can come to.
const READ: Size = Size { bytes: MAX_INPUT_BYTES as u64, items: MAX_INPUT_BYTES as u64 };

impl Size {
    fn and(self, other: Self) -> Self {
        Self { bytes: self.bytes.saturating_add(other.bytes), items: self.items.saturating_add(other.items) }
    }

    fn or(self, other: Self) -> Self {
        Self { bytes: self.bytes.max(other.bytes), items: self.items.max(other.items) }
    }

    fn times(self, rounds: u64) -> Self {
        Self { bytes: self.bytes.saturating_mul(rounds), items: self.items.saturating_mul(rounds) }
    }

    fn text(bytes: u64) -> Self {
        Self { bytes, items: 0 }
    }
}

/// The part that can come to too much, with the reason; `None`: all of it stays within bounds.
pub(super) fn excess(expression: &IdedExpr) -> Option<(&IdedExpr, &'static str)> {
    size(expression, &[]).err()
}

type Sized<'e> = Result<Size, (&'e IdedExpr, &'static str)>;

/// Variables of loops, with what they can come to.
type Variables<'v, 'e> = &'v [(&'e str, Size)];

fn size<'e>(expression: &'e IdedExpr, variables: Variables<'_, 'e>) -> Sized<'e> {
    let names: Vec<&str> = variables.iter().map(|(name, _)| *name).collect();
    if chain(expression, &names).is_some() {
        return Ok(READ);
    }
    let of = |part: &'e IdedExpr| size(part, variables);
    let made = match &expression.expr {
        Expr::Literal(LiteralValue::String(text)) => Size::text(text.inner().len() as u64),
        Expr::Literal(_) | Expr::Unspecified | Expr::Struct(_) => Size::text(PLAIN_BYTES),
        Expr::Ident(name) => variables.iter().rev().find(|(known, _)| known == name).map_or(READ, |(_, size)| *size),
        Expr::Select(select) => of(&select.operand)?,
        Expr::List(list) => {
            let parts = list.elements.iter().map(of).collect::<Result<Vec<_>, _>>()?;
            let bytes = parts.iter().fold(0_u64, |sum, part| sum.saturating_add(part.bytes));
            Size { bytes, items: list.elements.len() as u64 }
        }
        Expr::Map(map) => {
            let mut sum = Size { bytes: 0, items: map.entries.len() as u64 };
            for entry in &map.entries {
                let (key, value) = match &entry.expr {
                    EntryExpr::MapEntry(entry) => (of(&entry.key)?, of(&entry.value)?),
                    EntryExpr::StructField(field) => (Size::default(), of(&field.value)?),
                };
                sum.bytes = sum.bytes.saturating_add(key.bytes).saturating_add(value.bytes);
            }
            sum
        }
        Expr::Call(call) => {
            // Functions of a namespace have its name as their target.
            let parts: Vec<&IdedExpr> = call.target.as_deref().into_iter().chain(&call.args).collect();
            let sizes = parts.iter().map(|part| of(part)).collect::<Result<Vec<_>, _>>()?;
            called(&call.func_name, &parts, &sizes)
        }
        Expr::Comprehension(part) => {
            let range = of(&part.iter_range)?;
            if range.items > MAX_ROUNDS {
                return Err((expression, "could go round more than 65,536 times"));
            }
            let init = of(&part.accu_init)?;
            // What a round adds, where its item has so many bytes.
            let round = |bytes: u64| {
                let item = Size { bytes, items: bytes };
                let own = [(part.iter_var.as_str(), item), (part.accu_var.as_str(), Size::default())];
                let second = part.iter_var2.as_deref().map(|name| (name, item));
                let inner: Vec<_> = variables.iter().copied().chain(own).chain(second).collect();
                size(&part.loop_cond, &inner)?;
                size(&part.loop_step, &inner)
            };
            // The items share the bytes of the list, and no sharing makes more than one that gives all to one item.
            let (empty, all) = (round(0)?, round(range.bytes)?);
            let made = init.and(empty.times(range.items)).and(all);
            let inner: Vec<_> = variables.iter().copied().chain([(part.accu_var.as_str(), made)]).collect();
            size(&part.result, &inner)?
        }
    };
    if made.bytes > MAX_MADE_BYTES {
        return Err((expression, "could make more than 32 MiB of what it reads"));
    }
    Ok(made)
}

/// What a function or operator can come to: its target, if it has one, comes first.
fn called(name: &str, parts: &[&IdedExpr], sizes: &[Size]) -> Size {
    match (name, sizes) {
        (operators::CONDITIONAL, [_, yes, no]) => yes.or(*no),
        (operators::INDEX, [of, _]) => *of,
        ("replace", [text, _, to, ..]) => {
            let least = match &parts[1].expr {
                Expr::Literal(LiteralValue::String(from)) => from.inner().len() as u64,
                _ => 0,
            };
            let places = text.bytes.checked_div(least).unwrap_or_else(|| text.bytes.saturating_add(1));
            Size::text(text.bytes.saturating_add(places.saturating_mul(to.bytes)))
        }
        ("join", [list]) => Size::text(list.bytes),
        ("join", [list, between]) => Size::text(list.bytes.saturating_add(list.items.saturating_mul(between.bytes))),
        ("split", [text, ..]) => Size { bytes: text.bytes, items: text.bytes.saturating_add(1) },
        ("format", [text, with]) => {
            // Each `%s` may be the longest of what it is given.
            Size::text(text.bytes.saturating_add((text.bytes / 2).saturating_mul(with.bytes)))
        }
        // Some letters become three.
        ("upper" | "lower", [text]) => Size::text(text.bytes.saturating_mul(3)),
        ("quote" | "strings.quote", [.., text]) => Size::text(text.bytes.saturating_mul(2).saturating_add(2)),
        ("trim" | "reverse" | "substring" | "charAt" | "lowerAscii" | "upperAscii" | "dyn", [text, ..]) => *text,
        ("size" | "contains" | "startsWith" | "endsWith" | "matches" | "indexOf" | "lastIndexOf", _) => {
            Size::text(PLAIN_BYTES)
        }
        _ => sizes.iter().fold(Size::text(PLAIN_BYTES), |sum, size| sum.and(*size)),
    }
}
