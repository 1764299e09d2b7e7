//! The GraphQL API. Every query that Muster sends stands in this file.
//!
//! No public copy of the vendor's reference shows the queries for users, the names in a user's presence, the payloads of
//! the mutations, `userGroups`, `skills` and `roles`. Where these differ from what is written here, only the constants
//! below and the paths in the functions that use them change.

use std::sync::Arc;

use async_trait::async_trait;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use serde_json::{Map, Value as Json, json};
use url::Url;

use super::attributes::{Table, Wire};
use super::errors::{graphql_errors, remedy, user_error};
use super::session::Sessions;
use super::tables::Tables;
use super::transport::{Answered, By, Deleted, Fetched, Haste, Listed, Mark, Seen, Transport};
use crate::domain::{AccountId, Code, Failure, FailureClass, Timestamp};
use crate::systems::Finding;
use crate::systems::http::{self, Answer, Call, Effect, Http};

/// What is read of a user. `User` has other kinds than people: bots, experts, developers.
const USER: &str = "fragment Operator on Professional { id email lastName firstName userName avatar isDeleted externalId \
    samlId skills { id name } projects(first: 100) { edges { node { id name } } pageInfo { hasNextPage } } \
    group { id name } role { id name } channels { \
    chatConfiguration { hasPriorityOnChat isAllowChatToVideo isEnabled isSimultaneousCallAllowed numberOfSlots } \
    callConfiguration { clickToCallPhoneNumber hasPriorityOnCall isAlwaysAskForNumber isEnabled respondFrom } \
    videoConfiguration { hasPriorityOnVideo isEnabled } thirdPartyConfiguration { isEnabled numberOfSlots } } \
    countryPreferences { dateFormat timeFormat interfaceLanguage languages timezone } }";
const FETCH: &str = "query Fetch($id: LegacyId!) { user(userId: $id) { __typename ...Operator } }";
const LIST: &str = "query List($first: Int, $after: String, $filters: UserFilters) { \
    users(first: $first, after: $after, filters: $filters) { edges { node { __typename ...Operator } } \
    pageInfo { hasNextPage endCursor } } }";
const CREATE: &str = "mutation Create($input: UserCreateInput!) { userCreate(input: $input) { \
    user { __typename ...Operator } userErrors { __typename message } } }";
const UPDATE: &str = "mutation Update($input: UserUpdateInput!) { userUpdate(input: $input) { \
    user { __typename ...Operator } userErrors { __typename message } } }";
const DELETE: &str = "mutation Delete($input: UserDeleteInput!) { userDelete(input: $input) { \
    userErrors { __typename message } } }";
const PRESENCE: &str =
    "query Presence($id: LegacyId!) { user(userId: $id) { ... on Professional { presence { isConnected } } } }";
/// Where [`PRESENCE`] tells it.
const IS_CONNECTED: &str = "/user/presence/isConnected";
const ROLES: &str = "query Roles { roles { id name } }";

/// Entries of one page of a table.
const TABLE_PAGE: usize = 100;
/// The kind of user that rosters are about.
const PEOPLE: &str = "Professional";

/// The API.
#[derive(Debug)]
pub struct Graphql {
    http: Http,
    url: Url,
    /// Customers of the standard platform say so with each call.
    platform: Option<&'static str>,
    sessions: Sessions,
}

impl Graphql {
    /// The API below `url`.
    pub fn new(http: Http, url: Url, platform: Option<&'static str>, sessions: Sessions) -> Self {
        Self { http, url, platform, sessions }
    }

    /// Asks, with a new token if the one at hand is refused. The data, and the answer that they came in.
    async fn ask(&self, call: Call, query: &str, variables: Json) -> Result<(Json, Answer), Failure> {
        let mut url = http::below(&self.url, &["graphql"])?;
        if let Some(platform) = self.platform {
            url.query_pairs_mut().append_pair("platform", platform);
        }
        let document = if query.contains("...Operator") { format!("{query} {USER}") } else { query.to_owned() };
        let body = json!({"query": document, "variables": variables}).to_string();
        let mut refused: Option<Arc<_>> = None;
        loop {
            let token = self.sessions.token(&self.http, refused.as_ref(), call.deadline).await?;
            let request = self.http.client().post(url.clone()).header(ACCEPT, "application/json");
            let request = request.header(CONTENT_TYPE, "application/json").body(body.clone());
            let request = request.bearer_auth(secrecy::ExposeSecret::expose_secret(&*token));
            let answer = self.http.send(call, request).await?;
            if answer.status.is_success() {
                return data(&answer, call.effect).map(|data| (data, answer));
            }
            let failure = answer.failure();
            // A call with a bad token was not carried out, so it may be sent again; once.
            if failure.class == FailureClass::Unauthorised && refused.is_none() {
                refused = Some(token);
                continue;
            }
            return Err(failure);
        }
    }

    async fn list(&self, call: Call, variables: Json) -> Result<Listed, Failure> {
        let (mut data, answer) = self.ask(call, LIST, variables).await?;
        let Some(edges) = data.pointer_mut("/users/edges").and_then(Json::as_array_mut) else {
            return Err(answer.unreadable("the answer has no list of users"));
        };
        let nodes: Vec<Json> = edges.iter_mut().map(|edge| edge["node"].take()).collect();
        let next = match data.pointer("/users/pageInfo/hasNextPage").and_then(Json::as_bool) {
            Some(false) => None,
            Some(true) => {
                let cursor = data.pointer("/users/pageInfo/endCursor").and_then(Json::as_str);
                let cursor =
                    cursor.ok_or_else(|| answer.unreadable("the answer does not say where the list goes on"))?;
                Some(Mark::After(cursor.to_owned()))
            }
            None => return Err(answer.unreadable("the answer does not say whether the list goes on")),
        };
        let users = nodes.into_iter().filter(is_person).collect();
        Ok(Listed { users, at: answer.sent_at, lossy: answer.lossy, count: None, next })
    }

    async fn mutate(&self, call: Call, query: &str, root: &str, input: Map<String, Json>) -> Result<Answered, Failure> {
        let (mut data, answer) = self.ask(call, query, json!({"input": input})).await?;
        let payload = data.get_mut(root).map(Json::take).filter(Json::is_object);
        let mut payload =
            payload.ok_or_else(|| answer.unreadable("the answer does not say what became of the write"))?;
        if let Some(error) = payload.pointer("/userErrors/0") {
            let kind = error.get("__typename").and_then(Json::as_str).unwrap_or("user_error");
            let failure = user_error(&answer, kind);
            return match (failure.code.as_str(), failure.attribute.clone()) {
                ("email_exists" | "saml_id_exists", Some(attribute)) => Ok(Answered::Taken(attribute)),
                ("account_gone", _) => Ok(Answered::Absent(answer.answered_at)),
                _ => Err(failure),
            };
        }
        let user = payload.get_mut("user").map(Json::take).filter(is_person);
        Ok(Answered::Done(user.map(|user| seen(user, &answer, answer.answered_at))))
    }

    /// All entries of a table. One that may not be read, or that is not known, is `None`.
    async fn table(&self, root: &str, haste: Option<Haste>) -> Result<Option<Vec<(Json, String)>>, Failure> {
        let query = format!(
            "query Table($first: Int, $after: String) {{ {root}(first: $first, after: $after) {{ \
             edges {{ node {{ id name }} }} pageInfo {{ hasNextPage endCursor }} }} }}"
        );
        let (mut entries, mut after) = (Vec::new(), Json::Null);
        loop {
            let variables = json!({"first": TABLE_PAGE, "after": after});
            let (data, answer) = match self.ask(Haste::read(haste, "table"), &query, variables).await {
                Ok(answered) => answered,
                Err(failure) if failure.class == FailureClass::Permanent => return Ok(None),
                Err(failure) => return Err(failure),
            };
            let page = data.get(root).unwrap_or(&Json::Null);
            let Some(edges) = page.get("edges").and_then(Json::as_array) else {
                return Err(answer.unreadable("the answer has no table"));
            };
            entries.extend(edges.iter().filter_map(|edge| entry(&edge["node"])));
            let more = page.pointer("/pageInfo/hasNextPage").and_then(Json::as_bool) == Some(true);
            let next = page.pointer("/pageInfo/endCursor").filter(|cursor| more && cursor.is_string());
            match next.filter(|next| **next != after) {
                Some(next) => after = next.clone(),
                None => return Ok(Some(entries)),
            }
        }
    }
}

#[async_trait]
impl Transport for Graphql {
    fn wire(&self) -> Wire {
        Wire::Graphql
    }

    fn http(&self) -> &Http {
        &self.http
    }

    /// R16: only administrators and managers may change users, so the login's own role is looked up.
    async fn prove(&self) -> Vec<Finding> {
        if let Err(failure) = self.sessions.token(&self.http, None, None).await {
            return vec![Finding::failed("login", &failure, told(&failure))];
        }
        let mut findings = vec![Finding::well("login")];
        let own = match self.find(By::Email, self.sessions.username(), None, None).await {
            Ok(listed) => listed.users.into_iter().find(|user| {
                user.get("email")
                    .and_then(Json::as_str)
                    .is_some_and(|email| email.eq_ignore_ascii_case(self.sessions.username()))
            }),
            Err(failure) => {
                findings.push(Finding::failed("list of users", &failure, told(&failure)));
                return findings;
            }
        };
        findings.push(Finding::well("list of users"));
        let role = own.as_ref().and_then(|own| own.pointer("/role/name")).and_then(Json::as_str);
        findings.push(match role {
            Some("operator" | "expert") => Finding::wrong(
                "role of the login",
                "the login is an agent's, and only administrators and managers may create or change operators: give it \
                 the role of a manager",
            ),
            Some(_) => Finding::well("role of the login"),
            None => Finding::well("role of the login: it cannot be seen, so a missing right shows at the first write"),
        });
        findings
    }

    async fn page(&self, mark: Option<&Mark>, size: usize) -> Result<Listed, Failure> {
        let after = match mark {
            Some(Mark::After(cursor)) => json!(cursor),
            _ => Json::Null,
        };
        let variables = json!({"first": size, "after": after, "filters": {"isDeleted": false}});
        self.list(Call::read("list"), variables).await
    }

    async fn fetch(
        &self,
        operation: &'static str,
        account: &AccountId,
        haste: Option<Haste>,
    ) -> Result<Fetched, Failure> {
        let call = Haste::read(haste, operation);
        let (mut data, answer) = self.ask(call, FETCH, json!({"id": legacy_id(account)?})).await?;
        match data.get_mut("user").map(Json::take) {
            None => Err(answer.unreadable("the answer does not say whether there is such a user")),
            Some(user) if user.is_null() || !is_person(&user) => Ok(Fetched::Absent(answer.sent_at)),
            Some(user) if user.get("id") != Some(&legacy_id(account)?) => {
                Err(answer.unreadable("the answer is not the user that was asked for"))
            }
            Some(user) => Ok(Fetched::Found(seen(user, &answer, answer.sent_at))),
        }
    }

    async fn find(&self, by: By, value: &str, mark: Option<&Mark>, haste: Option<Haste>) -> Result<Listed, Failure> {
        let filter = match by {
            By::Email => "email",
            By::ExternalId => "externalId",
        };
        let after = match mark {
            Some(Mark::After(cursor)) => json!(cursor),
            _ => Json::Null,
        };
        let variables = json!({"first": TABLE_PAGE, "after": after, "filters": {filter: value, "isDeleted": false}});
        self.list(Haste::read(haste, "search"), variables).await
    }

    async fn create(
        &self,
        mut body: Map<String, Json>,
        partner: &AccountId,
        haste: Haste,
    ) -> Result<Answered, Failure> {
        body.insert("externalId".into(), json!(partner));
        // Required, if only as an empty list.
        body.entry("projectIds").or_insert_with(|| json!([]));
        self.mutate(Call::write("create", haste.deadline).urgent(haste.urgent), CREATE, "userCreate", body).await
    }

    async fn update(
        &self,
        account: &AccountId,
        mut body: Map<String, Json>,
        haste: Haste,
    ) -> Result<Answered, Failure> {
        body.insert("userId".into(), legacy_id(account)?);
        self.mutate(Call::write("update", haste.deadline).urgent(haste.urgent), UPDATE, "userUpdate", body).await
    }

    async fn delete(&self, account: &AccountId, haste: Haste) -> Result<Deleted, Failure> {
        let call = Call::write("delete", haste.deadline).urgent(haste.urgent);
        let input = Map::from_iter([("userId".to_owned(), legacy_id(account)?)]);
        match self.mutate(call, DELETE, "userDelete", input).await? {
            Answered::Done(_) => Ok(Deleted::Done),
            Answered::Absent(asked_at) => Ok(Deleted::Absent(asked_at)),
            Answered::MaybeTaken(failure) => Err(failure),
            Answered::Taken(attribute) => {
                let text = "iAdvize answered a deletion with a value that is taken";
                let failure = Failure::new(FailureClass::Permanent, Code::known("user_error"), text);
                Err(failure.at(attribute))
            }
        }
    }

    async fn is_connected(&self, account: &AccountId, haste: Haste) -> Result<bool, Failure> {
        let call = Haste::read(Some(haste), "presence");
        let unknown = |failure: Failure| Failure {
            code: Code::known("presence_unknown"),
            message: "iAdvize does not tell the presence of operators".into(),
            ..failure
        };
        match self.ask(call, PRESENCE, json!({"id": legacy_id(account)?})).await {
            Ok((data, answer)) => data.pointer(IS_CONNECTED).and_then(Json::as_bool).ok_or_else(|| {
                unknown(answer.marked(Failure::new(FailureClass::Permanent, Code::known("presence_unknown"), "")))
            }),
            Err(failure) if failure.class == FailureClass::Permanent => Err(unknown(failure)),
            Err(failure) => Err(failure),
        }
    }

    async fn tables(&self, haste: Option<Haste>) -> Result<Tables, Failure> {
        let mut tables = Tables::default();
        for (root, table) in [("projects", Table::Projects), ("userGroups", Table::Groups), ("skills", Table::Skills)] {
            if let Some(entries) = self.table(root, haste).await? {
                tables.insert(table, entries);
            }
        }
        match self.ask(Haste::read(haste, "table"), ROLES, json!({})).await {
            Ok((data, _)) => {
                let roles = data.get("roles").and_then(Json::as_array).into_iter().flatten();
                tables.insert(Table::Roles, roles.filter_map(entry).collect());
            }
            Err(failure) if failure.class == FailureClass::Permanent => {}
            Err(failure) => return Err(failure),
        }
        Ok(tables)
    }
}

/// The data of an answer.
fn data(answer: &Answer, effect: Effect) -> Result<Json, Failure> {
    let mut body = answer.json()?;
    match body.get("errors").and_then(Json::as_array) {
        Some(errors) if !errors.is_empty() => Err(graphql_errors(answer, errors, effect)),
        _ => match body.get_mut("data").map(Json::take) {
            Some(data) if data.is_object() => Ok(data),
            _ => Err(answer.unreadable("the answer has no data")),
        },
    }
}

fn seen(user: Json, answer: &Answer, at: Timestamp) -> Seen {
    Seen { user, at, lossy: answer.lossy }
}

/// Whether a user is a person who is still there. Deleted ones can be read for ever.
fn is_person(user: &Json) -> bool {
    let kind = user.get("__typename").and_then(Json::as_str);
    kind == Some(PEOPLE) && user.get("isDeleted").and_then(Json::as_bool) != Some(true)
}

/// The number that stands for an operator.
fn legacy_id(account: &AccountId) -> Result<Json, Failure> {
    let id = super::attributes::parse_id(account.as_str());
    id.map(|id| json!(id)).ok_or_else(|| {
        Failure::new(FailureClass::Permanent, Code::known("invalid_id"), "the id of an operator is a number")
    })
}

fn entry(node: &Json) -> Option<(Json, String)> {
    Some((node.get("id")?.clone(), node.get("name")?.as_str()?.to_owned()))
}

/// A failure, and what to do about it.
pub fn told(failure: &Failure) -> String {
    remedy(&failure.code).map_or_else(|| failure.to_string(), |remedy| format!("{failure}. {remedy}"))
}
