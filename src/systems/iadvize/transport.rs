//! What the connector asks of an API, whichever of the two it is.

use std::fmt::Debug;

use async_trait::async_trait;
use serde_json::{Map, Value as Json};
use tokio::time::Instant;

use super::attributes::Wire;
use super::tables::Tables;
use crate::domain::{AccountId, AttributePath, Failure, Timestamp};
use crate::systems::Finding;
use crate::systems::http::{Call, Http};

/// An operator as an answer showed it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The vendor's own form.
    pub user: Json,
    /// When it was true, in the system's clock.
    pub at: Timestamp,
    /// Whether some of the answer was not UTF-8.
    pub lossy: bool,
}

/// What became of one operator asked for by id.
#[derive(Debug)]
pub enum Fetched {
    /// There it is.
    Found(Seen),
    /// There is none, or it is deleted. The time is when it was asked.
    Absent(Timestamp),
}

/// What a write was answered.
#[derive(Debug)]
pub enum Answered {
    /// Carried out. What it shows of the operator, if it shows it whole.
    Done(Option<Seen>),
    /// A unique value is taken.
    Taken(AttributePath),
    /// The e-mail address is refused, perhaps because it is taken: REST has one text for both.
    MaybeTaken(Failure),
    /// There is no such operator. The time is when the answer came.
    Absent(Timestamp),
}

/// What a deletion was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// Carried out.
    Done,
    /// There is no such operator. The time is when the answer came.
    Absent(Timestamp),
}

/// By what operators are searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The login.
    Email,
    /// The field for the partner's id.
    ExternalId,
}

/// Where a list goes on.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Mark {
    /// A page of REST, from 1.
    Page(u64),
    /// Behind a cursor of GraphQL.
    After(String),
}

/// One page of operators.
#[derive(Debug)]
pub struct Listed {
    /// The operators.
    pub users: Vec<Json>,
    /// When it was asked, in the system's clock.
    pub at: Timestamp,
    /// Whether some of the answer was not UTF-8.
    pub lossy: bool,
    /// How many the whole list has, if the API says so.
    pub count: Option<u64>,
    /// The next page; `None` after the last.
    pub next: Option<Mark>,
}

/// A write: its deadline, and whether it is urgent.
#[derive(Debug, Clone, Copy)]
pub struct Haste {
    /// When it must be over.
    pub deadline: Instant,
    /// Whether it may use the calls that are kept for urgent work.
    pub urgent: bool,
}

impl Haste {
    /// A call that reads, for a write in this haste or for none.
    pub fn read(haste: Option<Self>, operation: &'static str) -> Call {
        let call = Call::read(operation);
        haste.map_or(call, |haste| call.by(Some(haste.deadline)).urgent(haste.urgent))
    }
}

/// One of the two APIs.
#[async_trait]
pub trait Transport: Debug + Send + Sync {
    /// Which one.
    fn wire(&self) -> Wire;

    /// The HTTP client, its clock and its counts.
    fn http(&self) -> &Http;

    /// Proves the credential and its rights.
    async fn prove(&self) -> Vec<Finding>;

    /// A page of all operators, of at most `size`.
    async fn page(&self, mark: Option<&Mark>, size: usize) -> Result<Listed, Failure>;

    /// One operator.
    async fn fetch(
        &self,
        operation: &'static str,
        account: &AccountId,
        haste: Option<Haste>,
    ) -> Result<Fetched, Failure>;

    /// A page of the operators whom a filter leaves. The caller checks that they fit.
    async fn find(&self, by: By, value: &str, mark: Option<&Mark>, haste: Option<Haste>) -> Result<Listed, Failure>;

    /// Creates an operator.
    async fn create(&self, body: Map<String, Json>, partner: &AccountId, haste: Haste) -> Result<Answered, Failure>;

    /// Changes an operator.
    async fn update(&self, account: &AccountId, body: Map<String, Json>, haste: Haste) -> Result<Answered, Failure>;

    /// Deletes an operator.
    async fn delete(&self, account: &AccountId, haste: Haste) -> Result<Deleted, Failure>;

    /// Whether an operator is logged in.
    async fn is_connected(&self, account: &AccountId, haste: Haste) -> Result<bool, Failure>;

    /// Projects, groups, skills and roles. A table that the credential may not read is left out.
    async fn tables(&self, haste: Option<Haste>) -> Result<Tables, Failure>;
}
