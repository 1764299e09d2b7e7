//! Whom an account names as its partner: by one field, or by a field with the id and another one that must be filled (R4).

use super::Connection;
use crate::config::PartnerField;
use crate::domain::{AccountId, AttributePath, Side, Snapshot, Value};

/// The fields by which accounts of a side name their partner, where the configuration names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartnerFields {
    /// The field of the id, as people call it.
    pub id: String,
    /// The field that must be filled for the id to count, as people call it, and the attribute that tells whether it is.
    pub requires: Option<(String, AttributePath)>,
}

impl PartnerFields {
    /// What the configuration says.
    pub(super) fn new(field: &PartnerField) -> Self {
        let attribute = |name: &String| Some((name.clone(), AttributePath::native(name).ok()?));
        Self { id: field.name.clone(), requires: field.requires.as_ref().and_then(attribute) }
    }
}

/// Whom an account names as its partner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Naming {
    /// Nobody.
    Nobody,
    /// This account of the other side.
    Partner(AccountId),
    /// Nobody yet: one of the two fields is empty.
    Half {
        /// The one that is filled.
        filled: String,
        /// The one that is not.
        empty: String,
    },
    /// Something that is no id on the other side, in a field that is there for such ids (R5).
    NoId {
        /// The field.
        field: String,
    },
}

impl Connection {
    /// The account of the other side that one of `side` names as its partner, so that a reading of it links the two.
    pub fn partner_named(&self, side: Side, snapshot: &Snapshot) -> Option<AccountId> {
        match self.naming(side, snapshot) {
            Naming::Partner(partner) => Some(partner),
            Naming::Nobody | Naming::Half { .. } | Naming::NoId { .. } => None,
        }
    }

    /// Whom an account of `side` names as its partner.
    pub(super) fn naming(&self, side: Side, snapshot: &Snapshot) -> Naming {
        let id = snapshot.partner.as_ref();
        let partner = id.and_then(|id| self.parse_id(side.other(), id.as_str()));
        let Some(fields) = &self.partners[side] else {
            // Something else kept in such a field (another tool's id) is no partner.
            return partner.map_or(Naming::Nobody, Naming::Partner);
        };
        let field = || fields.id.clone();
        if let Some((name, attribute)) = &fields.requires {
            let is_filled = snapshot.attributes.get(attribute) == Some(&Some(Value::Bool(true)));
            match (id.is_some(), is_filled) {
                (true, false) => return Naming::Half { filled: field(), empty: name.clone() },
                (false, true) => return Naming::Half { filled: name.clone(), empty: field() },
                (true, true) | (false, false) => {}
            }
        }
        match (id, partner) {
            (None, _) => Naming::Nobody,
            (Some(_), Some(partner)) => Naming::Partner(partner),
            (Some(_), None) => Naming::NoId { field: field() },
        }
    }
}
