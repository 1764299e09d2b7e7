//! How a server behaves: what it says of itself, corrected by what its answers showed. Pure: the client notes what was
//! seen, and asks what follows.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::attributes::ENTERPRISE;
use super::resource::{bool_of, member};
use super::style::{Style, Styles, Uses};

/// What a server says of itself, in its ServiceProviderConfig and its schemas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// It takes PATCH; else accounts are replaced whole.
    pub patch: bool,
    /// It searches by filter; else the whole roster is read for a search.
    pub filter: bool,
    /// It keeps versions.
    pub etag: bool,
    /// It pages by cursor and wants to (RFC 9865).
    pub cursor: bool,
    /// The most accounts that it gives in one answer.
    pub max_results: Option<usize>,
    /// Its schema has `active` as a text.
    pub text_booleans: bool,
}

impl Declared {
    /// What is assumed of a server that does not say: the least that all have.
    pub const ASSUMED: Self =
        Self { patch: true, filter: true, etag: false, cursor: false, max_results: None, text_booleans: false };

    /// Reads a ServiceProviderConfig; what it does not mention is as assumed.
    pub fn parse(config: &Json) -> Self {
        let of = |feature: &str, name: &str| member(member(config, feature)?, name).cloned();
        let supported =
            |feature: &str, assumed: bool| of(feature, "supported").as_ref().and_then(bool_of).unwrap_or(assumed);
        let pages = |method: &str| of("pagination", method).as_ref().and_then(bool_of);
        let by_default = of("pagination", "defaultPaginationMethod");
        let prefers_cursor = by_default.as_ref().and_then(Json::as_str).is_some_and(|method| method == "cursor");
        let max = |feature: &str, name: &str| of(feature, name).and_then(|max| max.as_u64()).filter(|max| *max > 0);
        let max_results = max("pagination", "maxPageSize").or_else(|| max("filter", "maxResults"));
        Self {
            patch: supported("patch", Self::ASSUMED.patch),
            filter: supported("filter", Self::ASSUMED.filter),
            etag: supported("etag", Self::ASSUMED.etag),
            cursor: pages("cursor") == Some(true) && (prefers_cursor || pages("index") == Some(false)),
            max_results: max_results.and_then(|max| usize::try_from(max).ok()),
            text_booleans: Self::ASSUMED.text_booleans,
        }
    }
}

/// One thing that an answer showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// PATCH as such was refused, whatever the server says of itself.
    PatchRefused,
    /// A write in this wording was carried out.
    Understood(Style, Uses),
    /// A write in this wording was refused, and so did nothing. `depth`: how far the server had read, see
    /// [`Styles::misunderstood`].
    Misunderstood {
        /// The wording.
        style: Style,
        /// What of it the write used.
        uses: Uses,
        /// How far the server had read.
        depth: u8,
    },
    /// A boolean was answered as a text.
    TextBoolean,
    /// `If-Match` with another version than the account's was refused.
    TagHeeded,
    /// `If-Match` with another version than the account's was passed over.
    TagIgnored,
    /// `If-Match` with the account's own version was refused.
    TagNeverMatches,
    /// A search listed accounts that do not have the value.
    FilterIgnored,
    /// Filters on this attribute, by its name in a filter, were refused.
    FilterRefused(&'static str),
    /// An account that was created with an external id came back without it.
    ExternalIdForgotten,
}

/// What a version tag is good for, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// The first write with a tag shows it.
    Unproven,
    /// A write with an old tag is refused: no read is needed before a write.
    Heeded,
    /// Tags are passed over, or no tag ever matches. Before each write the account is read and compared; an edit by a
    /// person between that read and the write, which is one call, is overwritten unseen.
    Useless {
        /// Whether a write with a tag is carried out at all.
        sent: bool,
    },
}

/// How a server behaves, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// What it says of itself.
    pub declared: Declared,
    /// What its version tags are good for.
    pub guard: Guard,
    /// How writes are worded for it.
    pub styles: Styles,
    /// It drops the partner's id.
    pub forgets_external_id: bool,
    patch_refused: bool,
    filters_ignored: bool,
    filters_refused: BTreeSet<&'static str>,
}

impl Profile {
    /// A server of which only its own word is known.
    pub fn new(declared: Declared) -> Self {
        let mut styles = Styles::default();
        if declared.text_booleans {
            styles.prefer_text_booleans();
        }
        Self {
            declared,
            guard: Guard::Unproven,
            styles,
            forgets_external_id: false,
            patch_refused: false,
            filters_ignored: false,
            filters_refused: BTreeSet::new(),
        }
    }

    /// Notes what was seen.
    pub fn learn(&mut self, seen: Seen) {
        match seen {
            Seen::PatchRefused => self.patch_refused = true,
            Seen::Understood(style, uses) => self.styles.understood(style, uses),
            Seen::Misunderstood { style, uses, depth } => self.styles.misunderstood(style, uses, depth),
            Seen::TextBoolean => self.styles.prefer_text_booleans(),
            Seen::TagHeeded => self.guard = Guard::Heeded,
            Seen::TagIgnored => self.guard = Guard::Useless { sent: true },
            Seen::TagNeverMatches => self.guard = Guard::Useless { sent: false },
            Seen::FilterIgnored => self.filters_ignored = true,
            Seen::FilterRefused(name) => drop(self.filters_refused.insert(name)),
            Seen::ExternalIdForgotten => self.forgets_external_id = true,
        }
    }

    /// Whether accounts can be patched.
    pub fn patches(&self) -> bool {
        self.declared.patch && !self.patch_refused
    }

    /// Whether accounts are found by a filter on the attribute of this name.
    pub fn filters_by(&self, name: &str) -> bool {
        self.declared.filter && !self.filters_ignored && !self.filters_refused.contains(name)
    }

    /// Whether an account's tag tells better than its stamp if it changed.
    pub fn tags_count(&self) -> bool {
        self.declared.etag || self.guard == Guard::Heeded
    }

    /// Whether writes carry the tag.
    pub fn sends_tags(&self) -> bool {
        self.guard != Guard::Useless { sent: false }
    }
}

/// What the schemas of a server say that matters here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Schemas {
    /// `active` is a text.
    pub text_booleans: bool,
    /// Canonical names that the server's schemas lack.
    pub missing: Vec<&'static str>,
    /// Canonical names that the server keeps to itself.
    pub read_only: Vec<&'static str>,
}

impl Schemas {
    /// Reads the resources of `/Schemas`; `None` if the User is not among them.
    pub fn parse(schemas: &[Json]) -> Option<Self> {
        use super::attributes::{ATTRIBUTES, Place, USER};
        let schema = |urn: &str| {
            let named = |schema: &&Json| {
                member(schema, "id").and_then(Json::as_str).is_some_and(|id| id.eq_ignore_ascii_case(urn))
            };
            schemas.iter().find(named)
        };
        let within = |outer: Option<&Json>, list: &str, name: &str| {
            let attributes = member(outer?, list)?.as_array()?;
            let named = |attribute: &&Json| {
                member(attribute, "name").and_then(Json::as_str).is_some_and(|known| known.eq_ignore_ascii_case(name))
            };
            attributes.iter().find(named).cloned()
        };
        let user = schema(USER)?;
        let of_user = |name: &str| within(Some(user), "attributes", name);
        let mut found = Self::default();
        for attribute in ATTRIBUTES {
            let described = match attribute.place {
                Place::Top(name) | Place::Entry(name, _) => of_user(name),
                Place::Within(outer, name) => within(of_user(outer).as_ref(), "subAttributes", name),
                Place::Enterprise(name) => within(schema(ENTERPRISE), "attributes", name),
            };
            let text = |name: &str| described.as_ref().and_then(|described| member(described, name)?.as_str());
            match text("mutability") {
                _ if described.is_none() => found.missing.push(attribute.canonical),
                Some("readOnly") => found.read_only.push(attribute.canonical),
                _ => {}
            }
            found.text_booleans |= attribute.canonical == "active" && text("type") == Some("string");
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_server_says_is_believed_and_the_rest_assumed() {
        let assumed = Declared::ASSUMED;
        for (config, expected) in [
            (json!({}), assumed.clone()),
            (json!({"patch": {"supported": false}}), Declared { patch: false, ..assumed.clone() }),
            (
                json!({"patch": {"supported": "False"}, "etag": {"supported": "true"}}),
                Declared { patch: false, etag: true, ..assumed.clone() },
            ),
            (
                json!({"filter": {"supported": true, "maxResults": 200}}),
                Declared { max_results: Some(200), ..assumed.clone() },
            ),
            (
                json!({"pagination": {"cursor": true, "index": true, "defaultPaginationMethod": "index"}}),
                assumed.clone(),
            ),
            (
                json!({"pagination": {"cursor": true, "index": false, "maxPageSize": 50}}),
                Declared { cursor: true, max_results: Some(50), ..assumed.clone() },
            ),
        ] {
            assert_eq!(Declared::parse(&config), expected, "{config}");
        }
    }

    #[test]
    fn what_was_seen_counts_more_than_what_was_said() {
        let mut profile = Profile::new(Declared { etag: true, ..Declared::ASSUMED });
        assert!(profile.patches() && profile.filters_by("userName") && profile.sends_tags() && profile.tags_count());
        profile.learn(Seen::PatchRefused);
        profile.learn(Seen::FilterRefused("externalId"));
        assert!(!profile.patches() && profile.filters_by("userName") && !profile.filters_by("externalId"));
        profile.learn(Seen::FilterIgnored);
        profile.learn(Seen::TagNeverMatches);
        assert!(!profile.filters_by("userName") && !profile.sends_tags());
        profile.learn(Seen::TagIgnored);
        assert!(profile.sends_tags());
    }

    #[test]
    fn schemas_name_what_is_missing_and_what_is_read_only() {
        let user = json!({"id": "urn:ietf:params:scim:schemas:core:2.0:User", "attributes": [
            {"name": "USERNAME", "mutability": "readWrite"},
            {"name": "name", "subAttributes": [{"name": "givenName", "mutability": "readOnly"}]},
            {"name": "active", "type": "string"},
        ]});
        let schemas = Schemas::parse(&[user]).unwrap();
        assert_eq!((schemas.text_booleans, schemas.read_only.as_slice()), (true, &["name.givenName"][..]));
        assert!(schemas.missing.contains(&"name.familyName") && schemas.missing.contains(&"emails"));
        assert!(schemas.missing.iter().any(|name| name.ends_with(":department")));
        assert!(!schemas.missing.contains(&"userName"));
        assert_eq!(Schemas::parse(&[]), None);
    }
}
