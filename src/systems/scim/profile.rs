//! What a server can do, from its ServiceProviderConfig.

use serde_json::Value as Json;

use super::resource::{bool_of, member};

/// What a server can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// It takes PATCH; else accounts are replaced whole.
    pub patch: bool,
    /// It searches by filter; else the whole roster is read for a search.
    pub filter: bool,
    /// It checks `If-Match`.
    pub etag: bool,
    /// It pages by cursor and wants to (RFC 9865).
    pub cursor: bool,
    /// The most accounts that it gives in one answer.
    pub max_results: Option<usize>,
}

impl Profile {
    /// What is assumed of a server that does not say: the least that all have.
    pub const ASSUMED: Self = Self { patch: true, filter: true, etag: false, cursor: false, max_results: None };

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
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_server_says_is_believed_and_the_rest_assumed() {
        let assumed = Profile::ASSUMED;
        for (config, expected) in [
            (json!({}), assumed.clone()),
            (json!({"patch": {"supported": false}}), Profile { patch: false, ..assumed.clone() }),
            (
                json!({"patch": {"supported": "False"}, "etag": {"supported": "true"}}),
                Profile { patch: false, etag: true, ..assumed.clone() },
            ),
            (
                json!({"filter": {"supported": true, "maxResults": 200}}),
                Profile { max_results: Some(200), ..assumed.clone() },
            ),
            (
                json!({"pagination": {"cursor": true, "index": true, "defaultPaginationMethod": "index"}}),
                assumed.clone(),
            ),
            (
                json!({"pagination": {"cursor": true, "index": false, "maxPageSize": 50}}),
                Profile { cursor: true, max_results: Some(50), ..assumed.clone() },
            ),
        ] {
            assert_eq!(Profile::parse(&config), expected, "{config}");
        }
    }
}
