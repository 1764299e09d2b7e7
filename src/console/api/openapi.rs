//! The description of the API, OpenAPI 3.1, made from the table of endpoints. Committed as `docs/openapi.json`.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::{Endpoint, ROOT, endpoints};
use crate::console::problem::Told;

/// What may be answered instead, with the reason.
const PROBLEMS: [(&str, &str); 11] = [
    ("400", "What was sent cannot be understood."),
    ("401", "The token is missing or not known."),
    ("403", "The role does not allow it, or the request came from a page of another origin."),
    ("404", "There is no such thing."),
    ("405", "The path does not know this method."),
    ("409", "It cannot be done as things are."),
    ("413", "The request is too long."),
    ("415", "The body is not JSON."),
    ("500", "It failed."),
    ("503", "The store does not answer, or too many requests are under way."),
    ("504", "It took too long."),
];

/// The description.
pub fn openapi() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let problem = generator.subschema_for::<Told>();
    let mut paths = Map::new();
    for endpoint in endpoints::all() {
        let method = endpoint.method.as_str().to_lowercase();
        let operation = operation(&endpoint, &mut generator);
        let path = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        path[method] = operation;
    }
    let responses: Map<String, Value> = PROBLEMS
        .iter()
        .map(|(status, text)| {
            let content = json!({ "application/json": { "schema": problem } });
            (format!("Problem{status}"), json!({ "description": text, "content": content }))
        })
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Muster",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
            "description": "What operators of Muster do, over HTTP. Values of accounts are only shown to operators and above.",
        },
        "servers": [{ "url": ROOT }],
        "security": [{ "bearer": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "bearer": { "type": "http", "scheme": "bearer" } },
            "schemas": generator.take_definitions(true),
            "responses": responses,
        },
    })
}

fn operation(endpoint: &Endpoint, generator: &mut SchemaGenerator) -> Value {
    let described = (endpoint.describe)(generator);
    let mut input = described.input.to_value();
    let in_path: Vec<String> = endpoint
        .path
        .split('/')
        .filter_map(|part| Some(part.strip_prefix('{')?.strip_suffix('}')?.to_owned()))
        .collect();
    let required: Vec<String> = input["required"]
        .as_array()
        .map(|names| names.iter().filter_map(|name| Some(name.as_str()?.to_owned())).collect())
        .unwrap_or_default();
    let mut properties = input["properties"].as_object().cloned().unwrap_or_default();
    let mut parameters = Vec::new();
    let mut parameter = |name: &str, place: &str, required: bool, mut schema: Value| {
        let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
        parameters.push(json!({
            "name": name, "in": place, "required": required, "schema": schema, "description": description,
        }));
    };
    for name in &in_path {
        let schema = properties.remove(name).unwrap_or_else(|| json!({ "type": "string" }));
        parameter(name, "path", true, schema);
    }
    let name = endpoint.path.trim_matches('/').replace(['{', '}'], "").replace(['/', '-'], "_");
    let mut operation = json!({
        "operationId": format!("{}_{name}", endpoint.method.as_str().to_lowercase()),
        "summary": endpoint.summary,
        "description": format!("Needs the role {} at least.", endpoint.role),
        "x-muster-role": endpoint.role.as_str(),
    });
    if endpoint.method == axum::http::Method::GET {
        for (name, schema) in properties {
            parameter(&name, "query", required.contains(&name), schema);
        }
    } else if !properties.is_empty() {
        let required: Vec<&String> = required.iter().filter(|name| !in_path.contains(name)).collect();
        input["properties"] = Value::Object(properties);
        if let Some(object) = input.as_object_mut() {
            object.remove("title");
            object.remove("required");
            if !required.is_empty() {
                object.insert("required".to_owned(), json!(required));
            }
        }
        operation["requestBody"] =
            json!({ "required": !required.is_empty(), "content": { "application/json": { "schema": input } } });
    }
    if !parameters.is_empty() {
        operation["parameters"] = json!(parameters);
    }
    let answer = json!({ "application/json": { "schema": described.answer } });
    let mut responses = Map::new();
    responses.insert("200".to_owned(), json!({ "description": "The answer.", "content": answer }));
    if endpoint.is_act {
        let text = "It waits until another person has approved it.";
        responses.insert("202".to_owned(), json!({ "description": text, "content": answer }));
    }
    for (status, _) in PROBLEMS {
        responses.insert(status.to_owned(), json!({ "$ref": format!("#/components/responses/Problem{status}") }));
    }
    operation["responses"] = Value::Object(responses);
    operation
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_a_name_of_its_own_and_says_its_role() {
        let description = openapi();
        let mut names = std::collections::BTreeSet::new();
        for operation in
            description["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values())
        {
            assert!(names.insert(operation["operationId"].as_str().unwrap().to_owned()), "{operation}");
            assert!(operation["x-muster-role"].is_string() && operation["summary"].is_string(), "{operation}");
        }
        assert!(names.len() > 25, "{names:?}");
        let text = description.to_string();
        for reference in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(description["components"]["schemas"][name].is_object(), "{name} is described nowhere");
        }
    }
}
