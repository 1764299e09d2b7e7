//! The REST API, version 2. It decides by `meta.status`, and its bodies are forms as the vendor's own client sends them.
//!
//! Not confirmed by the vendor, and kept in this file: what a new operator needs, that an empty text clears, and what
//! `/operator/{id}/live` answers.

use async_trait::async_trait;
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value as Json};
use url::Url;

use super::attributes::{Table, Wire};
use super::errors::{Said, rest_answer};
use super::graphql::told;
use super::tables::Tables;
use super::transport::{Answered, By, Deleted, Fetched, Haste, Listed, Mark, Seen, Transport};
use super::values::{id_of, lifted};
use crate::domain::{AccountId, Code, Failure, FailureClass};
use crate::systems::Finding;
use crate::systems::http::{self, Answer, Call, Http};

/// The field of `/operator/{id}/live` that tells whether somebody is logged in.
const IS_CONNECTED: &str = "connected";
/// Entries of one page, at most.
pub const MAX_PAGE: usize = 100;

/// The API.
#[derive(Debug)]
pub struct Rest {
    http: Http,
    url: Url,
    key: SecretString,
}

impl Rest {
    /// The API below `url`.
    pub fn new(http: Http, url: Url, key: SecretString) -> Self {
        Self { http, url, key }
    }

    async fn send(
        &self,
        call: Call,
        method: Method,
        path: &[&str],
        query: &[(String, String)],
        form: Option<&[(String, String)]>,
    ) -> Result<(Said, Answer), Failure> {
        let mut url = http::below(&self.url, &["api", "2"])?;
        url = http::below(&url, path)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut key = reqwest::header::HeaderValue::from_str(self.key.expose_secret()).map_err(|_| {
            let text = "the API key has characters that no header can carry";
            Failure::new(FailureClass::Unauthorised, Code::known("unauthorised"), text)
        })?;
        key.set_sensitive(true);
        let mut request = self.http.client().request(method, url).header("x-api-key", key);
        if let Some(form) = form {
            request = request.form(form);
        }
        let answer = self.http.send(call, request).await?;
        rest_answer(&answer, call.effect).map(|said| (said, answer))
    }

    async fn list(
        &self,
        call: Call,
        resource: &str,
        page: u64,
        size: usize,
        filter: Option<(&str, &str)>,
    ) -> Result<Listed, Failure> {
        let mut query = vec![("page".to_owned(), page.to_string()), ("limit".to_owned(), size.to_string())];
        query.push(("full".to_owned(), "1".to_owned()));
        query.extend(filter.map(|(name, value)| (format!("filters[{name}]"), value.to_owned())));
        let (said, answer) = self.send(call, Method::GET, &[resource], &query, None).await?;
        let mut envelope = match said {
            Said::Success(envelope) => envelope,
            Said::Unknown => return Err(answer.unreadable("the answer is not a list")),
            Said::Refused(_, failure) => return Err(failure),
        };
        let Some(Json::Array(entries)) = envelope.get_mut("data").map(Json::take) else {
            return Err(answer.unreadable("the answer is not a list"));
        };
        let number = |name: &str| envelope.pointer(&format!("/pagination/{name}")).and_then(number_of);
        let (Some(pages), Some(at)) = (number("pages"), number("page")) else {
            return Err(answer.unreadable("the answer does not say how many pages there are"));
        };
        let users: Vec<Json> = entries.into_iter().map(lifted).collect();
        let next = (at < pages).then_some(Mark::Page(at + 1));
        Ok(Listed { users, at: answer.sent_at, lossy: answer.lossy, count: number("count"), next })
    }

    /// What became of a write.
    fn written(said: Said, answer: &Answer) -> Result<Answered, Failure> {
        match said {
            Said::Success(mut envelope) => {
                let user = envelope.get_mut("data").map(Json::take).map(lifted);
                // Only an id in it: the rest has to be read.
                let whole = user.filter(|user| user.get("email").is_some());
                let seen = whole.map(|user| Seen { user, at: answer.answered_at, lossy: answer.lossy });
                Ok(Answered::Done(seen))
            }
            Said::Unknown => Ok(Answered::Absent(answer.answered_at)),
            Said::Refused(field, failure) if field.as_deref() == Some("email") => Ok(Answered::MaybeTaken(failure)),
            Said::Refused(_, failure) => Err(failure),
        }
    }
}

#[async_trait]
impl Transport for Rest {
    fn wire(&self) -> Wire {
        Wire::Rest
    }

    fn http(&self) -> &Http {
        &self.http
    }

    async fn prove(&self) -> Vec<Finding> {
        let problem = self.list(Call::read("preflight"), "operator", 1, 1, None).await.err();
        let listed = problem.is_none();
        let mut findings = vec![match &problem {
            Some(failure) => Finding::failed("API key", failure, told(failure)),
            None => Finding::well("API key"),
        }];
        if listed {
            let text = "rights of the key: REST does not tell them, so a missing one shows at the first write";
            findings.push(Finding::well(text));
        }
        findings
    }

    async fn page(&self, mark: Option<&Mark>, size: usize) -> Result<Listed, Failure> {
        let page = if let Some(Mark::Page(page)) = mark { *page } else { 1 };
        self.list(Call::read("list"), "operator", page, size.min(MAX_PAGE), None).await
    }

    async fn fetch(
        &self,
        operation: &'static str,
        account: &AccountId,
        haste: Option<Haste>,
    ) -> Result<Fetched, Failure> {
        let path = ["operator", account.as_str()];
        let (said, answer) = self.send(Haste::read(haste, operation), Method::GET, &path, &[], None).await?;
        match said {
            Said::Success(mut envelope) => {
                let user = lifted(envelope.get_mut("data").map(Json::take).unwrap_or_default());
                if id_of(&user).as_ref() != Some(account) {
                    return Err(answer.unreadable("the answer is not the operator that was asked for"));
                }
                Ok(Fetched::Found(Seen { user, at: answer.sent_at, lossy: answer.lossy }))
            }
            Said::Unknown => Ok(Fetched::Absent(answer.sent_at)),
            Said::Refused(_, failure) => Err(failure),
        }
    }

    async fn find(&self, by: By, value: &str, mark: Option<&Mark>, haste: Option<Haste>) -> Result<Listed, Failure> {
        let filter = match by {
            By::Email => "email",
            By::ExternalId => "external_id",
        };
        let page = if let Some(Mark::Page(page)) = mark { *page } else { 1 };
        let call = Haste::read(haste, "search");
        self.list(call, "operator", page, MAX_PAGE, Some((filter, value))).await
    }

    async fn create(&self, body: Map<String, Json>, partner: &AccountId, haste: Haste) -> Result<Answered, Failure> {
        let mut form = form(&body);
        form.push(("external_id".to_owned(), partner.as_str().to_owned()));
        let call = Call::write("create", haste.deadline).urgent(haste.urgent);
        let (said, answer) = self.send(call, Method::POST, &["operator"], &[], Some(&form)).await?;
        Self::written(said, &answer)
    }

    async fn update(&self, account: &AccountId, body: Map<String, Json>, haste: Haste) -> Result<Answered, Failure> {
        let call = Call::write("update", haste.deadline).urgent(haste.urgent);
        let path = ["operator", account.as_str()];
        let (said, answer) = self.send(call, Method::PUT, &path, &[], Some(&form(&body))).await?;
        Self::written(said, &answer)
    }

    async fn delete(&self, account: &AccountId, haste: Haste) -> Result<Deleted, Failure> {
        let call = Call::write("delete", haste.deadline).urgent(haste.urgent);
        let (said, answer) = self.send(call, Method::DELETE, &["operator", account.as_str()], &[], None).await?;
        match said {
            Said::Success(_) => Ok(Deleted::Done),
            Said::Unknown => Ok(Deleted::Absent(answer.answered_at)),
            Said::Refused(_, failure) => Err(failure),
        }
    }

    async fn is_connected(&self, account: &AccountId, haste: Haste) -> Result<bool, Failure> {
        let call = Haste::read(Some(haste), "presence");
        let path = ["operator", account.as_str(), "live"];
        let (said, answer) = self.send(call, Method::GET, &path, &[], None).await?;
        let unknown = || {
            let text = "iAdvize does not tell the presence of operators";
            answer.marked(Failure::new(FailureClass::Permanent, Code::known("presence_unknown"), text))
        };
        match said {
            Said::Success(envelope) => {
                let data = envelope.get("data").cloned().map(lifted).unwrap_or_default();
                match data.get(IS_CONNECTED) {
                    Some(Json::Bool(connected)) => Ok(*connected),
                    Some(other) => number_of(other).map(|number| number != 0).ok_or_else(unknown),
                    None => Err(unknown()),
                }
            }
            // Whoever never logged in has no presence.
            Said::Unknown => Ok(false),
            Said::Refused(..) => Err(unknown()),
        }
    }

    async fn tables(&self, haste: Option<Haste>) -> Result<Tables, Failure> {
        let mut tables = Tables::default();
        let kinds =
            [("website", "label", Table::Projects), ("group", "name", Table::Groups), ("skill", "name", Table::Skills)];
        for (resource, label, table) in kinds {
            let (mut entries, mut page) = (Vec::new(), 1);
            loop {
                let call = Haste::read(haste, "table");
                let listed = match self.list(call, resource, page, MAX_PAGE, None).await {
                    Ok(listed) => listed,
                    // A key that may not see a table may still do the rest.
                    Err(failure) if is_refusal(failure.class) => break,
                    Err(failure) => return Err(failure),
                };
                let named = listed.users.iter().filter_map(|entry| {
                    let id = id_of(entry)?.as_str().parse::<u64>().ok()?;
                    Some((Json::from(id), entry.get(label)?.as_str()?.to_owned()))
                });
                entries.extend(named);
                match listed.next {
                    Some(Mark::Page(next)) if next > page => page = next,
                    _ => {
                        tables.insert(table, entries);
                        break;
                    }
                }
            }
        }
        Ok(tables)
    }
}

fn is_refusal(class: FailureClass) -> bool {
    matches!(class, FailureClass::Permanent | FailureClass::Unauthorised)
}

/// A number, or digits.
fn number_of(json: &Json) -> Option<u64> {
    json.as_u64().or_else(|| json.as_str()?.parse().ok())
}

/// A body as the vendor's own client sends it: `skill_list[0]=1&call_config[type]=ANSWER_FROM_DESK`. An empty list is an
/// empty text, since this form has no other word for it.
fn form(body: &Map<String, Json>) -> Vec<(String, String)> {
    fn add(name: String, value: &Json, pairs: &mut Vec<(String, String)>) {
        match value {
            Json::Object(members) => {
                members.iter().for_each(|(key, member)| add(format!("{name}[{key}]"), member, pairs));
            }
            Json::Array(items) if !items.is_empty() => {
                items.iter().enumerate().for_each(|(index, item)| add(format!("{name}[{index}]"), item, pairs));
            }
            Json::Array(_) | Json::Null => pairs.push((name, String::new())),
            Json::Bool(flag) => pairs.push((name, u8::from(*flag).to_string())),
            Json::String(text) => pairs.push((name, text.clone())),
            Json::Number(number) => pairs.push((name, number.to_string())),
        }
    }
    let mut pairs = Vec::new();
    body.iter().for_each(|(name, value)| add(name.clone(), value, &mut pairs));
    pairs
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bodies_are_forms_with_brackets() {
        let body = json!({
            "name": "O'Neil", "first_name": "", "skill_list": [2, 7], "language_list": [], "chat_enabled": true,
            "call_config": {"type": "ANSWER_FROM_DESK", "ask_phone_number_at_every_connection": false},
        });
        let pairs = form(body.as_object().unwrap());
        let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            pairs,
            [
                "call_config[ask_phone_number_at_every_connection]=0",
                "call_config[type]=ANSWER_FROM_DESK",
                "chat_enabled=1",
                "first_name=",
                "language_list=",
                "name=O'Neil",
                "skill_list[0]=2",
                "skill_list[1]=7",
            ]
        );
    }
}
