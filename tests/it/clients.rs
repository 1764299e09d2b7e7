//! The sandbox's org in the eyes of clients that nobody here wrote: `jsforce` (npm) over HTTP and `simple-salesforce`
//! (PyPI) over TLS. Each is driven by a script of tests/clients, which tells what it saw.

use std::path::Path;
use std::process::Stdio;

use muster::sandbox::{ClientKey, INTEGRATION_USERNAME, Sandbox, SandboxSettings, Scheme, System, Write};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients");
const USERS: usize = 450;

struct Org {
    sandbox: Sandbox,
    key: ClientKey,
}

impl Org {
    async fn start(scheme: Scheme) -> Self {
        let key = ClientKey::generate().unwrap();
        let certificate_pem = Some(key.certificate_pem.clone());
        let settings = SandboxSettings { users: USERS, scheme, certificate_pem, ..SandboxSettings::default() };
        Self { sandbox: Sandbox::start(settings).await.unwrap(), key }
    }

    /// Runs a script with what it needs to log in; what it saw. A machine without the client must not pass as one on which
    /// this was tested.
    async fn seen_by(&self, command: &mut Command, more: Value, needs: &str) -> Value {
        let mut settings = json!({
            "url": self.sandbox.salesforce_url(), "admin": format!("{}/_admin", self.sandbox.url()),
            "client_id": self.sandbox.client_id(), "client_secret": self.sandbox.client_secret(),
            "username": INTEGRATION_USERNAME, "private_key": self.key.private_pem.expose_secret(),
        });
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        // A proxy of the environment would not know an org on loopback.
        for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{needs} ({error})"));
        child.stdin.take().unwrap().write_all(settings.to_string().as_bytes()).await.unwrap();
        let run = child.wait_with_output().await.unwrap();
        let (output, errors) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
        assert!(run.status.success(), "{needs}. The script said:\n{output}\n{errors}");
        serde_json::from_str(output.lines().last().unwrap_or_default()).unwrap()
    }

    /// Ids of the users as the org has them.
    fn users(&self) -> Vec<Value> {
        self.sandbox.admin().accounts(System::Salesforce).iter().map(|user| user["Id"].clone()).collect()
    }

    fn user(&self, username: &str) -> Value {
        let users = self.sandbox.admin().accounts(System::Salesforce);
        users.into_iter().find(|user| user["Username"] == username).unwrap_or_else(|| panic!("no user {username}"))
    }

    /// What was asked for, with how it was answered, and how often.
    fn asked(&self, operation: &'static str, status: u16) -> u64 {
        let counts = self.sandbox.admin().request_counts();
        counts.get(&(System::Salesforce, operation, status)).copied().unwrap_or_default()
    }
}

fn titled<'a>(writes: &'a [Write], title: &'a str) -> impl Iterator<Item = &'a Write> {
    writes.iter().filter(move |write| write.after.as_ref().is_some_and(|after| after["Title"] == title))
}

#[track_caller]
fn check(seen: &Value, pointer: &str, expected: Value) {
    assert_eq!(seen.pointer(pointer), Some(&expected), "{pointer}");
}

/// B25: jsforce logs in by a secret and by a signed assertion, pages, writes one by one, by collections and by external id,
/// and understands every refusal as what it is.
#[tokio::test(flavor = "multi_thread")]
async fn jsforce_works_with_the_org() {
    const NEEDS: &str = "this test needs node and jsforce: run tests/run, which installs them, or install \
                         tests/clients/package.json with npm and name its node_modules in MUSTER_TEST_NODE_MODULES";
    let modules = std::env::var_os("MUSTER_TEST_NODE_MODULES").expect(NEEDS);
    assert!(Path::new(&modules).join("jsforce").is_dir(), "{NEEDS}");
    let org = Org::start(Scheme::Http).await;
    let before = org.users();
    let mut node = Command::new("node");
    let seen = org.seen_by(node.arg(format!("{SCRIPTS}/jsforce.js")).env("NODE_PATH", modules), json!({}), NEEDS).await;

    check(&seen, "/objects", json!(["Account", "Contact", "Profile", "User", "UserRole"]));
    check(&seen, "/external_ids", json!(["Partner_Id__c", "Operator_ID__c"]));
    check(&seen, "/versions/21", json!("67.0"));
    check(&seen, "/user/id", before[0].clone());
    check(&seen, "/queries/pages", json!([200, 200, 51]));
    check(&seen, "/queries/total", json!(USERS + 1));
    check(&seen, "/queries/fetched", json!(USERS + 1));
    check(&seen, "/queries/count", json!(USERS + 1));
    check(&seen, "/queries/users", json!(before));
    check(&seen, "/queries/wrong/code", json!("INVALID_FIELD"));
    assert!(!seen["queries"]["found"].as_array().unwrap().is_empty());

    check(&seen, "/users/created/success", json!(true));
    check(&seen, "/users/duplicate/code", json!("DUPLICATE_USERNAME"));
    check(&seen, "/users/read/Title", json!("Changed by jsforce"));
    check(&seen, "/users/collection/2/success", json!(true));
    check(&seen, "/users/collection/3/errors/0/statusCode", json!("MALFORMED_ID"));
    check(&seen, "/users/collection/4/errors/0/statusCode", json!("FIELD_INTEGRITY_EXCEPTION"));
    check(&seen, "/users/upserted/0/created", json!(true));
    check(&seen, "/users/upserted/1/created", json!(false));
    check(&seen, "/users/upserted_many/0/created", json!(false));
    check(&seen, "/users/upserted_many/1/created", json!(true));
    check(&seen, "/users/upserted_many/2/errors/0/statusCode", json!("DUPLICATE_USERNAME"));
    check(&seen, "/users/undeletable/code", json!("METHOD_NOT_ALLOWED"));

    check(&seen, "/contacts/created", json!(250));
    check(&seen, "/contacts/failed/0/errors/0/statusCode", json!("REQUIRED_FIELD_MISSING"));
    assert_eq!(seen["contacts"]["failed"].as_array().unwrap().len(), 1);
    check(&seen, "/contacts/all_or_none/0/errors/0/statusCode", json!("ALL_OR_NONE_OPERATION_ROLLED_BACK"));
    check(&seen, "/contacts/all_or_none/1/errors/0/statusCode", json!("REQUIRED_FIELD_MISSING"));
    check(&seen, "/contacts/several/code", json!("MULTIPLE_CHOICES"));
    check(&seen, "/contacts/retrieved", json!(["L0", "L1", "L2"]));
    check(&seen, "/contacts/destroyed", json!([true, true, true]));
    check(&seen, "/contacts/again/errors/0/statusCode", json!("ENTITY_IS_DELETED"));
    check(&seen, "/contacts/gone/code", json!("ENTITY_IS_DELETED"));
    check(&seen, "/contacts/too_many/code", json!("EXCEEDED_ID_LIMIT"));

    check(&seen, "/sessions/expired/code", json!("INVALID_SESSION_ID"));
    check(&seen, "/sessions/replayed", json!(1));
    check(&seen, "/sessions/refreshed", json!(1));
    check(&seen, "/sessions/bearer/id", before[0].clone());
    check(&seen, "/sessions/revoked/code", json!("INVALID_SESSION_ID"));
    check(&seen, "/sessions/wrong_secret/code", json!("invalid_client"));
    check(&seen, "/sessions/wrong_assertion/code", json!("invalid_grant"));

    // And the org's own account of it.
    let writes = org.sandbox.admin().writes(0);
    let users: Vec<&str> = writes
        .iter()
        .filter(|write| write.object == "User" && write.created)
        .map(|write| write.account.as_str())
        .collect();
    assert_eq!(users.len(), 3, "{users:?}");
    let changed: Vec<&Value> = before[1..4].iter().collect();
    let named: Vec<&Write> = titled(&writes, "Changed by jsforce").collect();
    assert!(changed.iter().all(|id| named.iter().any(|write| write.account == id.as_str().unwrap())));
    assert_eq!(named.len(), 5, "three by a collection, one by its id, one by its key");
    assert_eq!(org.user("two@jsforce.example")["Title"], "Changed again");
    assert_eq!(org.user("three@jsforce.example")["Partner_Id__c"], "k2");
    let contacts = org.sandbox.admin().records(System::Salesforce, "Contact");
    assert_eq!(contacts.len(), 249 - 3);
    assert!(contacts.iter().all(|contact| contact["Title"].is_null() && !contact["LastName"].is_null()));
    let asked = ["create-many", "update-many", "upsert-many", "delete-many"].map(|operation| org.asked(operation, 200));
    assert_eq!(asked, [2, 2, 1, 2]);
    assert_eq!((org.asked("query", 401), org.asked("token", 400)), (3, 2));
}

/// B25: simple-salesforce does the same over TLS with a session id, and logs in by a signed assertion.
#[tokio::test(flavor = "multi_thread")]
async fn simple_salesforce_works_with_the_org_over_tls() {
    const NEEDS: &str = "this test needs simple-salesforce: run tests/run, which installs it, or install \
                         tests/servers/requirements.txt with pip and name that Python in MUSTER_TEST_PYTHON";
    let org = Org::start(Scheme::Https).await;
    let before = org.users();
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("ca.pem");
    std::fs::write(&authority, org.sandbox.authority_pem().unwrap()).unwrap();
    let authority_of_client = reqwest::Certificate::from_pem(org.sandbox.authority_pem().unwrap().as_bytes()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([authority_of_client]).build().unwrap();
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", org.sandbox.client_id()),
        ("client_secret", org.sandbox.client_secret()),
    ];
    let url = format!("{}/services/oauth2/token", org.sandbox.salesforce_url());
    let token: Value = client.post(url).form(&form).send().await.unwrap().json().await.unwrap();
    let python = std::env::var_os("MUSTER_TEST_PYTHON").unwrap_or("python3".into());
    let more = json!({"authority": authority, "session_id": token["access_token"]});
    let script = format!("{SCRIPTS}/simple_salesforce_client.py");
    let seen = org.seen_by(Command::new(python).arg(script), more, NEEDS).await;

    check(&seen, "/objects", json!(["Account", "Contact", "Profile", "User", "UserRole"]));
    check(&seen, "/queries/pages", json!([200, 200, 51]));
    check(&seen, "/queries/ids", json!(before));
    check(&seen, "/queries/by_iterator", json!(USERS + 1));
    check(&seen, "/queries/wrong/error", json!("SalesforceMalformedRequest"));
    check(&seen, "/queries/wrong/content/0/errorCode", json!("INVALID_FIELD"));

    check(&seen, "/users/created/success", json!(true));
    check(&seen, "/users/duplicate/content/0/errorCode", json!("DUPLICATE_USERNAME"));
    check(&seen, "/users/unknown_field/content/0/errorCode", json!("INVALID_FIELD"));
    check(&seen, "/users/changed", json!(204));
    check(&seen, "/users/read/Title", json!("Changed by simple-salesforce"));
    check(&seen, "/users/upserted", json!([201, 200]));
    check(&seen, "/users/by_key", json!("two@simple.example"));
    check(&seen, "/users/collection/2/success", json!(true));
    check(&seen, "/users/collection/3/errors/0/statusCode", json!("INVALID_EMAIL_ADDRESS"));
    check(&seen, "/users/upserted_many/0/created", json!(false));
    check(&seen, "/users/stale/status", json!(412));
    check(&seen, "/users/undeletable/status", json!(405));

    check(&seen, "/contacts/created", json!(200));
    check(&seen, "/contacts/several/error", json!("SalesforceMoreThanOneRecord"));
    check(&seen, "/contacts/gone/error", json!("SalesforceResourceNotFound"));
    check(&seen, "/contacts/left", json!(199));
    check(&seen, "/contacts/with_deleted", json!(200));

    check(&seen, "/sessions/expired/error", json!("SalesforceExpiredSession"));
    check(&seen, "/sessions/replayed", json!(1));
    check(&seen, "/sessions/instance", json!(true));
    assert!(seen["sessions"]["unapproved"]["content"].as_str().unwrap().contains("invalid_app_access"));

    let writes = org.sandbox.admin().writes(0);
    let named: Vec<&Write> = titled(&writes, "Changed by simple-salesforce").collect();
    assert!(before[1..4].iter().all(|id| named.iter().any(|write| write.account == id.as_str().unwrap())));
    assert_eq!(named.len(), 5, "three by a collection, one by its id, one by its key");
    assert_eq!(org.user("two@simple.example")["Title"], "Changed again");
    assert_eq!(org.sandbox.admin().records(System::Salesforce, "Contact").len(), 199);
    assert_eq!(
        (org.asked("create-many", 200), org.asked("update-many", 200), org.asked("upsert-many", 200)),
        (1, 1, 1)
    );
    // One login by assertion, the same again when its session had ended, and one refused.
    assert_eq!((org.asked("token", 200), org.asked("token", 400)), (3, 1));
    assert_eq!(org.asked("query", 401), 2);
}
