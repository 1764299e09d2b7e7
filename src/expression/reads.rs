//! What an expression reads, and what it may not do.

use cel::common::ast::{EntryExpr, Expr, LiteralValue, operators};
use cel::{IdedExpr, Program};

use super::{ExpressionError, begin, growth, position};
use crate::domain::{AttributePath, Side};

/// Deepest nesting. Expressions are evaluated on the stacks of the workers.
const MAX_DEPTH: usize = 40;

/// The functions that there are, besides operators and macros.
pub(super) const FUNCTIONS: [&str; 29] = [
    "bool",
    "bytes",
    "charAt",
    "contains",
    "double",
    "dyn",
    "endsWith",
    "format",
    "indexOf",
    "int",
    "join",
    "lastIndexOf",
    "lower",
    "lowerAscii",
    "matches",
    "quote",
    "replace",
    "reverse",
    "size",
    "split",
    "startsWith",
    "string",
    "substring",
    "trim",
    "type",
    "uint",
    "upper",
    "upperAscii",
    "strings.quote",
];

/// Where in an expression one is.
#[derive(Debug, Clone, Copy, Default)]
struct Nesting {
    depth: usize,
    loops: usize,
}

/// What an expression reads.
pub(super) struct Reads<'p> {
    program: &'p Program,
    pub found: Vec<(Side, AttributePath)>,
    /// The texts that are spelt out in it.
    pub literals: Vec<String>,
}

impl<'p> Reads<'p> {
    /// Walks through all of it.
    pub fn of(program: &'p Program) -> Result<Self, ExpressionError> {
        let mut reads = Self { program, found: Vec::new(), literals: Vec::new() };
        reads.walk(program.expression(), Nesting::default(), &[])?;
        match growth::excess(program.expression()) {
            Some((part, problem)) => Err(reads.error(part, problem)),
            None => Ok(reads),
        }
    }

    fn error(&self, at: &IdedExpr, problem: impl Into<String>) -> ExpressionError {
        let offset = begin(self.program, at);
        let text = &self.program.source_info().source;
        let place = offset.filter(|_| !text.is_empty()).map(|offset| position(text, offset).1);
        let problem = match place {
            Some(column) => format!("{} (at character {column})", problem.into()),
            None => problem.into(),
        };
        ExpressionError { problem, at: offset }
    }

    /// Walks through an expression, which is nested like that, below loops whose variables are `bound`.
    fn walk(&mut self, expression: &IdedExpr, above: Nesting, bound: &[&str]) -> Result<(), ExpressionError> {
        let below = Nesting { depth: above.depth + 1, ..above };
        if below.depth > MAX_DEPTH {
            let problem = format!("is nested more than {MAX_DEPTH} deep; a list after `in` is flat");
            return Err(self.error(expression, problem));
        }
        if let Some((side, segments)) = chain(expression, bound) {
            if matches!(&expression.expr, Expr::Select(select) if select.test) {
                let problem = format!(
                    "asks has() of an attribute, and every attribute is there: one without a value is null. Write {side}.{} \
                     != null",
                    segments.join(".")
                );
                return Err(self.error(expression, problem));
            }
            let path = segments.join(".").parse();
            let path =
                path.map_err(|_| self.error(expression, format!("{side}.{} is no attribute", segments.join("."))))?;
            self.found.push((side, path));
            return Ok(());
        }
        let mut all = |parts: &[&IdedExpr]| parts.iter().try_for_each(|part| self.walk(part, below, bound));
        match &expression.expr {
            Expr::Literal(LiteralValue::String(text)) => {
                self.literals.push(text.inner().to_owned());
                Ok(())
            }
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(name) if bound.contains(&name.as_str()) => Ok(()),
            Expr::Ident(name) => {
                Err(self.error(expression, format!("{name} is neither a side's attribute nor a value")))
            }
            Expr::Select(select) => all(&[&select.operand]),
            Expr::Call(call) => {
                let is_namespace = |target: &IdedExpr| matches!(&target.expr, Expr::Ident(name) if name == "strings");
                if let Some(target) = call.target.as_ref().filter(|target| !is_namespace(target)) {
                    all(&[target])?;
                }
                all(&call.args.iter().collect::<Vec<_>>())?;
                let name = call.func_name.as_str();
                let is_word = name.starts_with(|c: char| c.is_ascii_alphabetic());
                if is_word && !FUNCTIONS.contains(&name) {
                    let same = FUNCTIONS.iter().find(|known| known.eq_ignore_ascii_case(name));
                    let remedy = match same.copied().or_else(|| crate::config::nearest(name, &FUNCTIONS)) {
                        Some(near) => format!("; did you mean {near}()?"),
                        None => String::new(),
                    };
                    return Err(self.error(expression, format!("there is no function {name}(){remedy}")));
                }
                Ok(())
            }
            Expr::List(list) => all(&list.elements.iter().collect::<Vec<_>>()),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => all(&[&entry.key, &entry.value]),
                EntryExpr::StructField(field) => all(&[&field.value]),
            }),
            Expr::Struct(_) => Err(self.error(expression, "makes an object; an attribute is a text, a number, a list")),
            Expr::Comprehension(part) => {
                if above.loops > 0 {
                    let problem = "has a loop within a loop, which could take minutes";
                    return Err(self.error(expression, problem));
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
pub(super) fn chain<'e>(expression: &'e IdedExpr, bound: &[&str]) -> Option<(Side, Vec<&'e str>)> {
    let (of, name) = match &expression.expr {
        Expr::Select(select) => (&*select.operand, select.field.as_str()),
        Expr::Call(call) if call.func_name == operators::INDEX => match call.args.as_slice() {
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
