//! What is told apart by its look alone. Derived, each wrong guess would cost an error with a text: a link has dozens.

use std::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{Generations, Name};

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;

        impl Visitor<'_> for Names {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an attribute's place or path")
            }

            fn visit_u64<E: Error>(self, place: u64) -> Result<Name, E> {
                usize::try_from(place).map(Name::Short).map_err(E::custom)
            }

            fn visit_str<E: Error>(self, path: &str) -> Result<Name, E> {
                path.parse().map(Name::Full).map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Names)
    }
}

impl<'de> Deserialize<'de> for Generations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Numbers;

        impl<'de> Visitor<'de> for Numbers {
            type Value = Generations;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a generation, or three")
            }

            fn visit_u64<E: Error>(self, all: u64) -> Result<Generations, E> {
                u32::try_from(all).map(Generations::InStep).map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<Generations, A::Error> {
                let mut next = |place| numbers.next_element()?.ok_or_else(|| A::Error::invalid_length(place, &self));
                Ok(Generations::Apart(next(0)?, next(1)?, next(2)?))
            }
        }

        deserializer.deserialize_any(Numbers)
    }
}
