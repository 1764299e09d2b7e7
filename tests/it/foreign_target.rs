//! The whole pipeline into a SCIM service that nobody here wrote: `scim2-server` (PyPI), as a process of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, Uri};
use muster::sandbox::{DEFAULT_SCIM_TOKEN, Sandbox, SandboxSettings, System};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use super::processes::{Installation, Mode, active_users, connection, crm, directory};

mod both_ways;

/// The program: named by `MUSTER_TEST_SCIM2_SERVER`, else on the `PATH`.
fn program() -> PathBuf {
    let named = std::env::var_os("MUSTER_TEST_SCIM2_SERVER").map(PathBuf::from);
    let on_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|folder| folder.join("scim2-server")).find(|program| program.is_file())
    };
    named.or_else(on_path).expect(
        "this test needs scim2-server: run tests/run, which installs it, or `pip install scim2-server` and name the \
         program in MUSTER_TEST_SCIM2_SERVER",
    )
}

/// The service, behind a gateway that notes every request that writes.
struct Service {
    /// Base of its endpoints, by the gateway.
    url: String,
    writes: Arc<Mutex<Vec<(Method, Value)>>>,
    own_url: String,
    _process: Child,
}

impl Service {
    async fn start() -> Self {
        let port = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap().port();
        let mut process = Command::new(program())
            .args(["--hostname", "127.0.0.1", "--port", &port.to_string(), "--bearer-token", DEFAULT_SCIM_TOKEN])
            .env("PYTHONUNBUFFERED", "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = lines.next_line().await.unwrap().unwrap_or_default();
        assert!(line.starts_with("Serving SCIM"), "{line}");
        // It says so a moment before it does.
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::task::yield_now().await;
        }
        let own_url = format!("http://127.0.0.1:{port}");
        let writes = Arc::<Mutex<Vec<_>>>::default();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/v2", listener.local_addr().unwrap());
        let gateway =
            Gateway { upstream: own_url.clone(), client: reqwest::Client::new(), writes: Arc::clone(&writes) };
        let router = Router::new().fallback(pass_on).with_state(gateway);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, writes, own_url, _process: process }
    }

    /// Requests that write, since the last time.
    fn take_writes(&self) -> Vec<(Method, Value)> {
        std::mem::take(&mut self.writes.lock().unwrap())
    }

    /// Every user, as the service itself lists them.
    async fn users(&self) -> Vec<Value> {
        let client = reqwest::Client::new();
        let mut users: Vec<Value> = Vec::new();
        loop {
            let url = format!("{}/v2/Users?startIndex={}&count=100", self.own_url, users.len() + 1);
            let answer = client.get(url).bearer_auth(DEFAULT_SCIM_TOKEN).send().await.unwrap();
            let page: Value = answer.error_for_status().unwrap().json().await.unwrap();
            users.extend(page["Resources"].as_array().cloned().unwrap_or_default());
            if users.len() as u64 >= page["totalResults"].as_u64().unwrap() {
                return users;
            }
        }
    }

    /// The version of every user: it changes with each write.
    async fn versions(&self) -> BTreeMap<String, Value> {
        let users = self.users().await;
        users.iter().map(|user| (user["id"].as_str().unwrap().to_owned(), user["meta"]["version"].clone())).collect()
    }
}

#[derive(Clone)]
struct Gateway {
    upstream: String,
    client: reqwest::Client,
    writes: Arc<Mutex<Vec<(Method, Value)>>>,
}

async fn pass_on(
    State(gateway): State<Gateway>,
    method: Method,
    uri: Uri,
    mut headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let noted: Option<(Method, Value)> = (!matches!(method, Method::GET | Method::HEAD))
        .then(|| (method.clone(), serde_json::from_slice(&body).unwrap_or_default()));
    // These belong to the connection that they came on.
    for name in ["host", "content-length", "connection", "accept-encoding"] {
        headers.remove(name);
    }
    let request = gateway.client.request(method, format!("{}{uri}", gateway.upstream)).headers(headers).body(body);
    let answer = request.send().await.unwrap();
    // What is refused for its condition is no write: the first change of a process shows so that tags are heeded.
    if answer.status() != 412 {
        gateway.writes.lock().unwrap().extend(noted);
    }
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer
        .headers()
        .iter()
        .filter(|(name, _)| !["transfer-encoding", "connection", "content-length"].contains(&name.as_str()))
    {
        response = response.header(name, value);
    }
    response.body(Body::from(answer.bytes().await.unwrap())).unwrap()
}

/// 500 users of an org reach a service that others wrote, each once, under the id that
/// they have in the org and without a password; with nothing to do nothing is written, ten edits are ten writes, and a
/// deactivation arrives as `active: false`.
async fn a_target_that_nobody_here_wrote_is_kept_in_step(mode: Mode) {
    let sandbox = Sandbox::start(SandboxSettings { users: 500, ..SandboxSettings::default() }).await.unwrap();
    let admin = sandbox.admin();
    let service = Service::start().await;
    let systems = crm(&sandbox) + &directory(&service.url) + &connection("schedule = \"manual\"");
    let mut muster = Installation::patient_on(mode, &systems).await;
    muster.start().await;

    let expected: BTreeSet<String> =
        active_users(&admin).iter().map(|user| user["Id"].as_str().unwrap().to_owned()).collect();
    let first = muster.sync(&[]).await;
    assert_eq!((first.read, first.failed.as_deref()), (501, None));
    assert_eq!(first.commands("applied"), expected.len() as i64, "{first:?}");
    let users = service.users().await;
    let partners: BTreeSet<String> = users.iter().map(|user| user["externalId"].as_str().unwrap().to_owned()).collect();
    assert_eq!((users.len(), partners), (expected.len(), expected.clone()));
    let created = service.take_writes();
    assert_eq!(created.len(), expected.len());
    assert!(created.iter().all(|(method, body)| *method == Method::POST && body.get("password").is_none()));
    for user in active_users(&admin) {
        let copy = users.iter().find(|copy| copy["externalId"] == user["Id"]).unwrap();
        assert_eq!(copy["name"]["familyName"], user["LastName"]);
        assert_eq!(copy["userName"], user["Username"]);
        assert_eq!(copy["emails"][0]["value"], user["Email"]);
        assert_eq!(copy["active"], json!(true));
    }

    let before = service.versions().await;
    for more in [&[][..], &["--full"]] {
        let again = muster.sync(more).await;
        assert_eq!((again.emitted, again.failed), (0, None));
    }
    assert_eq!(service.take_writes(), []);
    assert_eq!(service.versions().await, before);

    let edited: Vec<_> = expected.iter().step_by(37).take(10).cloned().collect();
    for id in &edited {
        admin.edit(System::Salesforce, id, &json!({"Title": "Edited by a person"})).unwrap();
    }
    let edits = muster.sync(&[]).await;
    assert_eq!((edits.changes("accepted"), edits.commands("applied")), (10, 10), "{edits:?}");
    assert_eq!(service.take_writes().iter().filter(|(method, _)| *method == Method::PATCH).count(), 10);
    let after = service.users().await;
    let changed: BTreeSet<_> = after
        .iter()
        .filter(|user| before[user["id"].as_str().unwrap()] != user["meta"]["version"])
        .map(|user| user["externalId"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(changed, edited.iter().cloned().collect());
    assert!(after.iter().filter(|user| user["title"] == "Edited by a person").count() == 10);

    let leaver = expected.iter().nth(5).unwrap();
    admin.deactivate(System::Salesforce, leaver).unwrap();
    let left = muster.sync(&[]).await;
    assert_eq!(left.commands("applied"), 1);
    let writes = service.take_writes();
    assert_eq!(writes.len(), 1, "{writes:?}");
    let inactive: Vec<_> = service.users().await.into_iter().filter(|user| user["active"] == json!(false)).collect();
    assert_eq!(inactive.len(), 1);
    assert_eq!(inactive[0]["externalId"], json!(leaver));
    assert_eq!(muster.letters().await, Vec::<Value>::new());
}

/// R17, R21, R43, R75, R76, B23: over RabbitMQ and Redis.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_nobody_here_wrote_over_servers() {
    a_target_that_nobody_here_wrote_is_kept_in_step(Mode::Servers).await;
}

/// R17, R21, R43, R75, R76, B23: over one file.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_nobody_here_wrote_over_a_file() {
    a_target_that_nobody_here_wrote_is_kept_in_step(Mode::File).await;
}
