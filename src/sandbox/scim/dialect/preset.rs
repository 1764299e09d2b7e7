//! Habits that are met together: servers of one kind, under the name of what marks them.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::{Dialect, Quirk};

/// Servers of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// As the RFC says.
    #[default]
    Strict,
    /// Written for one client that capitalises the operations of PATCH and sends booleans as texts.
    Capitalised,
    /// Written for one client that replaces accounts whole.
    ReplaceOnly,
    /// A large directory in front of other systems: one value of each kind, equality filters, no paths with filters.
    SingleValued,
    /// An application with a little SCIM: filters by two names, and a limit of calls.
    NameFilters,
    /// Pages by cursor, and nothing else is special.
    Cursor,
    /// Home-grown: no discovery, no stamps, no versions, no error types, answers as short as can be.
    Bare,
    /// Ignores what it promises: versions, filters, the external id, the meaning of totals.
    Careless,
    /// Keeps values in a form of its own.
    Tidying,
}

impl Preset {
    /// Every one.
    pub const ALL: &[Self] = &[
        Self::Strict,
        Self::Capitalised,
        Self::ReplaceOnly,
        Self::SingleValued,
        Self::NameFilters,
        Self::Cursor,
        Self::Bare,
        Self::Careless,
        Self::Tidying,
    ];

    /// Its habits.
    pub fn dialect(self) -> Dialect {
        use Quirk::*;
        let habits: &[Quirk] = match self {
            Self::Strict => &[],
            Self::Capitalised => &[
                CapitalisedOperations,
                StringBooleans,
                StringBooleansDemanded,
                FilterEqualityOnly,
                PatchNoContent,
                NoEtag,
                SoftDelete,
            ],
            Self::ReplaceOnly => &[PatchUnsupported, FilterEqualityOnly, NoEtag, UniquenessAs400],
            Self::SingleValued => &[SingleValued, PathFiltersRefused, FilterEqualityOnly, NoEtag, PlainJson],
            Self::NameFilters => &[FilterByNameOnly, NoEtag, RateLimited(10), NumericStatus],
            Self::Cursor => &[CursorPaging],
            Self::Bare => &[
                NoDiscovery,
                NoMeta,
                NoScimType,
                NumericStatus,
                UniquenessAs400,
                ResourcesMissing,
                NoPageNumbers,
                EmptyBody,
                NumericIds,
                PlainJson,
                PatchNotAllowed,
            ],
            Self::Careless => &[
                EtagIgnored,
                FilterIgnored,
                TotalOfPage,
                StartIndexFromZero,
                ExternalIdDropped,
                ValuesReversed,
                TrailingSlash,
            ],
            Self::Tidying => {
                &[UserNameLowerCased, ValuesTrimmed, TruncateAt(40), PhonesReformatted, ValuesReversed, PatchNoContent]
            }
        };
        habits.iter().copied().collect()
    }
}
