//! The language: tokens, documents, and the types of a schema. As much of it as clients of this API need: operations with
//! variables, fields with aliases and arguments, fragments; no directives, no subscriptions.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

use serde_json::Value;

#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// A sign; `.` stands for the three of a spread.
    Sign(char),
    Name(String),
    Number(String),
    Text(String),
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(&c) = chars.peek() {
        match c {
            c if c.is_whitespace() || c == ',' || c == '\u{feff}' => drop(chars.next()),
            '#' => while chars.next_if(|c| *c != '\n').is_some() {},
            '{' | '}' | '(' | ')' | ':' | '!' | '[' | ']' | '$' | '=' | '@' | '|' | '&' => {
                chars.next();
                tokens.push(Token::Sign(c));
            }
            '.' => {
                while chars.next_if_eq(&'.').is_some() {}
                tokens.push(Token::Sign('.'));
            }
            '"' => tokens.push(Token::Text(quoted(&mut chars)?)),
            c if c == '-' || c.is_ascii_digit() => {
                let mut number = String::new();
                while let Some(c) = chars.next_if(|c| "+-.eE".contains(*c) || c.is_ascii_digit()) {
                    number.push(c);
                }
                tokens.push(Token::Number(number));
            }
            c if c == '_' || c.is_ascii_alphabetic() => {
                let mut name = String::new();
                while let Some(c) = chars.next_if(|c| *c == '_' || c.is_ascii_alphanumeric()) {
                    name.push(c);
                }
                tokens.push(Token::Name(name));
            }
            c => return Err(format!("Syntax Error: Cannot parse the unexpected character {c:?}.")),
        }
    }
    Ok(tokens)
}

/// A text in quotes; its escapes are those of JSON.
fn quoted(chars: &mut Peekable<Chars<'_>>) -> Result<String, String> {
    let mut raw = String::from("\"");
    chars.next();
    loop {
        let c = chars.next().ok_or("Syntax Error: Unterminated string.")?;
        raw.push(c);
        match c {
            '\\' => raw.extend(chars.next()),
            '"' => break,
            _ => {}
        }
    }
    serde_json::from_str(&raw).map_err(|_| "Syntax Error: Bad string.".to_owned())
}

/// A value as a document writes it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Plain(Value),
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
    Variable(String),
}

/// A field that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Field {
    pub alias: String,
    pub name: String,
    pub arguments: Vec<(String, Literal)>,
    pub selection: Vec<Selection>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Selection {
    Field(Field),
    /// Only for this type, or for any.
    Inline(Option<String>, Vec<Self>),
    Fragment(String),
}

/// A query or a mutation.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Operation {
    pub is_mutation: bool,
    pub name: Option<String>,
    pub variables: Vec<(String, TypeRef)>,
    pub selection: Vec<Selection>,
}

#[derive(Debug, Default)]
pub(super) struct Document {
    pub operations: Vec<Operation>,
    /// Type and selection of each named fragment.
    pub fragments: BTreeMap<String, (String, Vec<Selection>)>,
}

/// A type as it is used.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum TypeRef {
    Named(String),
    List(Box<Self>),
    Required(Box<Self>),
}

impl TypeRef {
    /// The type that is named in it.
    pub fn name(&self) -> &str {
        match self {
            Self::Named(name) => name,
            Self::List(inner) | Self::Required(inner) => inner.name(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TypeKind {
    Scalar,
    Enum,
    Input,
    Object,
    Interface,
}

/// Fields of a type, each with its arguments and its type.
pub(super) type Fields = BTreeMap<String, (BTreeMap<String, TypeRef>, TypeRef)>;

/// A type of a schema.
#[derive(Debug)]
pub(super) struct Type {
    pub kind: TypeKind,
    pub fields: Fields,
    /// Words of an enumeration.
    pub words: Vec<String>,
    /// Interfaces of an object.
    pub interfaces: Vec<String>,
}

struct Parser {
    tokens: std::vec::IntoIter<Token>,
}

type Parsed<T> = Result<T, String>;

impl Parser {
    fn new(text: &str) -> Parsed<Self> {
        Ok(Self { tokens: tokens(text)?.into_iter() })
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.as_slice().first()
    }

    fn skip(&mut self, sign: char) -> bool {
        let found = self.peek() == Some(&Token::Sign(sign));
        if found {
            self.tokens.next();
        }
        found
    }

    fn expect(&mut self, sign: char) -> Parsed<()> {
        if self.skip(sign) { Ok(()) } else { Err(format!("Syntax Error: Expected {sign:?}.")) }
    }

    fn name(&mut self) -> Parsed<String> {
        match self.tokens.next() {
            Some(Token::Name(name)) => Ok(name),
            _ => Err("Syntax Error: Expected Name.".into()),
        }
    }

    fn keyword(&mut self, word: &str) -> bool {
        let found = self.peek() == Some(&Token::Name(word.to_owned()));
        if found {
            self.tokens.next();
        }
        found
    }

    fn type_ref(&mut self) -> Parsed<TypeRef> {
        let inner = if self.skip('[') {
            let item = self.type_ref()?;
            self.expect(']')?;
            TypeRef::List(Box::new(item))
        } else {
            TypeRef::Named(self.name()?)
        };
        Ok(if self.skip('!') { TypeRef::Required(Box::new(inner)) } else { inner })
    }

    fn literal(&mut self) -> Parsed<Literal> {
        let wrong = || "Syntax Error: Expected a value.".to_owned();
        Ok(match self.tokens.next().ok_or_else(wrong)? {
            Token::Sign('$') => Literal::Variable(self.name()?),
            Token::Sign('[') => {
                let mut items = Vec::new();
                while !self.skip(']') {
                    items.push(self.literal()?);
                }
                Literal::List(items)
            }
            Token::Sign('{') => {
                let mut members = Vec::new();
                while !self.skip('}') {
                    let name = self.name()?;
                    self.expect(':')?;
                    members.push((name, self.literal()?));
                }
                Literal::Object(members)
            }
            Token::Text(text) => Literal::Plain(Value::String(text)),
            Token::Number(number) => Literal::Plain(serde_json::from_str(&number).map_err(|_| wrong())?),
            Token::Name(word) => Literal::Plain(match word.as_str() {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                "null" => Value::Null,
                _ => Value::String(word),
            }),
            Token::Sign(_) => return Err(wrong()),
        })
    }

    fn selection(&mut self) -> Parsed<Vec<Selection>> {
        self.expect('{')?;
        let mut selection = Vec::new();
        while !self.skip('}') {
            if self.skip('.') {
                let named = matches!(self.peek(), Some(Token::Name(name)) if name != "on");
                selection.push(if named {
                    Selection::Fragment(self.name()?)
                } else {
                    let on = if self.keyword("on") { Some(self.name()?) } else { None };
                    Selection::Inline(on, self.selection()?)
                });
                continue;
            }
            let first = self.name()?;
            let (alias, name) = if self.skip(':') { (first, self.name()?) } else { (first.clone(), first) };
            let mut arguments = Vec::new();
            if self.skip('(') {
                while !self.skip(')') {
                    let name = self.name()?;
                    self.expect(':')?;
                    arguments.push((name, self.literal()?));
                }
            }
            let nested = self.peek() == Some(&Token::Sign('{'));
            let nested = if nested { self.selection()? } else { Vec::new() };
            selection.push(Selection::Field(Field { alias, name, arguments, selection: nested }));
        }
        if selection.is_empty() {
            return Err("Syntax Error: Expected Name, found }.".into());
        }
        Ok(selection)
    }

    fn operation(&mut self, is_mutation: bool) -> Parsed<Operation> {
        let name = if matches!(self.peek(), Some(Token::Name(_))) { Some(self.name()?) } else { None };
        let mut variables = Vec::new();
        if self.skip('(') {
            while !self.skip(')') {
                self.expect('$')?;
                let name = self.name()?;
                self.expect(':')?;
                variables.push((name, self.type_ref()?));
                if self.skip('=') {
                    self.literal()?;
                }
            }
        }
        Ok(Operation { is_mutation, name, variables, selection: self.selection()? })
    }

    fn fields(&mut self) -> Parsed<Fields> {
        let mut fields = BTreeMap::new();
        self.expect('{')?;
        while !self.skip('}') {
            let name = self.name()?;
            let mut arguments = BTreeMap::new();
            if self.skip('(') {
                while !self.skip(')') {
                    let name = self.name()?;
                    self.expect(':')?;
                    arguments.insert(name, self.type_ref()?);
                }
            }
            self.expect(':')?;
            fields.insert(name, (arguments, self.type_ref()?));
        }
        Ok(fields)
    }
}

/// A document that a client sent. An error is what the server says to it.
pub(super) fn document(text: &str) -> Parsed<Document> {
    let mut parser = Parser::new(text)?;
    let mut document = Document::default();
    while parser.peek().is_some() {
        if parser.peek() == Some(&Token::Sign('{')) {
            let selection = parser.selection()?;
            document.operations.push(Operation { is_mutation: false, name: None, variables: Vec::new(), selection });
            continue;
        }
        match parser.name()?.as_str() {
            "query" => document.operations.push(parser.operation(false)?),
            "mutation" => document.operations.push(parser.operation(true)?),
            "fragment" => {
                let name = parser.name()?;
                if !parser.keyword("on") {
                    return Err("Syntax Error: Expected \"on\".".into());
                }
                let on = parser.name()?;
                document.fragments.insert(name, (on, parser.selection()?));
            }
            word => return Err(format!("Syntax Error: Unexpected Name {word:?}.")),
        }
    }
    Ok(document)
}

/// The types of a schema.
pub(super) fn types(text: &str) -> Parsed<BTreeMap<String, Type>> {
    let mut parser = Parser::new(text)?;
    let mut types = BTreeMap::new();
    while parser.peek().is_some() {
        let word = parser.name()?;
        let name = parser.name()?;
        let mut interfaces = Vec::new();
        if parser.keyword("implements") {
            interfaces.push(parser.name()?);
        }
        let (kind, words, fields) = match word.as_str() {
            "scalar" => (TypeKind::Scalar, Vec::new(), BTreeMap::new()),
            "enum" => {
                let mut words = Vec::new();
                parser.expect('{')?;
                while !parser.skip('}') {
                    words.push(parser.name()?);
                }
                (TypeKind::Enum, words, BTreeMap::new())
            }
            "input" => (TypeKind::Input, Vec::new(), parser.fields()?),
            "interface" => (TypeKind::Interface, Vec::new(), parser.fields()?),
            _ => (TypeKind::Object, Vec::new(), parser.fields()?),
        };
        types.insert(name, Type { kind, fields, words, interfaces });
    }
    Ok(types)
}
