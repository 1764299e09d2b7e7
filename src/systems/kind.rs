//! What the rest of Muster asks of a kind of system before it is a [`System`](super::System): how its part of the
//! configuration is read, and how it is set up. A new one is a folder beside this file and a line in `KINDS`.

use std::any::Any;
use std::fmt::{Debug, Display, Write};
use std::sync::Arc;

use super::budget::CallBudget;
use super::http::SetupError;
use super::{SharedSystem, iadvize, initlive, salesforce, salesscreen, scim};
use crate::config::table::Variant;
use crate::domain::SystemName;
use crate::domain::rules::Departure;

/// The kinds that a configuration can name.
pub(crate) const KINDS: &[Variant<Arc<dyn Kind>>] = &[
    Variant { word: "iadvize", doc: "A customer's iAdvize.", read: iadvize::config::read },
    Variant { word: "initlive", doc: "An organisation at InitLive.", read: initlive::config::read },
    Variant { word: "salesforce", doc: "A Salesforce org.", read: salesforce::config::read },
    Variant { word: "salesscreen", doc: "SalesScreen.", read: salesscreen::config::read },
    Variant { word: "scim", doc: "A SCIM 2.0 service.", read: scim::config::read },
];

/// A configured system: one login, one clock, one budget of calls.
pub trait Kind: Any + Debug + Send + Sync {
    /// The word that the file uses.
    fn word(&self) -> &'static str;

    /// The kinds of record that can be an end of a connection; the first is meant where the file names none.
    fn objects(&self) -> &'static [&'static str] {
        &["User"]
    }

    /// Whether the file names the field that holds the partner's id. Others have one of their own for it.
    fn takes_partner_field(&self) -> bool {
        false
    }

    /// Whether the file asks for this field's values.
    fn reads_field(&self, _name: &str) -> bool {
        false
    }

    /// What the column of these records' ids is called in files that people export.
    fn id_headers(&self, _object: &str) -> &'static [&'static str] {
        &[]
    }

    /// Whether its accounts have the ids of their partners.
    fn takes_partner_ids(&self) -> bool {
        false
    }

    /// Whether these records can part from their partners in this way: what to say instead, if they cannot.
    ///
    /// # Errors
    /// It cannot be done. The text says what would be right.
    fn departs(&self, object: &str, how: Departure) -> Result<(), &'static str>;

    /// What all processes of an installation must have in common. Secrets are left out, so that they can be renewed, and
    /// so is what concerns one process alone.
    fn fingerprint(&self, of: &mut Fingerprint);

    /// Sets it up. Nothing is called yet; `calls` counts the calls where the system limits them.
    ///
    /// # Errors
    /// A file that it needs cannot be read, or holds something else.
    fn set_up(&self, name: &SystemName, calls: Arc<dyn CallBudget>) -> Result<Box<dyn SetUp>, SetupError>;
}

/// A system that is ready to be called.
pub trait SetUp: Send + Sync {
    /// A connector for the records that an end of a connection is about.
    fn connector(&self, records: &Records) -> SharedSystem;
}

/// One that has a single kind of record.
impl SetUp for SharedSystem {
    fn connector(&self, _records: &Records) -> SharedSystem {
        Self::clone(self)
    }
}

/// The records of one end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Records {
    /// Their kind, one of [`Kind::objects`].
    pub object: String,
    /// The field that holds the partner's id, where the file names one.
    pub partner_field: Option<String>,
    /// The field that must be filled for that id to count, where the file names one. It may hold a secret.
    pub partner_requires: Option<String>,
}

/// The text of a configuration's meaning, of which its number is taken. The numbers are kept in links, so the lines must
/// not change without need.
#[derive(Debug, Default)]
pub struct Fingerprint(pub(crate) String);

impl Fingerprint {
    /// Adds a line.
    pub fn line(&mut self, key: &str, value: impl Display) {
        writeln!(self.0, "{key}={value}").expect("a String takes everything");
    }
}
