//! An installation over one file that a console serves, with a sandbox in the place of both systems, and tokens for
//! everybody.

use std::collections::BTreeMap;
use std::process::Stdio;

use muster::console::access::NewToken;
use muster::sandbox::{Admin, Effect, Fault, Matcher, Sandbox, SandboxSettings, System};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;

use super::processes::{CONNECTION, Installation, Mode, active_users, connection, crm, directory};

/// A `muster console` at work; it ends with this.
pub struct Server {
    _child: Child,
    /// Where it is.
    pub url: String,
    /// The token that it made, where the configuration has none.
    pub token: Option<String>,
}

impl Server {
    /// Starts one and waits until it serves.
    pub async fn start(muster: &Installation) -> Self {
        let mut command = muster.command(env!("CARGO_BIN_EXE_muster"));
        command.args(["console", "--json"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let Some(line) = lines.next_line().await.unwrap() else {
            let output = child.wait_with_output().await.unwrap();
            panic!("{}", String::from_utf8_lossy(&output.stderr));
        };
        let told: Value = serde_json::from_str(&line).unwrap();
        let url = told["url"].as_str().unwrap().to_owned();
        Self { _child: child, url, token: told["token"].as_str().map(str::to_owned) }
    }
}

/// An installation at work that is served.
pub struct Served {
    _sandbox: Sandbox,
    /// The administrator of both systems.
    pub admin: Admin,
    /// Where to run commands.
    pub muster: Installation,
    /// A client without a token.
    pub http: Client,
    systems: String,
    server: Server,
    tokens: BTreeMap<&'static str, String>,
    minutes: i64,
}

impl Served {
    /// So many people, in step; `more` are further lines of the table `[api]`.
    pub async fn start(users: usize, more: &str) -> Self {
        let sandbox = Sandbox::start(SandboxSettings { users, ..SandboxSettings::default() }).await.unwrap();
        let systems = crm(&sandbox) + &directory(&sandbox.scim_url()) + &connection("");
        Self::over(sandbox, &systems, more).await
    }

    /// The same with these tables of systems and connections.
    pub async fn over(sandbox: Sandbox, systems: &str, more: &str) -> Self {
        let admin = sandbox.admin();
        for system in [System::Salesforce, System::Scim] {
            admin.set_clock(system, 10_000);
        }
        let mut api = format!("[api]\nlisten = \"127.0.0.1:0\"\n{more}[api.tokens]\n");
        let mut tokens = BTreeMap::new();
        for (label, role, name) in [
            ("viewer", "viewer", "viewer"),
            ("operator", "operator", "operator"),
            ("operator-as-approver", "approver", "operator"),
            ("approver", "approver", "approver"),
            ("admin", "admin", "admin"),
        ] {
            let token = NewToken::make().unwrap();
            api += &format!(
                "{label} = {{ role = \"{role}\", name = \"{name}\", digest = \"{}\" }}\n",
                token.digest_text()
            );
            tokens.insert(label, token.expose().to_owned());
        }
        let mut muster = Installation::patient_on(Mode::File, &(systems.to_owned() + &api)).await;
        muster.start().await;
        assert_eq!(muster.sync(&[]).await.failed, None);
        let server = Server::start(&muster).await;
        let (http, systems) = (Client::new(), systems.to_owned());
        Self { _sandbox: sandbox, admin, muster, http, systems, server, tokens, minutes: 0 }
    }

    /// Writes the configuration anew; `more` are tables after those of systems and connections.
    pub async fn configure(&mut self, more: &str) {
        self.muster.configure(&format!("{}{more}", self.systems)).await;
    }

    /// Where a path is.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server.url)
    }

    /// The token of this label.
    pub fn token(&self, label: &str) -> &str {
        &self.tokens[label]
    }

    /// Asks the API.
    pub async fn ask(&self, method: Method, token: &str, path: &str, body: Option<&Value>) -> (StatusCode, Value) {
        let request = self.http.request(method, self.url(&format!("/api/v1{path}"))).bearer_auth(self.token(token));
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        let answer = request.send().await.unwrap();
        let status = answer.status();
        (status, answer.json().await.unwrap_or_else(|error| panic!("{path}: {error}")))
    }

    /// Looks, which goes well.
    pub async fn get(&self, token: &str, path: &str) -> Value {
        let (status, answer) = self.ask(Method::GET, token, path, None).await;
        assert_eq!(status, StatusCode::OK, "{path}: {answer}");
        answer
    }

    /// Acts, which goes well.
    pub async fn post(&self, token: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.ask(Method::POST, token, path, Some(body)).await;
        assert_eq!(status, StatusCode::OK, "{path}: {answer}");
        answer
    }

    /// A minute passes, so that no stamp is shared with what was read before.
    pub fn later(&mut self) {
        self.minutes += 1;
        for system in [System::Salesforce, System::Scim] {
            self.admin.set_clock(system, 10_000 + self.minutes * 60_000);
        }
    }

    /// The copies in the directory.
    pub fn copies(&self) -> Vec<Value> {
        self.admin.accounts(System::Scim)
    }

    /// Everybody gets a title that the directory refuses: a letter for each.
    pub async fn backlog(&mut self, title: &str) {
        let on = Matcher { system: Some(System::Scim), method: Some("PATCH".to_owned()), ..Matcher::default() };
        let effect = Effect::Status { status: 403, body: Default::default() };
        let fault = self.admin.inject(Fault { on, effect });
        self.later();
        let users = active_users(&self.admin);
        for user in &users {
            self.admin.edit(System::Salesforce, user["Id"].as_str().unwrap(), &json!({ "Title": title })).unwrap();
        }
        let outcome = self.muster.muster(&["sync", CONNECTION, "--wait", "--json"]).await;
        assert_eq!(outcome.status, 3, "{outcome:?}");
        self.muster.await_letters(users.len()).await;
        assert!(self.admin.end_fault(fault));
        self.later();
    }

    /// A person whom both systems have and nobody has linked: the account in each.
    pub async fn stranger(&self) -> (String, String) {
        let user = json!({
            "Username": "grace@unlinked.example", "LastName": "Hopper", "Email": "grace@unlinked.example",
            "Alias": "grace", "IsActive": true,
        });
        let user = self.admin.create(System::Salesforce, &user).unwrap();
        let copy = self.admin.create(System::Scim, &json!({ "userName": "hopper" })).unwrap();
        (user, copy)
    }
}
