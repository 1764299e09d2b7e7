//! The form in which a store keeps what a write overwrites: an array, with attributes by their place in the list of short
//! names where they have one.
//!
//! ```text
//! ["<link>","b",["<account a>","<account b>"],<at>,"u",[[8,<generation>,["value"]],[9,<generation>]]]
//! ```
//!
//! A value that was not known is left out; one that was not there is `[null]`.

use serde::{Deserialize, Serialize};

use super::{Name, UnpackError};
use crate::domain::undo::{Act, Before, Overwritten};
use crate::domain::{AccountId, LinkId, Side, Timestamp, Value};

#[derive(Serialize, Deserialize)]
struct Packed(LinkId, Side, (Option<AccountId>, Option<AccountId>), Timestamp, Act, Vec<PackedValue>);

#[derive(Serialize, Deserialize)]
struct PackedValue(Name, u32, #[serde(default, skip_serializing_if = "Vec::is_empty")] Vec<Option<Value>>);

impl Overwritten {
    /// As text.
    pub(in crate::store) fn packed(&self) -> String {
        let value = |(path, generation, before): &(_, u32, Before)| {
            let before = match before {
                Before::Held(value) => vec![value.clone()],
                Before::Unknown => Vec::new(),
            };
            PackedValue(Name::of(path), *generation, before)
        };
        let accounts = (self.accounts.a.clone(), self.accounts.b.clone());
        let values = self.values.iter().map(value).collect();
        serde_json::to_string(&Packed(self.link, self.side, accounts, self.at, self.act, values))
            .expect("domain types have string keys, so they are JSON")
    }

    /// From its text.
    pub(in crate::store) fn unpacked(text: &str) -> Result<Self, UnpackError> {
        let Packed(link, side, (a, b), at, act, values) =
            serde_json::from_str(text).map_err(|error| UnpackError::Form { column: error.column() })?;
        let value = |PackedValue(name, generation, before): PackedValue| {
            Ok((name.path()?, generation, before.into_iter().next().map_or(Before::Unknown, Before::Held)))
        };
        let values = values.into_iter().map(value).collect::<Result<_, UnpackError>>()?;
        Ok(Self { link, side, accounts: crate::domain::Sides { a, b }, at, act, values })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Sides;

    /// B13: what is not known, what is not there and what is are told apart.
    #[test]
    fn what_a_write_overwrites_comes_back_whole() {
        let id = |text: &str| Some(text.parse().unwrap());
        for act in [Act::Created, Act::Changed, Act::Parted(crate::domain::rules::Departure::Detach)] {
            let whole = Overwritten {
                link: LinkId(77),
                side: Side::B,
                accounts: Sides { a: id("u1"), b: (act != Act::Created).then(|| "t1".parse().unwrap()) },
                at: Timestamp(1_700_000_000_000),
                act,
                values: vec![
                    ("title".parse().unwrap(), 3, Before::Held(Some(Value::from("Captain")))),
                    ("urn:example:odd".parse().unwrap(), 4, Before::Held(None)),
                    ("active".parse().unwrap(), 5, Before::Unknown),
                    ("userType".parse().unwrap(), 5, Before::Held(Some(Value::Bool(false)))),
                ],
            };
            let text = whole.packed();
            assert_eq!(Overwritten::unpacked(&text).unwrap(), whole, "{text}");
        }
    }
}
