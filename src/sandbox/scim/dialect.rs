//! How servers in the field differ from the RFC: one switch for each habit.

mod preset;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::error::ScimError;
use super::filter::{Target, parse_target};
use super::path::Path;
use super::schema::{Attribute, Kind, Type};

pub use preset::Preset;

/// The habits of a server. None of them: as the RFC says.
pub type Dialect = BTreeSet<Quirk>;

/// One habit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quirk {
    /// PATCH answers 204 without a body.
    PatchNoContent,
    /// PATCH answers 501, and the service provider configuration says so.
    PatchUnsupported,
    /// PATCH answers 405, and the service provider configuration says that it is supported.
    PatchNotAllowed,
    /// PATCH takes `Add`, `Replace` and `Remove` only, with the capital.
    CapitalisedOperations,
    /// PATCH refuses paths with a filter, such as `emails[type eq "work"].value`.
    PathFiltersRefused,
    /// POST, PUT and PATCH answer with an empty body.
    EmptyBody,
    /// No `ETag`, no `meta.version`, `If-Match` is ignored.
    NoEtag,
    /// `ETag` is sent, but `If-Match` is ignored.
    EtagIgnored,
    /// Nothing has `meta`: no stamps, no versions. No `ETag` either.
    NoMeta,
    /// Booleans are answered as `"True"` and `"False"`, and taken so.
    StringBooleans,
    /// Booleans are taken as `"True"` and `"False"` only.
    StringBooleansDemanded,
    /// Errors have no `scimType`.
    NoScimType,
    /// `status` of an error is a number.
    NumericStatus,
    /// A user name that is taken is answered with 400 instead of 409.
    UniquenessAs400,
    /// An empty list has `Resources: null`.
    ResourcesNull,
    /// An empty list has no `Resources`.
    ResourcesMissing,
    /// Lists have no `startIndex` and no `itemsPerPage`.
    NoPageNumbers,
    /// `totalResults` counts the page only.
    TotalOfPage,
    /// `startIndex` counts from 0.
    StartIndexFromZero,
    /// Lists are paged by cursor only (RFC 9865), and `startIndex` is ignored.
    CursorPaging,
    /// Filters are ignored: everything is listed.
    FilterIgnored,
    /// Filters other than `eq` joined by `and` are refused.
    FilterEqualityOnly,
    /// Filters other than `userName eq` and `externalId eq` are refused.
    FilterByNameOnly,
    /// User names are stored in small letters.
    UserNameLowerCased,
    /// Space around texts is dropped.
    ValuesTrimmed,
    /// Texts are cut after this many characters; names, ids and addresses that identify are not.
    TruncateAt(usize),
    /// Phone numbers are stored as digits alone.
    PhonesReformatted,
    /// `externalId` is accepted and forgotten.
    ExternalIdDropped,
    /// Values of `emails` and the like are answered in another order.
    ValuesReversed,
    /// More than one value of `emails` and the like is refused.
    SingleValued,
    /// DELETE only hides: the user name stays taken.
    SoftDelete,
    /// Ids are numbers.
    NumericIds,
    /// Addresses end with a slash, and one that does not is redirected.
    TrailingSlash,
    /// Every so many requests, one is answered 429 with `Retry-After`. 0 and 1 refuse every one.
    RateLimited(u64),
    /// Content type is `application/json`.
    PlainJson,
    /// There is no `/ServiceProviderConfig`, `/ResourceTypes`, `/Schemas`.
    NoDiscovery,
}

impl Quirk {
    /// Every habit, for tests that try them all; those with a number have a small one.
    pub const ALL: [Self; 36] = [
        Self::PatchNoContent,
        Self::PatchUnsupported,
        Self::PatchNotAllowed,
        Self::CapitalisedOperations,
        Self::PathFiltersRefused,
        Self::EmptyBody,
        Self::NoEtag,
        Self::EtagIgnored,
        Self::NoMeta,
        Self::StringBooleans,
        Self::StringBooleansDemanded,
        Self::NoScimType,
        Self::NumericStatus,
        Self::UniquenessAs400,
        Self::ResourcesNull,
        Self::ResourcesMissing,
        Self::NoPageNumbers,
        Self::TotalOfPage,
        Self::StartIndexFromZero,
        Self::CursorPaging,
        Self::FilterIgnored,
        Self::FilterEqualityOnly,
        Self::FilterByNameOnly,
        Self::UserNameLowerCased,
        Self::ValuesTrimmed,
        Self::TruncateAt(40),
        Self::PhonesReformatted,
        Self::ExternalIdDropped,
        Self::ValuesReversed,
        Self::SingleValued,
        Self::SoftDelete,
        Self::NumericIds,
        Self::TrailingSlash,
        Self::RateLimited(5),
        Self::PlainJson,
        Self::NoDiscovery,
    ];
}

/// Whether versions of resources are shown and checked at all.
pub(super) fn has_versions(dialect: &Dialect) -> bool {
    !dialect.contains(&Quirk::NoEtag) && !dialect.contains(&Quirk::NoMeta)
}

/// Changes what was sent to what such a server stores.
pub(super) fn store(dialect: &Dialect, resource: &mut Map<String, Value>) {
    if dialect.contains(&Quirk::ExternalIdDropped) {
        resource.remove("externalId");
    }
    if dialect.contains(&Quirk::UserNameLowerCased)
        && let Some(Value::String(name)) = resource.get_mut("userName")
    {
        *name = name.to_lowercase();
    }
    if dialect.contains(&Quirk::PhonesReformatted) {
        for number in resource.get_mut("phoneNumbers").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(Value::String(number)) = number.get_mut("value") {
                number.retain(|c| c.is_ascii_digit());
            }
        }
    }
    if dialect.contains(&Quirk::ValuesTrimmed) {
        each_text(resource, &mut |text| *text = text.trim().to_owned());
    }
    let limit = dialect.iter().find_map(|quirk| if let Quirk::TruncateAt(limit) = quirk { Some(*limit) } else { None });
    if let Some(limit) = limit {
        let identifying = ["schemas", "userName", "externalId", "emails", "members"];
        let kept: Vec<_> = identifying.iter().filter_map(|name| resource.remove_entry(*name)).collect();
        each_text(resource, &mut |text| *text = text.chars().take(limit).collect());
        resource.extend(kept);
    }
}

/// Reads booleans sent as texts, where such a server does.
pub(super) fn accept(dialect: &Dialect, kind: Type, input: &mut Value) {
    if !takes_texts(dialect) {
        return;
    }
    for (name, value) in input.as_object_mut().into_iter().flatten() {
        if let Some(attribute) = Path::resolve(kind, name).and_then(|path| path.sub.or(path.attribute)) {
            booleans_of_texts(attribute, value);
        }
    }
}

/// The same for one operation of a PATCH.
pub(super) fn accept_operation(dialect: &Dialect, kind: Type, operation: &mut Value) {
    let target = operation["path"].as_str().map(|path| parse_target(path, kind));
    let Some(value) = operation.get_mut("value") else { return };
    match target {
        None => accept(dialect, kind, value),
        Some(Ok(Target { path, .. })) if takes_texts(dialect) => {
            if let Some(attribute) = path.sub.or(path.attribute) {
                booleans_of_texts(attribute, value);
            }
        }
        Some(_) => {}
    }
}

/// Refuses what a client of such a server must not send.
///
/// # Errors
/// `invalidValue` for booleans that are none of its texts.
pub(super) fn check_body(dialect: &Dialect, body: &Value) -> Result<(), ScimError> {
    if dialect.contains(&Quirk::StringBooleansDemanded) && has_boolean(body) {
        return Err(ScimError::bad("invalidValue", "a boolean is \"True\" or \"False\""));
    }
    Ok(())
}

/// The same for a PATCH.
///
/// # Errors
/// Also `invalidSyntax` for operations and `invalidPath` for paths that such a server does not know.
pub(super) fn check_patch(dialect: &Dialect, request: &Value) -> Result<(), ScimError> {
    check_body(dialect, request)?;
    for operation in request["Operations"].as_array().into_iter().flatten() {
        let capitalised = matches!(operation["op"].as_str(), Some("Add" | "Replace" | "Remove"));
        if dialect.contains(&Quirk::CapitalisedOperations) && !capitalised {
            return Err(ScimError::bad("invalidSyntax", "op is none of Add, Replace, Remove"));
        }
        let filters = operation["path"].as_str().is_some_and(|path| path.contains('['));
        if dialect.contains(&Quirk::PathFiltersRefused) && filters {
            return Err(ScimError::bad("invalidPath", "a path has no filter here"));
        }
    }
    Ok(())
}

fn takes_texts(dialect: &Dialect) -> bool {
    dialect.contains(&Quirk::StringBooleans) || dialect.contains(&Quirk::StringBooleansDemanded)
}

fn has_boolean(value: &Value) -> bool {
    match value {
        Value::Bool(_) => true,
        Value::Array(items) => items.iter().any(has_boolean),
        Value::Object(fields) => fields.values().any(has_boolean),
        _ => false,
    }
}

fn booleans_of_texts(attribute: &Attribute, value: &mut Value) {
    match value {
        Value::String(text) if attribute.kind == Kind::Boolean => {
            if let Ok(flag) = text.to_lowercase().parse::<bool>() {
                *value = json!(flag);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| booleans_of_texts(attribute, item)),
        Value::Object(fields) => {
            for (name, value) in fields {
                if let Some(sub) = attribute.sub(name) {
                    booleans_of_texts(sub, value);
                }
            }
        }
        _ => {}
    }
}

/// Changes a resource to what such a server answers.
pub(super) fn show(dialect: &Dialect, resource: &mut Map<String, Value>) {
    if dialect.contains(&Quirk::StringBooleans) {
        resource.values_mut().for_each(booleans_as_text);
    }
    if dialect.contains(&Quirk::ValuesReversed) {
        for name in ["emails", "phoneNumbers", "addresses", "roles", "members"] {
            if let Some(Value::Array(items)) = resource.get_mut(name) {
                items.reverse();
            }
        }
    }
    if !has_versions(dialect)
        && let Some(Value::Object(meta)) = resource.get_mut("meta")
    {
        meta.remove("version");
    }
    if dialect.contains(&Quirk::NoMeta) {
        resource.remove("meta");
    }
    if dialect.contains(&Quirk::NumericIds)
        && let Some(Value::String(id)) = resource.get_mut("id")
        && let Ok(number) = id.parse::<u64>()
    {
        resource.insert("id".into(), json!(number));
    }
}

fn booleans_as_text(value: &mut Value) {
    match value {
        Value::Bool(flag) => *value = json!(if *flag { "True" } else { "False" }),
        Value::Array(items) => items.iter_mut().for_each(booleans_as_text),
        Value::Object(fields) => fields.values_mut().for_each(booleans_as_text),
        _ => {}
    }
}

fn each_text(fields: &mut Map<String, Value>, change: &mut impl FnMut(&mut String)) {
    fields.values_mut().for_each(|value| each_text_in(value, change));
}

fn each_text_in(value: &mut Value, change: &mut impl FnMut(&mut String)) {
    match value {
        Value::String(text) => change(text),
        Value::Array(items) => items.iter_mut().for_each(|item| each_text_in(item, change)),
        Value::Object(fields) => fields.values_mut().for_each(|value| each_text_in(value, change)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_all_habits_has_all() {
        let unknown = serde_json::from_str::<Quirk>("\"?\"").unwrap_err().to_string();
        // "unknown variant `?`, expected one of `patch-no-content`, ...": every other piece between ticks.
        let known: BTreeSet<&str> = unknown.split('`').skip(3).step_by(2).collect();
        let listed: BTreeSet<String> = Quirk::ALL
            .iter()
            .map(|quirk| match serde_json::to_value(quirk).unwrap() {
                Value::Object(numbered) => numbered.keys().next().unwrap().clone(),
                name => name.as_str().unwrap().to_owned(),
            })
            .collect();
        assert_eq!(listed.iter().map(String::as_str).collect::<BTreeSet<_>>(), known);
        assert_eq!(listed.len(), Quirk::ALL.len());
    }
}
