//! How servers in the field differ from the RFC: one switch for each habit.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::path::Path;
use super::schema::{Kind, Type};

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
    /// PUT and PATCH answer 200 with an empty body.
    EmptyBody,
    /// No `ETag`, no `meta.version`, `If-Match` is ignored.
    NoEtag,
    /// `ETag` is sent, but `If-Match` is ignored.
    EtagIgnored,
    /// Booleans are answered as `"True"` and `"False"`, and taken so.
    StringBooleans,
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
    /// Filters are ignored: everything is listed.
    FilterIgnored,
    /// Filters other than `eq` joined by `and` are refused.
    FilterEqualityOnly,
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
    /// Content type is `application/json`.
    PlainJson,
    /// There is no `/ServiceProviderConfig`, `/ResourceTypes`, `/Schemas`.
    NoDiscovery,
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
    if !dialect.contains(&Quirk::StringBooleans) {
        return;
    }
    for (name, value) in input.as_object_mut().into_iter().flatten() {
        if Path::resolve(kind, name).is_some_and(|path| is_boolean(&path)) {
            boolean_of_text(value);
        }
    }
}

/// The same for one operation of a PATCH.
pub(super) fn accept_operation(dialect: &Dialect, kind: Type, operation: &mut Value) {
    let path = operation["path"].as_str().and_then(|path| Path::resolve(kind, path));
    let Some(value) = operation.get_mut("value") else { return };
    match path {
        None => accept(dialect, kind, value),
        Some(path) if is_boolean(&path) && dialect.contains(&Quirk::StringBooleans) => boolean_of_text(value),
        Some(_) => {}
    }
}

fn is_boolean(path: &Path) -> bool {
    path.compared().is_some_and(|attribute| attribute.kind == Kind::Boolean)
}

fn boolean_of_text(value: &mut Value) {
    if let Some(flag) = value.as_str().and_then(|text| text.to_lowercase().parse::<bool>().ok()) {
        *value = json!(flag);
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
    if dialect.contains(&Quirk::NoEtag)
        && let Some(Value::Object(meta)) = resource.get_mut("meta")
    {
        meta.remove("version");
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
