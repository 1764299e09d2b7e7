//! What a target is searched by before an account is created there, and which of the accounts that it finds count.

use super::Connection;
use crate::domain::matching::MatchKey;
use crate::domain::pending::Pending;
use crate::domain::rules::Rules;
use crate::domain::{AttributePath, Side, Snapshot, Value};
use crate::systems::SearchKey;

/// The searches for accounts that have what an account is matched by, in the order of the keys.
pub(crate) struct Searches<'r> {
    rules: &'r Rules,
    side: Side,
    wanted: &'r Pending,
    keys: Vec<(&'r MatchKey, AttributePath, SearchKey)>,
}

impl<'r> Searches<'r> {
    /// Those for an account with the values `wanted`.
    pub(crate) fn new(connection: &Connection, rules: &'r Rules, side: Side, wanted: &'r Pending) -> Self {
        let mut searches = Self { rules, side, wanted, keys: Vec::new() };
        searches.keys = rules.match_on.iter().filter_map(|key| searches.by(connection, key)).collect();
        searches
    }

    /// What the target is asked.
    pub(crate) fn keys(&self) -> impl Iterator<Item = SearchKey> {
        self.keys.iter().map(|(_, _, key)| key.clone())
    }

    /// Who was found by each, under the name of the attribute that was asked for.
    pub(crate) fn found(&self, found: Vec<Vec<Snapshot>>) -> Vec<(AttributePath, Vec<Snapshot>)> {
        let each = self.keys.iter().zip(found).map(|((key, name, _), mut found)| {
            found.retain(|account| self.agrees(key, account));
            (name.clone(), found)
        });
        each.collect()
    }

    /// One attribute of a key that is asked for; `None` if the account is to lack a value of the key. A key that the target
    /// cannot be searched by is left out where all accounts were compared before.
    fn by(&self, connection: &Connection, key: &'r MatchKey) -> Option<(&'r MatchKey, AttributePath, SearchKey)> {
        let wanted = |path: &AttributePath| self.wanted.values.get(path)?.as_ref();
        if !key.paths().iter().all(|path| wanted(path).is_some()) {
            return None;
        }
        let name = |path: &AttributePath| Some(&self.rules.attributes.get(path)?.names[self.side]);
        let can_be_asked = |path: &&AttributePath| {
            let is_text = matches!(wanted(path), Some(Value::Text(_)));
            is_text && name(path).is_some_and(|name| connection.ends[self.side].searches_by(name))
        };
        let path = match key.paths().iter().find(can_be_asked) {
            Some(path) => path,
            None if connection.matches_first() => return None,
            None => key.paths().first()?,
        };
        let rule = self.rules.attributes.get(path)?;
        match rule.leave(self.side, self.wanted.values.get(path)?) {
            Ok(Some(Value::Text(text))) => {
                let name = name(path)?;
                Some((key, name.clone(), SearchKey::Attribute(name.clone(), text)))
            }
            _ => None,
        }
    }

    /// Whether an account that was found by one attribute of a key has all of them.
    fn agrees(&self, key: &MatchKey, found: &Snapshot) -> bool {
        let agrees = |path: &AttributePath| {
            let Some(rule) = self.rules.attributes.get(path) else { return false };
            let wanted = self.wanted.values.get(path).and_then(|wanted| rule.leave(self.side, wanted).ok());
            let has = found.attributes.get(&rule.names[self.side]);
            let comparison = rule.comparison[self.side];
            wanted.zip(has).is_some_and(|(wanted, has)| comparison.equal(wanted.as_ref(), has.as_ref()))
        };
        key.paths().len() == 1 || key.paths().iter().all(agrees)
    }
}
