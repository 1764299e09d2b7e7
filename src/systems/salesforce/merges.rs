//! Merged contacts. The one that loses is deleted and names the one that is left, which shows nothing of it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::Salesforce;
use super::client::ids_query;
use super::id::parse_id;
use super::object::Object;
use super::position::Position;
use super::soql;
use crate::domain::{AccountId, Failure};
use crate::systems::ReadFrom;
use crate::systems::http::Call;

/// A contact that is left may have been merged in its turn. More often than this it is not followed.
const HOPS: usize = 8;

/// What became of a record that is asked for among the deleted ones as well.
enum Fate {
    There,
    Deleted,
    MergedInto(AccountId),
}

impl Salesforce {
    /// Contacts that were merged since a read began at `from`, see [`System::merges`](crate::systems::System::merges): a
    /// plain query shows none of them.
    pub(super) async fn merges_since(&self, from: &ReadFrom) -> Result<Vec<(AccountId, AccountId)>, Failure> {
        if self.object != Object::Contact {
            return Ok(Vec::new());
        }
        let since = match from {
            ReadFrom::Start => String::new(),
            ReadFrom::Watermark(watermark) => match Position::from_watermark(watermark)?.since() {
                Some(since) => format!(" AND SystemModstamp >= {}", soql::time(since)),
                None => String::new(),
            },
            ReadFrom::Position(_) => return Ok(Vec::new()),
        };
        let object = self.object.name();
        let soql = format!("SELECT Id FROM {object} WHERE IsDeleted = TRUE AND MasterRecordId != null{since}");
        let pages = self.client.whole_with_deleted(Call::read("merges"), &soql).await?;
        let rows = pages.iter().flat_map(|page| &page.records);
        let merged: Vec<_> = rows.filter_map(|row| parse_id(row.get("Id")?.as_str()?)).collect();
        let survivors = self.survivors(&merged).await?;
        Ok(merged.into_iter().zip(survivors).filter_map(|(account, into)| Some((account, into?))).collect())
    }

    /// The contacts that are left of merged ones, see [`System::merged_into`](crate::systems::System::merged_into).
    pub(super) async fn survivors(&self, gone: &[AccountId]) -> Result<Vec<Option<AccountId>>, Failure> {
        if self.object != Object::Contact || gone.is_empty() {
            return Ok(vec![None; gone.len()]);
        }
        let mut fates = BTreeMap::<AccountId, Fate>::new();
        let mut asked: BTreeSet<AccountId> = gone.iter().filter_map(|account| parse_id(account.as_str())).collect();
        for _ in 0..HOPS {
            asked.retain(|account| !fates.contains_key(account));
            if asked.is_empty() {
                break;
            }
            fates.extend(self.fates(&asked).await?);
            let masters = fates.values().filter_map(|fate| match fate {
                Fate::MergedInto(master) => Some(master.clone()),
                Fate::There | Fate::Deleted => None,
            });
            asked = masters.collect();
        }
        let survivor = |account: &AccountId| {
            let mut at = parse_id(account.as_str())?;
            for _ in 0..HOPS {
                match fates.get(&at)? {
                    Fate::MergedInto(master) => at = master.clone(),
                    Fate::There => return Some(at).filter(|survivor| survivor != account),
                    Fate::Deleted => return None,
                }
            }
            None
        };
        Ok(gone.iter().map(survivor).collect())
    }

    /// What became of these records, as far as the recycle bin still knows.
    async fn fates(&self, accounts: &BTreeSet<AccountId>) -> Result<Vec<(AccountId, Fate)>, Failure> {
        let ids: Vec<&str> = accounts.iter().map(AccountId::as_str).collect();
        let mut fates = Vec::new();
        let mut rest = &ids[..];
        while !rest.is_empty() {
            let (soql, taken) = ids_query(self.object.name(), "Id, IsDeleted, MasterRecordId", rest);
            let pages = self.client.whole_with_deleted(Call::read("merges"), &soql).await?;
            for row in pages.iter().flat_map(|page| &page.records) {
                let id = |field: &str| row.get(field).and_then(Json::as_str).and_then(parse_id);
                let Some(account) = id("Id") else { continue };
                let fate = match (row.get("IsDeleted").and_then(Json::as_bool), id("MasterRecordId")) {
                    (Some(false), _) => Fate::There,
                    (_, Some(master)) => Fate::MergedInto(master),
                    (_, None) => Fate::Deleted,
                };
                fates.push((account, fate));
            }
            rest = &rest[taken..];
        }
        Ok(fates)
    }
}
