//! Links made by fields of the Salesforce user: the Operator ID and the SSO token, which only counts as filled or not.

use std::path::Path;

use muster::sandbox::{Admin, Sandbox, SandboxSettings, System, iadvize};
use serde_json::{Value, json};

use super::super::embedded_run::Home;
use super::super::processes::{Installation, active_users, crm};
use super::{id, lines};

const CONNECTION: &str = "crm-chat";

/// What is kept in the field of the token. It must be nowhere else.
const CANARY: &str = "canary-4f1d9c";

async fn sandbox() -> (Sandbox, Admin, Vec<Value>) {
    let sandbox = Sandbox::start(SandboxSettings { users: 8, ..SandboxSettings::default() }).await.unwrap();
    let admin = sandbox.admin();
    admin.set_clock(System::Salesforce, 10_000);
    let users = active_users(&admin);
    (sandbox, admin, users)
}

/// An org and an iAdvize whose key is in this file, with these lines in the table of the connection.
fn systems(sandbox: &Sandbox, key: &Path, connection: &str) -> String {
    std::fs::write(key, iadvize::DEFAULT_API_KEY).unwrap();
    format!(
        "{}[systems.chat]\nkind = \"iadvize\"\nurl = \"{}\"\nauth = {{ transport = \"rest\", key = {{ file = \"{}\" }} }}\n\
         calls_per_second = 1000\ndefaults = {{ \"native.projects\" = [\"Shop\"] }}\n\
         [connections.{CONNECTION}]\na = {{ system = \"crm\", object = \"User\", partner_field = \"Operator_ID__c\", \
         partner_requires = \"SSO_Token__c\"{}\
         b = \"chat\"\ndirection = \"a_to_b\"\nmatch = [\"emails\"]\n\
         [connections.{CONNECTION}.attributes]\nemails = {{}}\nnickName = {{}}\n\"name.givenName\" = {{}}\n\
         \"name.familyName\" = {{}}\n",
        crm(sandbox),
        sandbox.iadvize_url(),
        key.display(),
        connection,
    )
}

fn key() -> tempfile::NamedTempFile {
    tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// An operator who was there before.
fn operator(admin: &Admin, name: &str) -> String {
    let fields = json!({"name": name, "pseudo": name, "email": format!("{name}@x.example"), "website_list": [1]});
    admin.create(System::Iadvize, &fields).unwrap()
}

fn name_of(admin: &Admin, operator: &str) -> Value {
    admin.account(System::Iadvize, operator).unwrap()["name"].clone()
}

/// The accounts of letters, and what the letters are about.
fn codes(letters: &[Value]) -> Vec<(&str, &str)> {
    let mut codes: Vec<(&str, &str)> = Vec::new();
    for letter in letters {
        codes.push((letter["account"].as_str().unwrap(), letter["fingerprint"]["code"].as_str().unwrap()));
    }
    codes.sort_unstable();
    codes
}

/// R2, R4, R5: saving Operator ID and SSO token links the two, and values flow; one of them alone is an incomplete link,
/// shown and counted, and nothing is written; a second user who names the same operator is refused and reported, and so is
/// what is no number; none of it makes an operator. The token is nowhere: not in the file of queues, links and letters, not
/// in a log of everything, not in what is shown.
#[tokio::test(flavor = "multi_thread")]
async fn saving_both_fields_links_two_accounts() {
    let (sandbox, admin, users) = sandbox().await;
    let key = key();
    let home =
        Home::with(&systems(&sandbox, key.path(), " }\n")).connection(CONNECTION).variable("MUSTER_LOG", "trace");
    let (first, second) = (operator(&admin, "first"), operator(&admin, "second"));
    let sync = async || {
        let outcome = home.muster(&["sync", CONNECTION, "--wait", "--json"]).await;
        assert!(!outcome.stderr.contains(CANARY) && !outcome.stdout.contains(CANARY), "the token is shown");
        outcome
    };
    // Everybody is known before anybody names a partner.
    sync().await;
    let set = |user: &Value, operator: Value, token: Value| {
        let fields = json!({"Operator_ID__c": operator, "SSO_Token__c": token});
        admin.edit(System::Salesforce, id(user), &fields).unwrap();
    };
    let alone = Value::Null;
    admin.set_clock(System::Salesforce, 60_000);
    set(&users[0], json!(first), alone.clone());
    set(&users[1], alone.clone(), json!(CANARY));
    set(&users[2], json!("12a"), json!(CANARY));
    set(&users[3], json!(second), json!(CANARY));
    assert_eq!(sync().await.status, 3);
    let letters = home.letters().await;
    let mut expected = vec![
        (id(&users[0]), "incomplete_link"),
        (id(&users[1]), "incomplete_link"),
        (id(&users[2]), "invalid_partner_id"),
    ];
    expected.sort_unstable();
    assert_eq!(codes(&letters), expected);
    assert_eq!((name_of(&admin, &first), name_of(&admin, &second)), (json!("first"), users[3]["LastName"].clone()));
    let incomplete = home.muster(&["links", "list", "--incomplete", "--json"]).await;
    let shown = lines(&incomplete);
    assert_eq!((incomplete.status, shown.len()), (3, 2), "{incomplete:?}");
    assert!(shown.iter().all(|link| link["what"].as_str().unwrap().contains("SSO_Token__c")), "{shown:?}");
    let status: Value = serde_json::from_str(&home.muster(&["status", "--json"]).await.stdout).unwrap();
    assert_eq!(status["connections"][0]["incomplete"], 2);

    // Completed, it is linked; the operator of somebody else stays theirs; cleared, nothing is left to say.
    admin.set_clock(System::Salesforce, 120_000);
    set(&users[0], json!(first), json!(CANARY));
    set(&users[1], json!(second), json!(CANARY));
    set(&users[2], alone.clone(), alone.clone());
    sync().await;
    assert_eq!(codes(&home.letters().await), [(id(&users[1]), "already_linked")]);
    assert_eq!(name_of(&admin, &first), users[0]["LastName"]);
    assert_eq!(name_of(&admin, &second), users[3]["LastName"]);

    // Whoever is linked keeps the partner, and is told of naming another one; the link is kept in step all the same.
    admin.set_clock(System::Salesforce, 180_000);
    set(&users[1], alone.clone(), alone);
    set(&users[0], json!(second), json!(CANARY));
    admin.edit(System::Salesforce, id(&users[0]), &json!({"LastName": "Newer"})).unwrap();
    sync().await;
    assert_eq!(codes(&home.letters().await), [(id(&users[0]), "already_linked")]);
    assert_eq!(name_of(&admin, &first), "Newer");
    let links = lines(&home.muster(&["links", "list", "--json"]).await);
    assert_eq!(links.len(), 2, "{links:?}");
    assert_eq!(admin.accounts(System::Iadvize).len(), 2 + first_operators(&sandbox).await);

    for command in [&["explain", &format!("crm:{}", id(&users[0]))][..], &["status"], &["links", "missing", CONNECTION]]
    {
        let told = home.muster(command).await;
        assert!(!told.stdout.contains(CANARY) && !told.stderr.contains(CANARY), "{command:?}");
    }
    for file in ["muster.db", "muster.db-wal"] {
        let bytes = std::fs::read(home.path(file)).unwrap_or_default();
        let is_there = bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes());
        assert!(!is_there, "the token is in {file}");
    }
}

/// Operators that a sandbox has from the beginning.
async fn first_operators(of: &Sandbox) -> usize {
    let fresh = Sandbox::start(SandboxSettings { users: 8, ..SandboxSettings::default() }).await.unwrap();
    assert_ne!(fresh.iadvize_url(), of.iadvize_url());
    fresh.admin().accounts(System::Iadvize).len()
}

/// R1, R4, R7, R8: beside automatic creation, whoever has one of the two fields gets no operator; whoever has none and is
/// ticked gets one, whose id is written back and makes no incomplete link.
#[tokio::test(flavor = "multi_thread")]
async fn half_a_link_makes_nobody() {
    let (sandbox, admin, users) = sandbox().await;
    let key = key();
    let text = systems(
        &sandbox,
        key.path(),
        ", write_back = true }\nscope = \"a.native.Sync__c == true\"\ncreate = \"automatic\"\n",
    );
    let text = text.replace("[systems.chat]", "fields = [\"Sync__c\"]\n[systems.chat]");
    let home = Home::with(&text).connection(CONNECTION);
    let before = admin.accounts(System::Iadvize).len();
    for user in &users[..3] {
        admin.edit(System::Salesforce, id(user), &json!({"Sync__c": true})).unwrap();
    }
    admin.edit(System::Salesforce, id(&users[0]), &json!({"SSO_Token__c": CANARY})).unwrap();
    let synced = home.sync(&[]).await;
    assert_eq!(synced.failed, None);
    assert_eq!(codes(&home.letters().await), [(id(&users[0]), "incomplete_link")]);
    assert_eq!(admin.accounts(System::Iadvize).len(), before + 2);
    home.sync(&["--full"]).await;
    for user in &users[1..3] {
        let user = admin.account(System::Salesforce, id(user)).unwrap();
        assert!(user["Operator_ID__c"].is_string() && user["SSO_Token__c"].is_null(), "{user}");
    }
    assert_eq!(codes(&home.letters().await), [(id(&users[0]), "incomplete_link")]);
    assert_eq!(admin.accounts(System::Iadvize).len(), before + 2);

    // Cleared, they are like everybody else who is ticked.
    admin.set_clock(System::Salesforce, 60_000);
    admin.edit(System::Salesforce, id(&users[0]), &json!({"SSO_Token__c": null})).unwrap();
    home.sync(&[]).await;
    assert!(home.letters().await.is_empty());
    assert_eq!(admin.accounts(System::Iadvize).len(), before + 3);
}

/// R2, R4: the same over servers, with two users who name one operator in the same moment: one is linked, one reported.
#[tokio::test(flavor = "multi_thread")]
async fn saving_both_fields_links_over_servers() {
    let (sandbox, admin, users) = sandbox().await;
    let key = key();
    let mut muster = Installation::new(&systems(&sandbox, key.path(), " }\n")).await;
    muster.start().await;
    let sync = async || muster.muster(&["sync", CONNECTION, "--wait", "--json"]).await;
    sync().await;
    let wanted = operator(&admin, "wanted");
    admin.set_clock(System::Salesforce, 60_000);
    for user in &users[..2] {
        let fields = json!({"Operator_ID__c": wanted, "SSO_Token__c": CANARY});
        admin.edit(System::Salesforce, id(user), &fields).unwrap();
    }
    admin.edit(System::Salesforce, id(&users[2]), &json!({"Operator_ID__c": "9"})).unwrap();
    sync().await;
    let letters = muster.letters().await;
    let mut found = codes(&letters);
    found.retain(|(account, _)| *account != id(&users[2]));
    assert_eq!((letters.len(), found.len(), found[0].1), (2, 1, "already_linked"), "{letters:?}");
    let links = lines(&muster.muster(&["links", "list", "--json"]).await);
    assert_eq!((links.len(), &links[0]["b"]), (1, &json!(format!("chat:{wanted}"))));
    let winner = users[..2].iter().find(|user| id(user) != found[0].0).unwrap();
    assert_eq!(links[0]["a"], json!(format!("crm:{}", id(winner))));
    assert_eq!(name_of(&admin, &wanted), winner["LastName"]);
    assert!(!muster.logs().contains(CANARY) && !format!("{letters:?}").contains(CANARY));
}

/// What cannot work is refused at load, with the reason.
#[tokio::test(flavor = "multi_thread")]
async fn fields_that_cannot_make_links_are_refused() {
    let (sandbox, ..) = sandbox().await;
    let key = key();
    let good = systems(&sandbox, key.path(), " }\n");
    for (from, to, said) in [
        ("partner_field = \"Operator_ID__c\", ", "", "there is no field with an id"),
        (
            "partner_requires = \"SSO_Token__c\"",
            "partner_requires = \"operator_id__C\"",
            "is the field of the id itself",
        ),
        ("[systems.chat]", "fields = [\"sso_token__c\"]\n[systems.chat]", "may hold a secret"),
        ("direction = \"a_to_b\"", "direction = \"b_to_a\"\ncreate = \"automatic\"", "which only people fill"),
    ] {
        assert!(good.contains(from), "{from}");
        let home = Home::with(&good.replace(from, to));
        let refused = home.muster(&["check", "--offline"]).await;
        let told = format!("{}{}", refused.stdout, refused.stderr);
        assert!(refused.status != 0 && told.contains(said), "{to}: {told}");
    }
    let fine = Home::with(&good).muster(&["check", "--offline"]).await;
    assert_eq!(fine.status, 0, "{fine:?}");
}
