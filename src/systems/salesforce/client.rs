//! Calls to the REST API: the session, the one renewal, and the answers' own words.

use std::collections::BTreeSet;
use std::sync::Arc;

use reqwest::header::IF_UNMODIFIED_SINCE;
use reqwest::{Method, StatusCode};
use secrecy::ExposeSecret;
use serde_json::{Value as Json, json};
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::session::{Session, Sessions};
use super::{errors, soql};
use crate::domain::{Code, Failure, FailureClass, Timestamp};
use crate::systems::http::{self, Answer, Call, Http};

/// The longest address that is sent. Salesforce takes 16,384 bytes of address and headers together; the token alone may
/// have some two thousand.
pub const MAX_ADDRESS_BYTES: usize = 12_000;

/// Queries and collections that a composite call may have. It costs one call of the org's quota.
/// <https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_composite_post.htm>
pub const PARTS_A_CALL: usize = 5;

/// One org.
#[derive(Debug)]
pub struct Client {
    /// The HTTP client, its clock and its counts.
    pub http: Http,
    sessions: Sessions,
    api_version: String,
    page_size: usize,
}

/// One request.
#[derive(Debug)]
pub struct Request<'r> {
    /// How it is counted, and until when it may run.
    pub call: Call,
    pub method: Method,
    /// Segments of its path, below the API version.
    pub path: &'r [&'r str],
    /// Its query.
    pub soql: Option<&'r str>,
    /// It is not to be carried out if the record was changed after this second.
    pub unmodified_since: Option<Timestamp>,
    pub body: Option<&'r Json>,
}

/// One of several requests that make one call.
#[derive(Debug)]
pub enum Part<'p> {
    /// A query.
    Query(&'p str),
    /// A write of several records, by this method and with this body.
    Collection(Method, Json),
}

/// One page of a query.
#[derive(Debug)]
pub struct Rows {
    /// The rows.
    pub records: Vec<Json>,
    /// How many rows the whole query has.
    pub total: u64,
    /// The rest of the query, if this is not all.
    pub locator: Option<String>,
    /// When it was asked, in Salesforce's clock.
    pub sent_at: Timestamp,
    /// Whether some of the answer was not UTF-8.
    pub lossy: bool,
}

impl Client {
    /// A client of the org that `sessions` log in to.
    pub fn new(http: Http, sessions: Sessions, api_version: String, page_size: usize) -> Self {
        Self { http, sessions, api_version, page_size }
    }

    /// Logs in, if there is no session.
    pub async fn log_in(&self) -> Result<(), Failure> {
        self.sessions.session(&self.http, None).await.map(drop)
    }

    /// The session, by a deadline if there is one.
    async fn session(
        &self,
        refused: Option<&Arc<Session>>,
        deadline: Option<Instant>,
    ) -> Result<Arc<Session>, Failure> {
        let session = self.sessions.session(&self.http, refused);
        let Some(deadline) = deadline else { return session.await };
        let late = || {
            let text = "the time ran out before there was a session to send the request with";
            Failure::new(FailureClass::Transient, Code::known("not_sent"), text)
        };
        timeout_at(deadline, session).await.unwrap_or_else(|_| Err(late()))
    }

    /// Sends a request to a path below `/services/data/<version>`, and gives its answer, whatever its status.
    ///
    /// A session that Salesforce refuses as expired is renewed once, and the call made once more: such a refusal comes
    /// before anything is done. Other refusals are faults of configuration, and a renewal would not end them.
    pub async fn send(&self, request: &Request<'_>) -> Result<Answer, Failure> {
        let mut refused = None;
        loop {
            let session = self.session(refused.as_ref(), request.call.deadline).await?;
            let url = self.address(&session.instance, request.path, request.soql)?;
            let mut builder =
                self.http.client().request(request.method.clone(), url).bearer_auth(session.token.expose_secret());
            if request.soql.is_some() || request.path.first() == Some(&"query") {
                builder = builder.header("Sforce-Query-Options", format!("batchSize={}", self.page_size));
            }
            if let Some(since) = request.unmodified_since {
                builder = builder.header(IF_UNMODIFIED_SINCE, http::date_header(since));
            }
            if let Some(body) = request.body {
                builder = builder.json(body);
            }
            let answer = self.http.send(request.call, builder).await?;
            if let Some(usage) = answer.header("sforce-limit-info").and_then(api_usage) {
                self.http.note_usage(usage.0, usage.1);
            }
            let expired = answer.status == 401 && errors::error_code(&answer).as_deref() == Some("INVALID_SESSION_ID");
            if !expired || refused.is_some() {
                return Ok(answer);
            }
            refused = Some(session);
        }
    }

    /// A GET, see [`Client::send`]; an answer with an error status is a failure.
    async fn get(&self, call: Call, path: &[&str], soql: Option<&str>) -> Result<Answer, Failure> {
        let request = Request { call, method: Method::GET, path, soql, unmodified_since: None, body: None };
        let answer = self.send(&request).await?;
        if answer.status.is_success() { Ok(answer) } else { Err(errors::classify(&answer)) }
    }

    fn address(&self, instance: &Url, path: &[&str], query: Option<&str>) -> Result<Url, Failure> {
        let segments: Vec<&str> = ["services", "data", &self.api_version].iter().chain(path).copied().collect();
        let mut url = http::below(instance, &segments)?;
        if let Some(query) = query {
            url.query_pairs_mut().append_pair("q", query);
        }
        Ok(url)
    }

    /// The first page of a query.
    pub async fn query(&self, call: Call, soql: &str) -> Result<Rows, Failure> {
        self.rows(&self.get(call, &["query"], Some(soql)).await?)
    }

    /// The next page of a query.
    pub async fn more(&self, call: Call, locator: &str) -> Result<Rows, Failure> {
        self.rows(&self.get(call, &["query", locator], None).await?)
    }

    /// How many rows there are.
    pub async fn count(&self, object: &str) -> Result<u64, Failure> {
        Ok(self.query(Call::read("count"), &format!("SELECT COUNT() FROM {object}")).await?.total)
    }

    /// Every row of the object with one of these ids, for as many of them as one address can hold, and how many that
    /// was. The answer is whole: as many rows as it says.
    pub async fn by_ids(
        &self,
        call: Call,
        object: &str,
        select: &str,
        ids: &[&str],
    ) -> Result<(Vec<Rows>, usize), Failure> {
        let (soql, taken) = ids_query(object, select, ids);
        Ok((self.whole(call, &soql).await?, taken))
    }

    /// All pages of a query that has few rows.
    ///
    /// # Errors
    /// Also if fewer or more rows came than the query says to have: then nothing follows from a missing one.
    pub async fn whole(&self, call: Call, soql: &str) -> Result<Vec<Rows>, Failure> {
        let answer = self.get(call, &["query"], Some(soql)).await?;
        self.all_pages(call, &answer).await
    }

    /// The same, with the rows that are in the recycle bin.
    pub async fn whole_with_deleted(&self, call: Call, soql: &str) -> Result<Vec<Rows>, Failure> {
        let answer = self.get(call, &["queryAll"], Some(soql)).await?;
        self.all_pages(call, &answer).await
    }

    /// The same for several queries, [`PARTS_A_CALL`] of them in a call.
    pub async fn whole_of_each(&self, call: Call, queries: &[String]) -> Result<Vec<Rows>, Failure> {
        let mut pages = Vec::new();
        for queries in queries.chunks(PARTS_A_CALL) {
            if let [query] = queries {
                pages.extend(self.whole(call, query).await?);
                continue;
            }
            let parts: Vec<_> = queries.iter().map(|query| Part::Query(query)).collect();
            for answer in self.together(call, &parts).await? {
                if !answer.status.is_success() {
                    return Err(errors::classify(&answer));
                }
                pages.extend(self.all_pages(call, &answer).await?);
            }
        }
        Ok(pages)
    }

    /// Several requests in one call, carried out one after the other; the answer of each, whatever its status. None of
    /// them undoes another.
    ///
    /// # Errors
    /// The call failed as a whole.
    pub async fn together(&self, call: Call, parts: &[Part<'_>]) -> Result<Vec<Answer>, Failure> {
        let below = |path: &str| format!("/services/data/{}/{path}", self.api_version);
        let part = |(number, part): (usize, &Part<'_>)| match part {
            Part::Query(query) => {
                let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("q", query).finish();
                let url = below(&format!("query?{query}"));
                json!({"method": "GET", "url": url, "referenceId": format!("part{number}")})
            }
            Part::Collection(method, body) => {
                let url = below("composite/sobjects");
                json!({"method": method.as_str(), "url": url, "referenceId": format!("part{number}"), "body": body})
            }
        };
        // Not collated: a query that follows a write is to see what it wrote.
        let parts_of_body: Vec<_> = parts.iter().enumerate().map(part).collect();
        let body = json!({"allOrNone": false, "collateSubrequests": false, "compositeRequest": parts_of_body});
        let request = Request {
            call,
            method: Method::POST,
            path: &["composite"],
            soql: None,
            unmodified_since: None,
            body: Some(&body),
        };
        let answer = self.send(&request).await?;
        if !answer.status.is_success() {
            return Err(errors::classify_write(&answer));
        }
        let malformed = || answer.unreadable("the answer does not have a part for each request");
        let mut body = answer.json()?;
        let answers = match body.get_mut("compositeResponse").map(Json::take) {
            Some(Json::Array(answers)) if answers.len() == parts.len() => answers,
            _ => return Err(malformed()),
        };
        let read = |part: Json| {
            let status = part.get("httpStatusCode").and_then(Json::as_u64).and_then(|code| u16::try_from(code).ok());
            let status = status.and_then(|code| StatusCode::from_u16(code).ok()).ok_or_else(malformed)?;
            Ok(answer.part(status, part.get("body").ok_or_else(malformed)?))
        };
        answers.into_iter().map(read).collect()
    }

    /// The rows of a query that answered with all of them; `None`: it failed, or there are more.
    pub fn all_rows(&self, answer: &Answer) -> Option<Rows> {
        let rows = answer.status.is_success().then(|| self.rows(answer).ok()).flatten()?;
        (usize::try_from(rows.total) == Ok(rows.records.len())).then_some(rows)
    }

    /// What a query answered, and the pages that follow.
    async fn all_pages(&self, call: Call, answer: &Answer) -> Result<Vec<Rows>, Failure> {
        let mut pages = vec![self.rows(answer)?];
        while let Some(locator) = pages.last().and_then(|page| page.locator.clone()) {
            pages.push(self.more(call, &locator).await?);
        }
        let received: usize = pages.iter().map(|page| page.records.len()).sum();
        let whole = pages.iter().all(|page| usize::try_from(page.total) == Ok(received));
        if whole {
            Ok(pages)
        } else {
            Err(answer.unreadable("the query answered with another number of rows than it says"))
        }
    }

    /// The object's description.
    pub async fn describe(&self, object: &str) -> Result<Json, Failure> {
        self.get(Call::read("describe"), &["sobjects", object, "describe"], None).await?.json()
    }

    /// The org's limits.
    pub async fn limits(&self) -> Result<Json, Failure> {
        self.get(Call::read("limits"), &["limits"], None).await?.json()
    }

    fn rows(&self, answer: &Answer) -> Result<Rows, Failure> {
        let malformed = || answer.unreadable("the answer is not a page of a query");
        let mut body = answer.json()?;
        let total = body.get("totalSize").and_then(Json::as_u64).ok_or_else(malformed)?;
        let done = body.get("done").and_then(Json::as_bool).ok_or_else(malformed)?;
        let locator = match body.get("nextRecordsUrl").and_then(Json::as_str) {
            Some(next) if !done => Some(self.locator(next).ok_or_else(malformed)?.to_owned()),
            None if done => None,
            // Neither finished nor to be continued, or both.
            _ => return Err(malformed()),
        };
        let Some(Json::Array(records)) = body.get_mut("records").map(Json::take) else { return Err(malformed()) };
        Ok(Rows { records, total, locator, sent_at: answer.sent_at, lossy: answer.lossy })
    }

    /// The last part of `nextRecordsUrl`, if that is an address of this API and nothing else: it will be sent the token.
    fn locator<'u>(&self, next: &'u str) -> Option<&'u str> {
        let locator = next.strip_prefix(&format!("/services/data/{}/query/", self.api_version))?;
        is_locator(locator).then_some(locator)
    }
}

/// A query for the rows with these ids, for as many of them as one address can hold, and how many that is.
pub fn ids_query(object: &str, select: &str, ids: &[&str]) -> (String, usize) {
    let mut size = soql::query_bytes(select);
    let fitting = ids.iter().take_while(|id| {
        size += soql::literal_bytes(id);
        size <= MAX_ADDRESS_BYTES
    });
    let taken = fitting.count().max(1);
    let list: Vec<String> = ids[..taken].iter().map(|id| soql::quoted(id)).collect();
    (format!("SELECT {select} FROM {object} WHERE Id IN ({})", list.join(",")), taken)
}

/// Whether a text can be a locator: letters, digits and `-`.
pub fn is_locator(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Calls used and allowed, of the header `Sforce-Limit-Info`: `api-usage=10018/100000; ...`.
fn api_usage(header: &str) -> Option<(u64, u64)> {
    let usage = header.split([';', ',']).find_map(|part| part.trim().strip_prefix("api-usage="))?;
    let (used, allowed) = usage.split_once('/')?;
    Some((used.trim().parse().ok()?, allowed.trim().parse().ok()?))
}

/// Names of the fields of a description that hold one plain value.
pub fn described_fields(description: &Json) -> Option<BTreeSet<String>> {
    let fields = description.get("fields")?.as_array()?;
    let plain = |field: &&Json| {
        !matches!(field.get("type").and_then(Json::as_str), Some("address" | "location" | "base64" | "complexvalue"))
    };
    Some(fields.iter().filter(plain).filter_map(|field| Some(field.get("name")?.as_str()?.to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usage_header_is_read_in_all_its_variants() {
        for (header, usage) in [
            ("api-usage=10018/100000", Some((10_018, 100_000))),
            ("api-bursts=1/750; api-usage=17/250", Some((17, 250))),
            ("api-usage=5/100; per-app-api-usage=17/250(appName=sample)", Some((5, 100))),
            ("per-app-api-usage=17/250(appName=sample)", None),
            ("api-usage=many", None),
        ] {
            assert_eq!(api_usage(header), usage, "{header}");
        }
    }
}
