//! Which column of a file has the accounts of which side.

use super::Desk;
use crate::config::Config;
use crate::domain::{Side, Sides};

/// What the column of each side may be called, the surest name first, brought to one form by [`plain`].
pub(super) fn names(desk: &Desk<'_>, config: &Config) -> Sides<Names> {
    let systems = &desk.connection.systems;
    Sides::from_fn(|side| {
        let system = systems[side].as_str();
        let mut headers = vec![side.as_str().to_owned()];
        if systems.a != systems.b {
            headers.extend([system.to_owned(), format!("{system} id"), format!("{system} account")]);
        }
        let end = |side: Side| config.connections.get(desk.name).map(|connection| &connection.ends[side]);
        // The field of the other side that holds the partner's id holds the id of this side's account.
        let field = end(side.other()).and_then(|end| end.partner.as_ref()).map(|field| field.name.clone());
        headers.extend(field);
        let kind = config.systems.get(&systems[side]).map(|system| &system.kind);
        let object = end(side).map(|end| end.object.as_str()).unwrap_or_default();
        let known = kind.map(|kind| kind.id_headers(object)).unwrap_or_default();
        headers.extend(known.iter().map(|header| (*header).to_owned()));
        Names {
            headers: headers.iter().map(|header| plain(header)).collect(),
            partners: kind.is_some_and(|kind| kind.takes_partner_ids()),
            called: [Some(system), kind.map(|kind| kind.word())].into_iter().flatten().map(plain).collect(),
        }
    })
}

/// What is known of the column of one side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    /// Headers, the surest first.
    pub(super) headers: Vec<String>,
    /// The ids of this system are those of the partner's, so that one column tells both.
    pub(super) partners: bool,
    /// What a column named System calls it.
    pub(super) called: Vec<String>,
}

/// A header in one form: small letters and digits, with a space between words, and without the mark of custom fields.
pub(super) fn plain(header: &str) -> String {
    let text = header.trim();
    let text = text.strip_suffix("__c").unwrap_or(text).to_lowercase();
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_the_same_however_they_are_written() {
        for header in ["Operator ID", "operator_id", "Operator_ID__c", " OPERATOR-ID "] {
            assert_eq!(plain(header), "operator id", "{header}");
        }
    }
}
