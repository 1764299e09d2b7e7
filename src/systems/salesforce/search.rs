//! The search: the keys of one call in as few queries as addresses can hold, and the answers sorted back to their keys.

use std::collections::{BTreeMap, BTreeSet};

use super::object::TEXT;
use super::{Salesforce, client, soql};
use crate::domain::{AttributePath, Code, Comparison, Failure, FailureClass, Snapshot, Value};
use crate::systems::http::Call;
use crate::systems::{Record, SearchKey};

/// Fields that can be searched hold no longer text than this, where nothing is known of them.
const LONGEST_SEARCHABLE: usize = 255;

impl Salesforce {
    /// The accounts of each key, see [`System::search`](crate::systems::System::search).
    pub(super) async fn with_keys(&self, keys: &[SearchKey]) -> Result<Vec<Vec<Snapshot>>, Failure> {
        let mut literals = Vec::new();
        for key in keys {
            literals.extend(self.literal(key)?);
        }
        literals.sort_unstable();
        literals.dedup();
        let conditions = conditions(&literals, soql::query_bytes(&self.select()));
        let mut found = match conditions.is_empty() {
            true => Vec::new(),
            false => self.matching(&conditions).await?,
        };
        // One record may fit several of the queries.
        let mut seen = BTreeSet::new();
        found.retain(|account| seen.insert(account.account.clone()));
        Ok(keys.iter().map(|key| found.iter().filter(|account| self.has(account, key)).cloned().collect()).collect())
    }

    /// The field that a key is about, and the text that it holds then. `None`: no record can have that.
    fn literal(&self, key: &SearchKey) -> Result<Option<(String, String)>, Failure> {
        match key {
            // Without a field for it, no record names a partner.
            SearchKey::Partner(partner) => {
                Ok(self.fields.partner().map(|field| (field.to_owned(), partner.as_str().to_owned())))
            }
            SearchKey::Attribute(path, text) => {
                let (field, native) = self.fields.searchable(path, text).ok_or_else(|| {
                    let code = Code::known("not_searchable");
                    Failure::new(FailureClass::Permanent, code, "Salesforce cannot be searched by this attribute")
                        .at(path.clone())
                })?;
                let known = self.schema.attribute(path).and_then(|attribute| attribute.max_chars);
                let fits = native.chars().count() <= known.unwrap_or(LONGEST_SEARCHABLE);
                Ok(fits.then_some((field, native)))
            }
        }
    }

    /// The accounts that any of these conditions describes.
    async fn matching(&self, conditions: &[String]) -> Result<Vec<Snapshot>, Failure> {
        let queries = || self.queries(conditions);
        let call = Call::read("search");
        let pages = match self.client.whole_of_each(call, &queries()).await {
            Err(failure) if failure.code.as_str() == "invalid_field" && self.learn_hidden_fields().await? => {
                self.client.whole_of_each(call, &queries()).await?
            }
            other => other?,
        };
        let asked_at = pages.first().map(|page| page.sent_at).unwrap_or_default();
        let rows = pages.iter().flat_map(|page: &client::Rows| page.records.iter().map(|row| (row, page.lossy)));
        let account = |(row, lossy)| match self.fields.read_row(row, asked_at, lossy) {
            Record::Account(snapshot) => Some(snapshot),
            Record::Unreadable { .. } => None,
        };
        Ok(rows.filter_map(account).collect())
    }

    fn queries(&self, conditions: &[String]) -> Vec<String> {
        let select = format!("SELECT {} FROM {} WHERE", self.select(), self.object.name());
        conditions.iter().map(|condition| format!("{select} {condition}")).collect()
    }

    /// Queries for the records that have these texts in a field.
    pub(super) fn holders_of(&self, field: &str, texts: &[&str]) -> Vec<String> {
        let literals: Vec<_> = texts.iter().map(|text| (field.to_owned(), (*text).to_owned())).collect();
        self.queries(&conditions(&literals, soql::query_bytes(&self.select())))
    }

    /// Whether an account truly has what a key asks for: Salesforce ignores letter case in most fields.
    fn has(&self, account: &Snapshot, key: &SearchKey) -> bool {
        let comparison = |path: &AttributePath| -> Comparison {
            self.schema.attribute(path).map_or(TEXT, |attribute| attribute.comparison)
        };
        match key {
            SearchKey::Partner(partner) => account.partner.as_ref() == Some(partner),
            SearchKey::Attribute(path, text) => match account.attributes.get(path) {
                Some(Some(value)) => comparison(path).equal(Some(value), Some(&Value::from(text.as_str()))),
                _ => false,
            },
        }
    }
}

/// Conditions that together name all these (field, text), each as long as an address of which `taken` bytes are gone
/// can hold.
fn conditions(literals: &[(String, String)], taken: usize) -> Vec<String> {
    /// `+OR+` and `+IN+()`, encoded, around the list of one field.
    const LIST_BYTES: usize = 16;
    let mut queries = Vec::new();
    let mut lists = BTreeMap::<&str, Vec<String>>::new();
    let mut size = taken;
    for (field, text) in literals {
        let list = if lists.contains_key(field.as_str()) { 0 } else { LIST_BYTES + field.len() };
        let own = soql::literal_bytes(text) + list;
        if size + own > client::MAX_ADDRESS_BYTES && !lists.is_empty() {
            queries.push(condition(&std::mem::take(&mut lists)));
            size = taken + LIST_BYTES + field.len();
        }
        size += own;
        lists.entry(field).or_default().push(soql::quoted(text));
    }
    if !lists.is_empty() {
        queries.push(condition(&lists));
    }
    queries
}

fn condition(lists: &BTreeMap<&str, Vec<String>>) -> String {
    let lists = lists.iter().map(|(field, texts)| match texts.as_slice() {
        [text] => format!("{field} = {text}"),
        texts => format!("{field} IN ({})", texts.join(",")),
    });
    lists.collect::<Vec<_>>().join(" OR ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(field: &str, text: &str) -> (String, String) {
        (field.to_owned(), text.to_owned())
    }

    #[test]
    fn keys_share_a_query() {
        let keys = [literal("Email", "a@x.example"), literal("Ext__c", "1"), literal("Ext__c", "O'2")];
        assert_eq!(conditions(&keys, 0), [r"Email = 'a@x.example' OR Ext__c IN ('1','O\'2')"]);
        assert!(conditions(&[], 0).is_empty());
    }

    #[test]
    fn no_query_is_longer_than_an_address() {
        let keys: Vec<_> = (0..1_000).map(|n| literal("Ext__c", &format!("ab@c{n:030}"))).collect();
        let queries = conditions(&keys, 1_000);
        assert_eq!(queries.len(), 5);
        for query in &queries {
            let mut address: url::Url = "http://x/".parse().unwrap();
            address.query_pairs_mut().append_pair("q", query);
            assert!(address.as_str().len() <= client::MAX_ADDRESS_BYTES - 900, "{}", address.as_str().len());
        }
        let found: usize = queries.iter().map(|query| query.matches("ab@c").count()).sum();
        assert_eq!(found, 1_000);
        assert_eq!(conditions(&[literal("F", &"x".repeat(90_000))], 0).len(), 1, "one that never fits goes alone");
    }
}
