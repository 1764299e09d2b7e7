//! A canary in each secret field: whatever fails, and whatever the systems answer, no secret is in a log, a metric, a queue, a
//! letter, what a command prints, the store, or the file of the embedded mode.

use std::path::{Path, PathBuf};

use muster::sandbox::iadvize::{DEFAULT_API_KEY, DEFAULT_PASSWORD};
use muster::sandbox::{
    Admin, ClientKey, DEFAULT_INITLIVE_KEY, DEFAULT_SALESSCREEN_KEY, Effect, Fault, FaultBody, INITLIVE_ORGANIZATION,
    INTEGRATION_USERNAME, Matcher, Sandbox, SandboxSettings, System,
};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::processes::{Installation, Mode, active_users};
use super::rabbitmq::RabbitMq;
use super::redis_server::{RedisServer, free_port};

const CLIENT_SECRET: &str = "canary-client-secret";
const SCIM_TOKEN: &str = "canary-scim-token";
const SSO_TOKEN: &str = "canary-sso-token";
const WEBHOOK_PATH: &str = "canary-webhook-path";
const WEBHOOK_TOKEN: &str = "canary-webhook-token";
const AMQP_PASSWORD: &str = "canary-amqp-password";
const REDIS_PASSWORD: &str = "canary-redis-password";

/// What must be found nowhere.
struct Canaries(Vec<(String, String)>);

impl Canaries {
    /// Whether a text shows one, as it is or as a header or an address would carry it.
    #[track_caller]
    fn assert_absent(&self, place: &str, bytes: &[u8]) {
        use base64::Engine as _;
        for (name, canary) in &self.0 {
            let encoded = base64::engine::general_purpose::STANDARD.encode(canary);
            for form in [canary.as_str(), encoded.trim_end_matches('=')] {
                let found = bytes.windows(form.len()).any(|window| window == form.as_bytes());
                assert!(!found, "{name} is in {place}");
            }
        }
    }

    /// The same of all files below a folder; how many there are.
    fn assert_absent_below(&self, folder: &Path) -> usize {
        let mut count = 0;
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            // A file may go while it is looked for.
            match std::fs::read(&path) {
                Ok(bytes) => {
                    count += 1;
                    self.assert_absent(&path.display().to_string(), &bytes);
                }
                Err(_) if path.is_dir() => count += self.assert_absent_below(&path),
                Err(_) => {}
            }
        }
        count
    }
}

/// Files that hold the secrets; they are kept apart from what is searched.
struct Secrets {
    folder: tempfile::TempDir,
}

impl Secrets {
    fn new(all: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, secret) in all {
            std::fs::write(folder.path().join(name), secret).unwrap();
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str) -> String {
        format!("{{ file = \"{}\" }}", self.path(name).display())
    }
}

/// Every kind of system with every way to log in, and a connection to each.
fn configuration(sandbox: &Sandbox, secrets: &Secrets, metrics: u16) -> String {
    let url = sandbox.salesforce_url();
    let attributes = "emails = {}\n\"name.givenName\" = {}\n\"name.familyName\" = {}\n";
    let connection = |name: &str, a: &str, b: &str, more: &str| {
        format!(
            "[connections.{name}]\na = {a}\nb = \"{b}\"\ndirection = \"a_to_b\"\nbudgets = \"off\"\nmatch = [\"emails\"]\n\
             {more}\n[connections.{name}.attributes]\n{attributes}\n"
        )
    };
    let user = "{ system = \"crm\", object = \"User\" }";
    let mut text = format!(
        "[systems.crm]\nkind = \"salesforce\"\nurl = \"{url}\"\nauth = {{ flow = \"client-credentials\", client_id = \"{}\", \
         client_secret = {} }}\n",
        sandbox.client_id(),
        secrets.file("client_secret")
    );
    text += &format!(
        "[systems.signed]\nkind = \"salesforce\"\nurl = \"{url}\"\nauth = {{ flow = \"jwt-bearer\", client_id = \"{}\", \
         username = \"{INTEGRATION_USERNAME}\", key_file = \"{}\" }}\n",
        sandbox.client_id(),
        secrets.path("key.pem").display()
    );
    text += &format!(
        "[systems.directory]\nkind = \"scim\"\nurl = \"{}\"\nauth = {{ flow = \"bearer\", token = {} }}\n",
        sandbox.scim_url(),
        secrets.file("scim_token")
    );
    for (name, auth) in [
        (
            "chat",
            format!(
                "transport = \"graphql\", username = \"{}\", password = {}",
                muster::sandbox::iadvize::DEFAULT_USERNAME,
                secrets.file("password")
            ),
        ),
        ("desk", format!("transport = \"rest\", key = {}", secrets.file("iadvize_key"))),
    ] {
        text += &format!(
            "[systems.{name}]\nkind = \"iadvize\"\nurl = \"{}\"\nplatform = \"ha\"\ncalls_per_second = 1000\nauth = {{ {auth} }}\n\
             defaults = {{ \"native.projects\" = [\"Shop\"], nickName = \"Agent\" }}\n",
            sandbox.iadvize_url()
        );
    }
    text += &format!(
        "[systems.results]\nkind = \"salesscreen\"\nurl = \"{}\"\napi_key = {}\nautomatic_sync_off = true\n",
        sandbox.salesscreen_url(),
        secrets.file("salesscreen_key")
    );
    text += &format!(
        "[systems.volunteers]\nkind = \"initlive\"\nurl = \"{}\"\norganization = {INITLIVE_ORGANIZATION}\napi_key = {}\n",
        sandbox.initlive_url(),
        secrets.file("initlive_key")
    );
    text += &format!(
        "[alerts]\nwebhook = {{ url = {}, header = \"Authorization\", value = {} }}\n\n",
        secrets.file("webhook"),
        secrets.file("webhook_token")
    );
    let automatic = "create = \"automatic\"";
    text += &connection(
        "by-hand",
        "{ system = \"signed\", object = \"User\", partner_field = \"Operator_ID__c\", partner_requires = \"SSO_Token__c\" }",
        "chat",
        "",
    );
    text += &connection("to-desk", user, "desk", automatic);
    text += &connection("to-results", user, "results", automatic);
    text += &connection("to-volunteers", "{ system = \"crm\", object = \"Contact\" }", "volunteers", automatic);
    text += &connection("to-directory", user, "directory", &format!("{automatic}\nleavers = \"delete\""));
    let all = "[connections.to-directory.attributes]\n";
    text = text.replace(all, &format!("{all}userName = {{}}\n"));
    text.replace("[systems.crm]", &format!("[telemetry]\nlisten = \"127.0.0.1:{metrics}\"\n\n[systems.crm]"))
}

const CONNECTIONS: [&str; 5] = ["by-hand", "to-desk", "to-results", "to-volunteers", "to-directory"];

/// What a careless server answers: whatever it was sent, with the secret.
fn tell_tale(canaries: &Canaries, status: u16) -> Effect {
    let all: Vec<&str> = canaries.0.iter().map(|(_, canary)| canary.as_str()).collect();
    let all = all.join(" ");
    let body = json!({
        "detail": all, "message": all, "error": all, "error_description": all, "errors": [{"message": all}],
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"], "status": status.to_string(),
        "meta": {"status": "error", "message": all},
    });
    Effect::Status { status, body: FaultBody::Json(body) }
}

/// Lets everything go wrong once: whole calls, lost answers, refusals that quote what they were sent.
fn trouble(admin: &Admin, canaries: &Canaries) {
    let systems = [System::Salesforce, System::Scim, System::Iadvize, System::SalesScreen, System::InitLive];
    for system in systems {
        for effect in [tell_tale(canaries, 400), tell_tale(canaries, 500), Effect::AppliedThenCut, Effect::LoginPage] {
            let on = Matcher {
                system: Some(system),
                every: std::num::NonZeroU64::new(5),
                times: Some(3),
                ..Matcher::default()
            };
            admin.inject(Fault { on, effect });
        }
    }
}

async fn nothing_shows_a_secret(mode: Mode) {
    let key = ClientKey::generate().unwrap();
    let settings = SandboxSettings {
        users: 12,
        contacts: 6,
        client_secret: CLIENT_SECRET.into(),
        scim_token: SCIM_TOKEN.into(),
        certificate_pem: Some(key.certificate_pem.clone()),
        ..SandboxSettings::default()
    };
    let sandbox = Sandbox::start(settings).await.unwrap();
    let admin = sandbox.admin();
    admin.configure(System::Iadvize, json!({"requests_per_second": 100_000, "logins_per_minute": 1_000})).unwrap();
    admin.set_clock(System::Salesforce, 10_000);
    let pem = key.private_pem.expose_secret().to_owned();
    let line = pem.lines().nth(3).unwrap().to_owned();
    // Nobody listens there, so that alerts fail as well.
    let webhook = format!("http://127.0.0.1:{}/{WEBHOOK_PATH}", free_port());
    let fields = [
        ("client_secret", CLIENT_SECRET),
        ("scim_token", SCIM_TOKEN),
        ("password", DEFAULT_PASSWORD),
        ("iadvize_key", DEFAULT_API_KEY),
        ("salesscreen_key", DEFAULT_SALESSCREEN_KEY),
        ("initlive_key", DEFAULT_INITLIVE_KEY),
        ("webhook_token", WEBHOOK_TOKEN),
        ("amqp_password", AMQP_PASSWORD),
        ("redis_password", REDIS_PASSWORD),
    ];
    let secrets = Secrets::new(&[&fields[..], &[("key.pem", &pem), ("webhook", &webhook)]].concat());
    let more = [("key.pem", line.as_str()), ("webhook", WEBHOOK_PATH), ("sso_token", SSO_TOKEN)];
    let canaries = Canaries(
        [&fields[..], &more].concat().iter().map(|(name, canary)| ((*name).into(), (*canary).into())).collect(),
    );

    let users = active_users(&admin);
    let id = |user: &Value| user["Id"].as_str().unwrap().to_owned();
    let operator = |name: &str, email: &Value| {
        let fields = json!({"name": name, "pseudo": name, "email": email, "website_list": [1]});
        admin.create(System::Iadvize, &fields).unwrap()
    };
    let one = operator("One", &json!("one@x.example"));
    // Linked by both fields, half linked, and with what is no id: the last two are letters.
    for (user, operator) in [(&users[0], json!(one)), (&users[1], Value::Null), (&users[2], json!("Canteen"))] {
        let fields = json!({"Operator_ID__c": operator, "SSO_Token__c": SSO_TOKEN});
        admin.edit(System::Salesforce, &id(user), &fields).unwrap();
    }
    // An address that is taken is a letter.
    operator("Two", &users[3]["Email"]);

    let metrics = free_port();
    let mut text = configuration(&sandbox, &secrets, metrics);
    let (mut node, mut redis) = (None, None);
    let mut muster = Installation::patient_on(Mode::File, &text).await;
    if mode == Mode::Servers {
        let broker = RabbitMq::private().await;
        broker.ctl(&["add_user", "canary", AMQP_PASSWORD]).await;
        broker.ctl(&["set_permissions", "canary", ".*", ".*", ".*"]).await;
        let store = RedisServer::private(&["--requirepass", REDIS_PASSWORD, "--rdbcompression", "no"]).await;
        let port = broker.url().port().unwrap();
        text = format!(
            "[broker]\nurl = \"amqp://canary@127.0.0.1:{port}\"\npassword = {}\n\n[store]\nurl = \"{}\"\npassword = {}\n\n{text}",
            secrets.file("amqp_password"),
            store.url(),
            secrets.file("redis_password"),
        );
        (node, redis) = (Some(broker), Some(store));
    }
    let text = format!("[writer]\nlease = \"8s\"\nrequest_timeout = \"6s\"\n\n{text}");
    std::fs::write(muster.config(), &text).unwrap();
    canaries.assert_absent("the configuration", text.as_bytes());

    // With all workers in one process also over servers: who serves a command is not what this is about.
    let mut said = Vec::new();
    muster.start_run().await;
    trouble(&admin, &canaries);
    for connection in CONNECTIONS {
        let run = muster.muster(&["sync", connection, "--wait", "--json"]).await;
        assert!([0, 1, 3].contains(&run.status), "{run:?}");
        said.push(run);
    }
    admin.end_faults();
    admin.set_clock(System::Salesforce, 70_000);
    for (number, user) in users.iter().enumerate().skip(4) {
        let fields =
            json!({"LastName": format!("Renamed {number}"), "IsActive": number != 5, "SSO_Token__c": SSO_TOKEN});
        admin.edit(System::Salesforce, &id(user), &fields).unwrap();
    }
    for connection in CONNECTIONS {
        said.push(muster.muster(&["sync", connection, "--full", "--wait", "--json"]).await);
    }
    let account = format!("crm:{}", id(&users[5]));
    let linked = format!("signed:{}", id(&users[0]));
    let letters = muster.letters().await;
    assert!(letters.len() >= 3, "{letters:?}");
    for arguments in [
        &["status"][..],
        &["status", "--json"],
        &["check"],
        &["dead", "list", "--json"],
        &["dead", "list", "--group"],
        &["dead", "preview", "--all", "--values", "--json"],
        &["dead", "export", "--values"],
        &["dead", "export", "--format", "csv"],
        &["held", "list", "--json"],
        &["links", "list"],
        &["links", "list", "--incomplete"],
        &["links", "export", "by-hand"],
        &["links", "missing", "by-hand"],
        &["plan", "to-directory", "--json"],
        &["explain", &account],
        &["explain", &linked, "--json"],
        &["topology"],
    ] {
        said.push(muster.muster(arguments).await);
    }
    for letter in &letters {
        said.push(
            muster.muster(&["dead", "show", letter["id"].as_str().unwrap(), "--live", "--values", "--json"]).await,
        );
        said.push(muster.muster(&["dead", "retry", letter["id"].as_str().unwrap(), "--json"]).await);
    }
    let page = reqwest::get(format!("http://127.0.0.1:{metrics}/metrics")).await.unwrap().text().await.unwrap();
    assert!(page.contains("muster_"), "{page}");
    canaries.assert_absent("the metrics", page.as_bytes());

    // Secrets that the servers refuse: the reason is told, and not what was sent.
    for (name, _) in &fields[..6] {
        std::fs::write(secrets.path(name), format!("wrong-canary-{name}")).unwrap();
    }
    let wrong =
        Canaries(fields[..6].iter().map(|(name, _)| ((*name).into(), format!("wrong-canary-{name}"))).collect());
    let check = muster.muster(&["check"]).await;
    assert_ne!(check.status, 0, "{check:?}");
    wrong.assert_absent("what check says", format!("{}{}", check.stdout, check.stderr).as_bytes());
    said.push(check);

    for outcome in &said {
        canaries.assert_absent(&format!("{outcome:?}"), format!("{}{}", outcome.stdout, outcome.stderr).as_bytes());
    }
    muster.kill("run").await;
    let folder = muster.config().parent().unwrap().to_owned();
    assert!(canaries.assert_absent_below(&folder) >= if mode == Mode::File { 3 } else { 2 });
    if let Some(node) = &node {
        // Queues and the log of letters lie there.
        assert!(canaries.assert_absent_below(node.directory()) > 10);
    }
    if let Some(redis) = &redis {
        // The append-only file has every command that changed something, letter by letter.
        assert!(canaries.assert_absent_below(redis.directory()) >= 2);
    }
}

/// R5, R21, B17: embedded.
#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_anywhere_over_a_file() {
    nothing_shows_a_secret(Mode::File).await;
}

/// R5, R21, B17: over RabbitMQ and Redis.
#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_anywhere_over_servers() {
    nothing_shows_a_secret(Mode::Servers).await;
}
