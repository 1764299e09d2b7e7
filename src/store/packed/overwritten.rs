//! The form in which a store keeps what a write overwrites: an array, with attributes by their place in the list of short
//! names where they have one.
//!
//! ```text
//! ["<link>",<epoch>,"b",["<account a>","<account b>"],<at>,"u",[[8,<generation>,<digest>,["value"]],[9,<generation>,<digest>]]]
//! ```
//!
//! A value that was not known is left out; one that was not there is `[null]`.

use serde::{Deserialize, Serialize};

use super::{Name, UnpackError};
use crate::domain::undo::{Act, Before, Overwritten, Replaced};
use crate::domain::{AccountId, Digest, Epoch, LinkId, Side, Sides, Timestamp, Value};

#[derive(Serialize, Deserialize)]
struct Packed(LinkId, Epoch, Side, (Option<AccountId>, Option<AccountId>), Timestamp, Act, Vec<PackedValue>);

#[derive(Serialize, Deserialize)]
struct PackedValue(Name, u32, Digest, #[serde(default, skip_serializing_if = "Vec::is_empty")] Vec<Option<Value>>);

impl Overwritten {
    /// As text.
    pub(in crate::store) fn packed(&self) -> String {
        let value = |Replaced { path, generation, wrote, before }: &Replaced| {
            let before = match before {
                Before::Held(value) => vec![value.clone()],
                Before::Unknown => Vec::new(),
            };
            PackedValue(Name::of(path), *generation, *wrote, before)
        };
        let accounts = (self.accounts.a.clone(), self.accounts.b.clone());
        let values = self.values.iter().map(value).collect();
        serde_json::to_string(&Packed(self.link, self.epoch, self.side, accounts, self.at, self.act, values))
            .expect("domain types have string keys, so they are JSON")
    }

    /// From its text.
    pub(in crate::store) fn unpacked(text: &str) -> Result<Self, UnpackError> {
        let Packed(link, epoch, side, (a, b), at, act, values) =
            serde_json::from_str(text).map_err(|error| UnpackError::Form { column: error.column() })?;
        let value = |PackedValue(name, generation, wrote, before): PackedValue| {
            let before = before.into_iter().next().map_or(Before::Unknown, Before::Held);
            Ok(Replaced { path: name.path()?, generation, wrote, before })
        };
        let values = values.into_iter().map(value).collect::<Result<_, UnpackError>>()?;
        Ok(Self { link, epoch, side, accounts: Sides { a, b }, at, act, values })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// B13: what is not known, what is not there and what is are told apart.
    #[test]
    fn what_a_write_overwrites_comes_back_whole() {
        let id = |text: &str| Some(text.parse().unwrap());
        let value = |path: &str, generation, before| Replaced {
            path: path.parse().unwrap(),
            generation,
            wrote: Digest(u64::MAX - u64::from(generation)),
            before,
        };
        for act in
            [Act::Created, Act::Made, Act::Changed, Act::Kept, Act::Parted(crate::domain::rules::Departure::Detach)]
        {
            let whole = Overwritten {
                link: LinkId(77),
                epoch: Epoch(u64::MAX - 1),
                side: Side::B,
                accounts: Sides { a: id("u1"), b: (act != Act::Created).then(|| "t1".parse().unwrap()) },
                at: Timestamp(1_700_000_000_000),
                act,
                values: vec![
                    value("title", 3, Before::Held(Some(Value::from("Captain")))),
                    value("urn:example:odd", 4, Before::Held(None)),
                    value("active", 5, Before::Unknown),
                    value("userType", 6, Before::Held(Some(Value::Bool(false)))),
                ],
            };
            let text = whole.packed();
            assert_eq!(Overwritten::unpacked(&text).unwrap(), whole, "{text}");
        }
    }
}
