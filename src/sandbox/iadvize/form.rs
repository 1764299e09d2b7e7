//! Bodies as the vendor's PHP client sends them: `website_list[0]=1&call_config[type]=ANSWER_FROM_DESK`.

use serde_json::{Map, Value};

/// The fields of a form. All values are texts; a name with numbers in brackets is a list, with words an object.
pub(super) fn parse(body: &[u8]) -> Map<String, Value> {
    let mut fields = Map::new();
    for (name, value) in url::form_urlencoded::parse(body) {
        let mut keys = name.split('[').map(|key| key.trim_end_matches(']'));
        let Some(first) = keys.next() else { continue };
        let slot = fields.entry(first.to_owned()).or_insert(Value::Null);
        place(slot, &keys.collect::<Vec<_>>(), &value);
    }
    fields
}

fn place(slot: &mut Value, keys: &[&str], value: &str) {
    let Some((key, rest)) = keys.split_first() else {
        *slot = Value::String(value.to_owned());
        return;
    };
    if key.is_empty() || key.bytes().all(|byte| byte.is_ascii_digit()) {
        if !slot.is_array() {
            *slot = Value::Array(Vec::new());
        }
        if let Some(list) = slot.as_array_mut() {
            let mut item = Value::Null;
            place(&mut item, rest, value);
            list.push(item);
        }
        return;
    }
    if !slot.is_object() {
        *slot = Value::Object(Map::new());
    }
    if let Some(object) = slot.as_object_mut() {
        place(object.entry((*key).to_owned()).or_insert(Value::Null), rest, value);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn brackets_make_lists_and_objects() {
        let body = b"name=O%27Neil&skill_list[0]=1&skill_list[1]=2&call_config[type]=X&call_config[phone_number]=%2B33";
        let expected = json!({
            "name": "O'Neil", "skill_list": ["1", "2"], "call_config": {"type": "X", "phone_number": "+33"},
        });
        assert_eq!(Value::Object(parse(body)), expected);
    }
}
