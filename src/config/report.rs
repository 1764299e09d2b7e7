//! The mistakes of a configuration, found all at once: for a terminal with the line and a caret, and as JSON.

use std::fmt;

use serde::Serialize;

use super::excerpt::Excerpt;

/// Everything that is wrong with a configuration. Holds no text of the file but keys and values that are no secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigErrors {
    /// The file, as it was named.
    pub file: String,
    /// What is wrong, in the order of the file. Never empty.
    pub mistakes: Vec<Mistake>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// Line, from 1; absent where the file itself cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Column in characters, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// The key, from the top of the file: `connections.crm-chat.direction`. Empty for what belongs to no key.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// What would be right.
    pub remedy: String,
    /// The line as it may be shown.
    #[serde(skip)]
    pub(super) excerpt: Option<Excerpt>,
}

impl ConfigErrors {
    /// The report as one JSON object: `{"error": "configuration", "file": ..., "mistakes": [...]}`.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "error": "configuration", "file": self.file, "mistakes": self.mistakes })
    }

    /// A file that cannot be read.
    pub(super) fn unreadable(file: &str, error: &std::io::Error) -> Self {
        let mistake = Mistake {
            line: None,
            column: None,
            key: String::new(),
            problem: format!("the file cannot be read: {error}"),
            remedy: "name the configuration with --config or MUSTER_CONFIG".to_owned(),
            excerpt: None,
        };
        Self { file: file.to_owned(), mistakes: vec![mistake] }
    }
}

impl fmt::Display for ConfigErrors {
    /// A paragraph for each mistake, headed by `file:line:column` which editors and terminals can follow.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mistake in &self.mistakes {
            f.write_str(&self.file)?;
            if let (Some(line), Some(column)) = (mistake.line, mistake.column) {
                write!(f, ":{line}:{column}")?;
            }
            if !mistake.key.is_empty() {
                write!(f, ": {}", mistake.key)?;
            }
            writeln!(f, ": {}", mistake.problem)?;
            if let (Some(line), Some(excerpt)) = (mistake.line, &mistake.excerpt) {
                writeln!(f, "{line:>5} | {}", excerpt.text)?;
                writeln!(f, "      | {:indent$}{}", "", "^".repeat(excerpt.width), indent = excerpt.indent)?;
            }
            writeln!(f, "      = {}\n", mistake.remedy)?;
        }
        match self.mistakes.len() {
            1 => write!(f, "{}: 1 mistake", self.file),
            count => write!(f, "{}: {count} mistakes", self.file),
        }
    }
}

impl std::error::Error for ConfigErrors {}
