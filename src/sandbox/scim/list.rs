//! Lists: filter, order, page.

use serde::Deserialize;
use serde_json::{Value, json};

use super::Scim;
use super::dialect::{Dialect, Quirk};
use super::directory::{Directory, sort_key};
use super::error::ScimError;
use super::filter;
use super::path::Path;
use super::project::Projection;
use super::schema::Type;
use crate::sandbox::faults::{Totals, Withhold};

/// What is asked for, in a URL or in the body of `.search`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Search {
    pub filter: Option<String>,
    #[serde(default, deserialize_with = "number")]
    start_index: Option<i64>,
    #[serde(default, deserialize_with = "number")]
    count: Option<i64>,
    /// Empty for the first page.
    cursor: Option<String>,
    sort_by: Option<String>,
    sort_order: Option<String>,
    #[serde(flatten)]
    pub projection: Projection,
}

/// Reads `17` and `"17"`: in a URL all is text.
fn number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Number(i64),
        Text(String),
    }
    match Option::<Number>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Number::Number(number)) => Ok(Some(number)),
        Some(Number::Text(text)) => text.parse().map(Some).map_err(serde::de::Error::custom),
    }
}

/// The list that answers a search among resources of these types.
pub(super) fn list(
    scim: &Scim,
    directory: &Directory,
    kinds: &[Type],
    search: &Search,
    withhold: Option<Withhold>,
    base: &str,
) -> Result<Value, ScimError> {
    let dialect = scim.dialect();
    let mut found = Vec::new();
    for kind in kinds {
        let filter = match &search.filter {
            Some(text) if !dialect.contains(&Quirk::FilterIgnored) => match filter::parse(text, *kind) {
                // Across types, an attribute that one type lacks is merely not there.
                Err(error) if kinds.len() > 1 && kinds.iter().any(|other| filter::parse(text, *other).is_ok()) => {
                    tracing::trace!(detail = error.detail, "the filter does not concern this type");
                    continue;
                }
                parsed => Some(parsed?),
            },
            _ => None,
        };
        if dialect.contains(&Quirk::FilterEqualityOnly)
            && filter.as_ref().is_some_and(|filter| !filter.is_equality_only())
        {
            return Err(ScimError::bad("invalidFilter", "only eq and and are supported"));
        }
        if dialect.contains(&Quirk::FilterByNameOnly) && filter.as_ref().is_some_and(|filter| !filter.is_by_name()) {
            return Err(ScimError::bad("invalidFilter", "only userName eq and externalId eq are supported"));
        }
        found.extend(directory.select(*kind, filter.as_ref()));
    }
    let all = found.len();
    found.retain(|resource| !withhold.is_some_and(|withhold| withhold.hides(&resource.id)));
    let kept = withhold.is_some_and(|withhold| withhold.totals == Totals::Kept);
    let total = if kept { all } else { found.len() };

    let descending = search.sort_order.as_deref().is_some_and(|order| order.eq_ignore_ascii_case("descending"));
    match search.sort_by.as_deref() {
        // They are already.
        Some("id") if kinds.len() == 1 && !descending => {}
        Some(name) => {
            let mut keyed: Vec<_> = found
                .into_iter()
                .map(|resource| {
                    let path = Path::resolve(resource.kind, name);
                    (path.map_or((true, String::new()), |path| sort_key(&resource.fields, &path)), resource)
                })
                .collect();
            keyed.sort_by(|(a, _), (b, _)| if descending { b.cmp(a) } else { a.cmp(b) });
            found = keyed.into_iter().map(|(_, resource)| resource).collect();
        }
        None => {}
    }

    let by_cursor = dialect.contains(&Quirk::CursorPaging);
    if search.cursor.is_some() && !by_cursor {
        return Err(ScimError::bad("invalidCursor", "lists are not paged by cursor"));
    }
    if search.cursor.is_some() && search.start_index.is_some() {
        return Err(ScimError::bad("invalidValue", "a page has a cursor or a startIndex"));
    }
    let first = i64::from(!dialect.contains(&Quirk::StartIndexFromZero));
    let start = search.start_index.unwrap_or(first).max(first);
    let (default_page, max_page) = scim.page_sizes();
    let count = search.count.map_or(default_page, |count| usize::try_from(count).unwrap_or(0)).min(max_page);
    let skip = match by_cursor {
        true => skip_of(search.cursor.as_deref().unwrap_or_default())?,
        false => usize::try_from(start - first).unwrap_or(usize::MAX),
    };
    let left = found.len().saturating_sub(skip);
    let resources: Vec<Value> = found
        .into_iter()
        .skip(skip)
        .take(count)
        .map(|resource| scim.shown(directory, resource, &search.projection, &dialect, base))
        .collect();
    let next = (by_cursor && left > count).then(|| format!("{CURSOR}{:x}", skip + count));
    let mut list = envelope(&dialect, total, start, resources);
    if let Some(fields) = list.as_object_mut().filter(|_| by_cursor) {
        fields.remove("startIndex");
        fields.extend(next.map(|next| ("nextCursor".to_owned(), Value::String(next))));
    }
    Ok(list)
}

/// What cursors begin with; the rest is how many resources came before.
const CURSOR: &str = "at-";

fn skip_of(cursor: &str) -> Result<usize, ScimError> {
    if cursor.is_empty() {
        return Ok(0);
    }
    let skip = cursor.strip_prefix(CURSOR).and_then(|skip| usize::from_str_radix(skip, 16).ok());
    skip.ok_or_else(|| ScimError::bad("invalidCursor", "the cursor is none of this service"))
}

/// The list around resources.
pub(super) fn envelope(dialect: &Dialect, total: usize, start: i64, resources: Vec<Value>) -> Value {
    let here = resources.len();
    let mut list = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
        "totalResults": if dialect.contains(&Quirk::TotalOfPage) { here } else { total },
        "startIndex": start,
        "itemsPerPage": here,
        "Resources": resources,
    });
    let Some(fields) = list.as_object_mut() else { return list };
    if here == 0 && dialect.contains(&Quirk::ResourcesNull) {
        fields.insert("Resources".into(), Value::Null);
    }
    if here == 0 && dialect.contains(&Quirk::ResourcesMissing) {
        fields.remove("Resources");
    }
    if dialect.contains(&Quirk::NoPageNumbers) {
        fields.remove("startIndex");
        fields.remove("itemsPerPage");
    }
    list
}
