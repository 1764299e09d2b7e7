//! The connectors against small servers in this process, that answer what a test wants and note what they were asked.

#![allow(clippy::unwrap_used, reason = "everything here is a test, also what is no test function")]

mod http;
mod iadvize;
mod salesforce;
mod salesforce_writes;
mod salesscreen;
mod scim;
mod scim2_server;
mod scim_dialects;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, Uri};
use muster::systems::salesforce::{
    DEFAULT_API_VERSION, DEFAULT_PAGE_SIZE, Login, Object, Org, OrgSettings, RecordSettings, Salesforce,
};
use muster::systems::scim::{Scim, ScimSettings};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

/// One request that a server got.
#[derive(Debug, Clone)]
struct Asked {
    method: Method,
    path: String,
    /// Decoded pairs of the query string.
    query: Vec<(String, String)>,
    headers: HeaderMap,
    body: String,
    /// Bytes of the address as it was sent.
    address_bytes: usize,
}

impl Asked {
    /// A parameter of the query string.
    fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// What a server answers.
#[derive(Debug, Clone)]
struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Reply {
    fn json(status: u16, body: impl ToString) -> Self {
        let headers = vec![("content-type", "application/json".to_owned())];
        Self { status, headers, body: body.to_string().into_bytes() }
    }

    fn html(status: u16) -> Self {
        let body = include_bytes!("../data/salesforce/gateway.html").to_vec();
        Self { status, headers: vec![("content-type", "text/html".to_owned())], body }
    }

    fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

type Handler = Arc<dyn Fn(&Asked) -> Reply + Send + Sync>;

/// A server on loopback; it ends with its value.
struct Server {
    url: Url,
    asked: Arc<Mutex<Vec<Asked>>>,
    _task: AbortOnDropHandle<()>,
}

impl Server {
    async fn start(handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = listen().await;
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let handler: Handler = Arc::new(handler);
        let app = Router::new().fallback(answer).with_state((handler, Arc::clone(&asked)));
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, asked, _task: AbortOnDropHandle::new(task) }
    }

    /// What was asked so far.
    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The requests whose path has this part.
    fn asked_for(&self, part: &str) -> Vec<Asked> {
        self.asked().into_iter().filter(|asked| asked.path.contains(part)).collect()
    }
}

/// A listener on a free port below the ephemeral ones, which other tests' outgoing connections take.
async fn listen() -> TcpListener {
    loop {
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", fastrand::u16(20_000..32_000))).await {
            return listener;
        }
    }
}

async fn answer(
    State((handler, log)): State<(Handler, Arc<Mutex<Vec<Asked>>>)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let query = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let asked = Asked {
        method,
        path: uri.path().to_owned(),
        query,
        headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
        address_bytes: uri.to_string().len(),
    };
    log.lock().unwrap().push(asked.clone());
    let reply = handler(&asked);
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(reply.body)).unwrap()
}

fn salesforce(url: &Url) -> Salesforce {
    salesforce_with(url, &[])
}

fn salesforce_with(url: &Url, fields: &[&str]) -> Salesforce {
    let fields = fields.iter().map(|&field| field.into()).collect();
    Salesforce::new(&org_at(url), RecordSettings { fields, ..RecordSettings::new(Object::User) })
}

fn org_at(url: &Url) -> Org {
    org_with(url, Login::ClientCredentials { client_id: "id".into(), client_secret: "hush-hush".into() }).unwrap()
}

fn org_with(url: &Url, login: Login) -> Result<Org, muster::systems::http::SetupError> {
    let settings = OrgSettings {
        url: url.clone(),
        api_version: DEFAULT_API_VERSION.into(),
        login,
        request_timeout: Duration::from_secs(20),
        page_size: DEFAULT_PAGE_SIZE,
        ca_file: None,
    };
    assert!(!format!("{settings:?}").contains("hush-hush"));
    let org = Org::new(settings)?;
    assert!(!format!("{org:?}").contains("hush-hush"));
    Ok(org)
}

fn scim(url: &Url) -> Scim {
    scim_of(url, 2)
}

fn scim_of(url: &Url, page_size: usize) -> Scim {
    let settings = ScimSettings {
        name: "chat".parse().unwrap(),
        url: url.clone(),
        token: Some("hush-hush".into()),
        request_timeout: Duration::from_secs(20),
        page_size,
        concurrency: 4,
        ca_file: None,
    };
    assert!(!format!("{settings:?}").contains("hush-hush"));
    Scim::new(settings).unwrap()
}

/// A deadline that no test reaches.
fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// The configuration that a page for administrators shows, with the org that it speaks of; `variable` holds its secret.
fn page_configuration(page: &str, variable: &str) -> muster::config::Config {
    let (_, rest) = page.split_once("```toml\n").unwrap();
    let (shown, _) = rest.split_once("```").unwrap();
    let crm = "[systems.crm]\nkind = \"salesforce\"\nurl = \"https://example.my.salesforce.com\"\n\
               auth = { flow = \"client-credentials\", client_id = \"id\", client_secret = { env = \"CRM_SECRET\" } }\n";
    let environment = ["CRM_SECRET", variable].map(|name| (name.to_owned(), "hush-hush".to_owned()));
    let environment = std::collections::BTreeMap::from(environment);
    let config = muster::config::Config::parse(&format!("{crm}{shown}"), "muster.toml", &environment);
    let config = config.unwrap_or_else(|errors| panic!("{errors}"));
    assert!(!format!("{config:?}").contains("hush-hush"));
    config
}
