//! What operators refer to by id: projects, groups, skills, roles. People and rules know them by name.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::attributes::Table;
use super::rules::refuse;
use crate::domain::{AttributePath, Failure};

/// The tables as they were when they were read.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    /// Entries by table: id and name. A table that may not be read is not there.
    entries: BTreeMap<Table, Vec<(Json, String)>>,
}

impl Tables {
    /// Puts a table in.
    pub fn insert(&mut self, table: Table, entries: Vec<(Json, String)>) {
        self.entries.insert(table, entries);
    }

    /// Whether a table could be read.
    pub fn has(&self, table: Table) -> bool {
        self.entries.contains_key(&table)
    }

    /// The name of an entry.
    pub fn name(&self, table: Table, id: &Json) -> Option<&str> {
        let entries = self.entries.get(&table)?;
        entries.iter().find(|(known, _)| known == id).map(|(_, name)| name.as_str())
    }

    /// The id of the entry of this name. Letter case makes no difference where the name is one entry's alone.
    ///
    /// # Errors
    /// There is no such entry, or there are several (R37: it is refused, never dropped).
    pub fn id(&self, table: Table, name: &str, path: &AttributePath) -> Result<Json, Failure> {
        let entries = self.entries.get(&table).map(Vec::as_slice).unwrap_or_default();
        let mut exact = entries.iter().filter(|(_, known)| known == name);
        if let (Some((id, _)), None) = (exact.next(), exact.next()) {
            return Ok(id.clone());
        }
        let mut found = entries.iter().filter(|(_, known)| same(known, name));
        match (found.next(), found.next()) {
            (Some((id, _)), None) => Ok(id.clone()),
            (None, _) => Err(refuse(path, table.unknown(), "names something that iAdvize does not have")),
            _ => Err(refuse(path, "ambiguous_name", "names something that iAdvize has twice")),
        }
    }
}

fn same(left: &str, right: &str) -> bool {
    left.trim().to_lowercase() == right.trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// R37: an unknown skill is refused by name, never dropped.
    #[test]
    fn names_become_ids_or_are_refused() {
        let mut tables = Tables::default();
        let entries = [(1, "Sales"), (2, "sales"), (3, "Returns"), (4, "Twice"), (5, "Twice")];
        tables.insert(Table::Skills, entries.map(|(id, name)| (json!(id), name.to_owned())).to_vec());
        let path: AttributePath = "native.skills".parse().unwrap();
        for (name, expected) in [
            ("Sales", Ok(json!(1))),
            ("returns ", Ok(json!(3))),
            ("SALES", Err("ambiguous_name")),
            ("Twice", Err("ambiguous_name")),
            ("Return", Err("unknown_skill")),
        ] {
            let id = tables.id(Table::Skills, name, &path);
            assert_eq!(
                id.map_err(|failure| failure.code.as_str().to_owned()),
                expected.map_err(str::to_owned),
                "{name}"
            );
        }
    }
}
