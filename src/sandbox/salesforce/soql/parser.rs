//! The grammar of SOQL, by recursive descent.

use super::lexer::{Token, tokens};
use super::{Columns, Condition, Literal, Operator, Order, Query, malformed};
use crate::sandbox::salesforce::error::ApiError;

pub(super) fn parse(text: &str) -> Result<Query, ApiError> {
    let mut parser = Parser { tokens: tokens(text)?, place: 0 };
    let query = parser.query()?;
    match parser.tokens.get(parser.place) {
        None => Ok(query),
        Some(token) => Err(unexpected(Some(token))),
    }
}

struct Parser {
    tokens: Vec<Token>,
    place: usize,
}

type Parsed<T> = Result<T, ApiError>;

impl Parser {
    fn query(&mut self) -> Parsed<Query> {
        self.expect("SELECT")?;
        let columns = self.columns()?;
        self.expect("FROM")?;
        let object = self.word()?;
        let condition = if self.take("WHERE") { Some(self.condition()?) } else { None };
        let order = if self.take("ORDER") {
            self.expect("BY")?;
            self.list(Self::order)?
        } else {
            Vec::new()
        };
        let limit = if self.take("LIMIT") { Some(self.count()?) } else { None };
        let offset = if self.take("OFFSET") { self.count()? } else { 0 };
        Ok(Query { columns, object, condition, order, limit, offset })
    }

    fn columns(&mut self) -> Parsed<Columns<String>> {
        let fields = self.list(Self::word)?;
        if fields.len() == 1 && fields[0].eq_ignore_ascii_case("COUNT") && self.sign("(") {
            return if self.sign(")") { Ok(Columns::Count) } else { Err(unexpected(self.peek())) };
        }
        Ok(Columns::Fields(fields))
    }

    /// Conditions joined by AND alone or by OR alone: SOQL wants parentheses where both are meant.
    fn condition(&mut self) -> Parsed<Condition<String>> {
        let first = self.term()?;
        for (keyword, join) in [("AND", Condition::All as fn(_) -> _), ("OR", Condition::Any as fn(_) -> _)] {
            if !self.take(keyword) {
                continue;
            }
            let mut terms = vec![first, self.term()?];
            while self.take(keyword) {
                terms.push(self.term()?);
            }
            return Ok(join(terms));
        }
        Ok(first)
    }

    fn term(&mut self) -> Parsed<Condition<String>> {
        if self.take("NOT") {
            return Ok(Condition::Not(Box::new(self.term()?)));
        }
        if self.sign("(") {
            let inner = self.condition()?;
            return if self.sign(")") { Ok(inner) } else { Err(unexpected(self.peek())) };
        }
        let path = self.word()?;
        if self.take("NOT") {
            self.expect("IN")?;
            return Ok(Condition::Not(Box::new(Condition::In { path, values: self.values()? })));
        }
        if self.take("IN") {
            return Ok(Condition::In { path, values: self.values()? });
        }
        let operator = self.operator()?;
        Ok(Condition::Compare { path, operator, value: self.literal()? })
    }

    fn values(&mut self) -> Parsed<Vec<Literal>> {
        if !self.sign("(") {
            return Err(unexpected(self.peek()));
        }
        let values = self.list(Self::literal)?;
        if self.sign(")") { Ok(values) } else { Err(unexpected(self.peek())) }
    }

    fn operator(&mut self) -> Parsed<Operator> {
        if self.take("LIKE") {
            return Ok(Operator::Like);
        }
        for (sign, operator) in [
            ("=", Operator::Equal),
            ("!=", Operator::NotEqual),
            ("<=", Operator::LessOrEqual),
            ("<", Operator::Less),
            (">=", Operator::GreaterOrEqual),
            (">", Operator::Greater),
        ] {
            if self.sign(sign) {
                return Ok(operator);
            }
        }
        Err(unexpected(self.peek()))
    }

    fn literal(&mut self) -> Parsed<Literal> {
        let literal = match self.peek() {
            Some(Token::Text(text)) if text.chars().count() > 4000 => {
                return Err(malformed("string literal is longer than 4000 characters"));
            }
            Some(Token::Text(text)) => Literal::Text(text.clone()),
            Some(Token::Number(number)) => Literal::Number(*number),
            Some(Token::DateTime(ms)) => Literal::DateTime(*ms),
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("null") => Literal::Null,
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("true") => Literal::Bool(true),
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("false") => Literal::Bool(false),
            other => return Err(unexpected(other)),
        };
        self.place += 1;
        Ok(literal)
    }

    fn order(&mut self) -> Parsed<Order<String>> {
        let path = self.word()?;
        let descending = !self.take("ASC") && self.take("DESC");
        let nulls_last = if self.take("NULLS") {
            let last = self.take("LAST");
            if !last {
                self.expect("FIRST")?;
            }
            last
        } else {
            false
        };
        Ok(Order { path, descending, nulls_last })
    }

    fn list<T>(&mut self, item: impl Fn(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let mut items = vec![item(self)?];
        while self.sign(",") {
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn count(&mut self) -> Parsed<usize> {
        match self.peek() {
            Some(Token::Number(number)) if *number >= 0 => {
                let count = usize::try_from(*number).unwrap_or(usize::MAX);
                self.place += 1;
                Ok(count)
            }
            other => Err(unexpected(other)),
        }
    }

    fn word(&mut self) -> Parsed<String> {
        match self.peek() {
            Some(Token::Word(word)) => {
                let word = word.clone();
                self.place += 1;
                Ok(word)
            }
            other => Err(unexpected(other)),
        }
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.place)
    }

    fn take(&mut self, keyword: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(word)) if word.eq_ignore_ascii_case(keyword));
        self.place += usize::from(found);
        found
    }

    fn sign(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Sign(found)) if *found == sign);
        self.place += usize::from(found);
        found
    }

    fn expect(&mut self, keyword: &str) -> Parsed<()> {
        if self.take(keyword) { Ok(()) } else { Err(unexpected(self.peek())) }
    }
}

fn unexpected(token: Option<&Token>) -> ApiError {
    let token = match token {
        None => "<EOF>".to_owned(),
        Some(Token::Word(word)) => word.clone(),
        Some(Token::Text(text)) => text.clone(),
        Some(Token::Number(number)) => number.to_string(),
        Some(Token::DateTime(_)) => "a datetime".to_owned(),
        Some(Token::Sign(sign)) => (*sign).to_owned(),
    };
    malformed(format!("unexpected token: '{token}'"))
}
