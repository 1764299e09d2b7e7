//! Salesforce as the side that is written to, through the whole pipeline in one file: users and contacts, one way and both
//! ways, and the partner's id written back.

use std::collections::{BTreeMap, BTreeSet};

use muster::sandbox::{Actor, Admin, Sandbox, SandboxSettings, System};
use serde_json::{Value, json};

use super::embedded_run::Home;
use super::processes::{CONNECTION, active_users, crm, directory};

/// What users of the org need and the directory does not have.
const DEFAULTS: [(&str, &str); 5] = [
    ("Alias", "muster"),
    ("EmailEncodingKey", "UTF-8"),
    ("TimeZoneSidKey", "Europe/Paris"),
    ("LocaleSidKey", "fr_FR"),
    ("LanguageLocaleKey", "fr"),
];

/// The attributes that these connections keep in step.
const MAPPED: &str = "[connections.crm-directory.attributes]\nuserName = {}\nemails = {}\n\"name.givenName\" = {}\n\
                      \"name.familyName\" = {}\ntitle = {}\n";

async fn sandbox(users: usize, contacts: usize) -> (Sandbox, Admin) {
    let sandbox = Sandbox::start(SandboxSettings { users, contacts, ..SandboxSettings::default() }).await.unwrap();
    let admin = sandbox.admin();
    // What is there is older than what the tests do.
    admin.set_clock(System::Salesforce, 10_000);
    admin.set_clock(System::Scim, 10_000);
    (sandbox, admin)
}

/// The configuration of the org, with what users need that are created in it.
pub(super) fn crm_with_defaults(sandbox: &Sandbox) -> String {
    let profiles = sandbox.admin().records(System::Salesforce, "Profile");
    let profile = profiles[1]["Id"].as_str().unwrap();
    let defaults: Vec<String> =
        DEFAULTS.iter().chain([&("ProfileId", profile)]).map(|(name, value)| format!("{name} = \"{value}\"")).collect();
    format!("{}defaults = {{ {} }}\n", crm(sandbox), defaults.join(", "))
}

/// An installation between the two, with these lines in the table of the connection.
fn home(sandbox: &Sandbox, connection: &str) -> Home {
    let directory = directory(&sandbox.scim_url()) + "page_size = 200\n";
    Home::with(&(crm_with_defaults(sandbox) + &directory + &format!("[connections.{CONNECTION}]\n{connection}")))
}

/// The people of the org by the partner that they name.
fn by_partner(admin: &Admin, object: &str) -> BTreeMap<String, Value> {
    let records = admin.records(System::Salesforce, object);
    let named = records.into_iter().filter_map(|row| Some((row["Partner_Id__c"].as_str()?.to_owned(), row)));
    let mut by_partner = BTreeMap::new();
    for (partner, row) in named {
        assert!(by_partner.insert(partner.clone(), row).is_none(), "two records name {partner}");
    }
    by_partner
}

fn id(account: &Value) -> &str {
    account["id"].as_str().or(account["Id"].as_str()).unwrap()
}

/// Requests that wrote to the org, and the records that they wrote.
fn writes(admin: &Admin) -> (usize, usize) {
    let writes = admin.writes(0).into_iter();
    let ours: Vec<_> =
        writes.filter(|write| write.system == System::Salesforce && write.actor == Actor::Client).collect();
    (ours.iter().map(|write| &write.request).collect::<BTreeSet<_>>().len(), ours.len())
}

const INTO_THE_ORG: &str = "a = { system = \"crm\", object = \"User\", partner_field = \"Partner_Id__c\" }\n\
                            b = \"directory\"\ndirection = \"b_to_a\"\ncreate = \"automatic\"\n\
                            leavers = \"deactivate\"\n";

/// R75, R43, R81, B23: five hundred people go from a directory into an org, are changed there, and one who leaves is
/// deactivated; a username that another org has is a letter and no second account.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_fills_an_org() {
    let (sandbox, admin) = sandbox(0, 0).await;
    let home = home(&sandbox, &format!("{INTO_THE_ORG}{MAPPED}"));
    admin.seed(System::Scim, 500, 3).unwrap();
    let there = admin.accounts(System::Scim);
    let active: Vec<&Value> = there.iter().filter(|account| account["active"] != false).collect();
    let taken = json!({"reserved_usernames": [active[7]["userName"]]});
    admin.configure_salesforce(serde_json::from_value(taken).unwrap()).unwrap();

    let first = home.sync(&[]).await;
    let created = i64::try_from(active.len()).unwrap() - 1;
    assert_eq!((first.commands("applied"), first.commands("dead")), (created, 1), "{first:?}");
    let letters = home.letters().await;
    assert_eq!((letters.len(), &letters[0]["fingerprint"]["attribute"]), (1, &json!("userName")), "{letters:?}");
    let users = by_partner(&admin, "User");
    for account in active.iter().filter(|account| account["userName"] != active[7]["userName"]) {
        let user = &users[id(account)];
        assert_eq!(user["Username"], json!(account["userName"].as_str().unwrap().to_lowercase()));
        assert_eq!((&user["LastName"], &user["IsActive"]), (&account["name"]["familyName"], &json!(true)));
        assert_eq!((&user["Alias"], &user["TimeZoneSidKey"]), (&json!("muster"), &json!("Europe/Paris")));
    }
    let (calls, records) = writes(&admin);
    assert_eq!(records, users.len());
    assert!(calls <= 6, "{calls} calls");
    assert_eq!(home.sync(&["--full"]).await.emitted, 0);

    admin.clear_log();
    admin.set_clock(System::Scim, 60_000);
    admin.set_clock(System::Salesforce, 60_000);
    for account in &active {
        admin.edit(System::Scim, id(account), &json!({"title": "Agent of the year"})).unwrap();
    }
    admin.deactivate(System::Scim, id(active[3])).unwrap();
    let second = home.sync(&[]).await;
    assert_eq!(second.commands("applied"), created, "{second:?}");
    let users = by_partner(&admin, "User");
    assert!(users.values().all(|user| user["Title"] == "Agent of the year"));
    assert_eq!(users[id(active[3])]["IsActive"], json!(false));
    let (calls, records) = writes(&admin);
    assert_eq!(records, users.len());
    assert!(calls <= 6, "{calls} calls");
    let at_the_org = admin.requests().iter().filter(|request| request.system == System::Salesforce).count();
    assert!(at_the_org <= 30, "{at_the_org} requests for {} updates", users.len());
    assert_eq!(home.sync(&["--full"]).await.emitted, 0);
}

/// R57, R58, R59, B1: both ways, edits of different attributes meet, of the same one the default system's stays, and then
/// it rests.
#[tokio::test(flavor = "multi_thread")]
async fn an_org_and_a_directory_follow_each_other() {
    let (sandbox, admin) = sandbox(12, 0).await;
    let two_way = "a = { system = \"crm\", object = \"User\", partner_field = \"Partner_Id__c\" }\nb = \"directory\"\n\
                   direction = \"two_way\"\ndefault_system = \"crm\"\ncreate = \"automatic\"\n";
    let home = home(&sandbox, &format!("{two_way}{MAPPED}"));
    let newcomer = json!({"userName": "grace@x.example", "active": true,
        "name": {"givenName": "Grace", "familyName": "Hopper"},
        "emails": [{"value": "grace@x.example", "type": "work"}]});
    admin.create(System::Scim, &newcomer).unwrap();
    let active = active_users(&admin);
    home.sync(&[]).await;
    assert_eq!(admin.accounts(System::Scim).len(), active.len() + 1);
    assert_eq!(active_users(&admin).len(), active.len() + 1);
    assert_eq!(home.sync(&["--full"]).await.emitted, 0);

    admin.set_clock(System::Scim, 60_000);
    admin.set_clock(System::Salesforce, 60_000);
    let user = &active[2];
    let accounts = admin.accounts(System::Scim);
    let account = accounts.iter().find(|account| account["externalId"] == user["Id"]).unwrap();
    admin.edit(System::Salesforce, id(user), &json!({"FirstName": "Ada", "Title": "of the org"})).unwrap();
    let edits = json!({"name.familyName": "Lovelace", "title": "of the directory"});
    admin.edit(System::Scim, id(account), &edits).unwrap();
    home.sync(&[]).await;
    home.sync(&["--full"]).await;
    let (user, account) =
        (admin.account(System::Salesforce, id(user)).unwrap(), admin.account(System::Scim, id(account)).unwrap());
    for (native, there, expected) in [
        ("FirstName", &account["name"]["givenName"], "Ada"),
        ("LastName", &account["name"]["familyName"], "Lovelace"),
        ("Title", &account["title"], "of the org"),
    ] {
        assert_eq!((&user[native], there), (&json!(expected), &json!(expected)), "{native}");
    }
    assert_eq!(home.sync(&["--full"]).await.emitted, 0);
}

/// R43, R86, R56: the id of what was created in the directory comes back to the users of a one-way connection, once; it
/// rests then, leaves a person's own value alone, and finds the links again when the store is lost.
#[tokio::test(flavor = "multi_thread")]
async fn the_partners_id_is_written_back() {
    let (sandbox, admin) = sandbox(30, 0).await;
    let back = "a = { system = \"crm\", object = \"User\", partner_field = \"Partner_Id__c\", write_back = true }\n\
                b = \"directory\"\ndirection = \"a_to_b\"\ncreate = \"automatic\"\n\
                budgets = \"off\"\n";
    let home = home(&sandbox, &format!("{back}{MAPPED}"));
    let stranger = admin.create(System::Scim, &json!({"userName": "stranger@x.example"})).unwrap();
    let active = active_users(&admin);
    home.sync(&[]).await;
    let accounts = admin.accounts(System::Scim);
    assert_eq!(accounts.len(), active.len() + 1, "nobody is made of the stranger {stranger}");
    let users = by_partner(&admin, "User");
    assert_eq!(users.len(), active.len());
    for account in accounts.iter().filter(|account| account["externalId"].is_string()) {
        assert_eq!(users[id(account)]["Id"], account["externalId"]);
    }
    let (_, records) = writes(&admin);
    assert_eq!(records, active.len(), "each user once");
    for _ in 0..2 {
        assert_eq!(home.sync(&["--full"]).await.emitted, 0);
    }

    // Other fields flow as before, and what a person makes of this one stays.
    admin.set_clock(System::Salesforce, 60_000);
    let own = json!({"Partner_Id__c": "mine", "Title": "Agent"});
    admin.edit(System::Salesforce, id(&active[4]), &own).unwrap();
    let edited = home.sync(&[]).await;
    // The other side may be read before it is written, and asks for the same write then.
    assert_eq!((edited.commands("applied"), edited.commands("dead")), (1, 0), "{edited:?}");
    home.sync(&["--full"]).await;
    let user = admin.account(System::Salesforce, id(&active[4])).unwrap();
    assert_eq!((&user["Partner_Id__c"], &user["Title"]), (&json!("mine"), &json!("Agent")));
    assert_eq!(writes(&admin).1, records);

    // The store is lost, and so is what the directory knew of its partners: the field alone finds the links.
    let theirs = accounts.iter().find(|account| account["externalId"] == active[4]["Id"]).unwrap();
    admin.edit(System::Salesforce, id(&active[4]), &json!({"Partner_Id__c": theirs["id"]})).unwrap();
    for account in accounts.iter().filter(|account| account["externalId"].is_string()) {
        admin
            .edit(System::Scim, id(account), &json!({"externalId": null, "userName": format!("x{}", id(account))}))
            .unwrap();
    }
    for name in ["muster.db", "muster.db-wal", "muster.db-shm"] {
        std::fs::remove_file(home.path(name)).ok();
    }
    home.sync(&["--full"]).await;
    home.sync(&["--full"]).await;
    let after = admin.accounts(System::Scim);
    assert_eq!(after.len(), accounts.len());
    for user in by_partner(&admin, "User").values() {
        let account = after.iter().find(|account| account["id"] == user["Partner_Id__c"]).unwrap();
        assert_eq!(account["userName"], user["Username"], "linked as before, so the name is theirs again");
    }
}

/// R54, R54a: contacts are the records of a connection of their own, and get accounts like users do.
#[tokio::test(flavor = "multi_thread")]
async fn contacts_and_a_directory_follow_each_other() {
    let (sandbox, admin) = sandbox(5, 20).await;
    let contacts = "a = { system = \"crm\", object = \"Contact\", partner_field = \"Partner_Id__c\", write_back = true }\n\
                    b = \"directory\"\ndirection = \"two_way\"\ndefault_system = \"crm\"\ncreate = \"automatic\"\n\
                    [connections.crm-directory.attributes]\nuserName = { a = \"emails\" }\n\"name.givenName\" = {}\n\
                    \"name.familyName\" = {}\ntitle = {}\n";
    let home = home(&sandbox, contacts);
    let newcomer = json!({"userName": "grace@x.example", "name": {"familyName": "Hopper"}});
    let grace = admin.create(System::Scim, &newcomer).unwrap();
    let users = admin.accounts(System::Salesforce);
    home.sync(&[]).await;
    assert!(home.letters().await.is_empty());
    let contacts = by_partner(&admin, "Contact");
    assert_eq!((contacts.len(), admin.accounts(System::Scim).len()), (21, 21));
    assert_eq!(contacts[&grace]["Email"], json!("grace@x.example"));
    assert_eq!(admin.accounts(System::Salesforce), users, "users are none of its business");
    assert_eq!(home.sync(&["--full"]).await.emitted, 0);
}

/// What cannot work is refused before anything is called, and says what to do.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_org_cannot_do_is_refused_at_load() {
    let (sandbox, _) = sandbox(0, 0).await;
    let refusals = async |config: String| {
        let outcome = Home::with(&config).muster(&["check", "--offline"]).await;
        assert_ne!(outcome.status, 0, "{outcome:?}");
        outcome.stderr + &outcome.stdout
    };
    let systems = crm(&sandbox) + &directory(&sandbox.scim_url());
    let connection = |lines: &str| format!("{systems}[connections.{CONNECTION}]\n{lines}");
    for (lines, said) in [
        (
            "a = \"crm\"\nb = \"directory\"\ndirection = \"b_to_a\"\ncreate = \"automatic\"\n".to_owned(),
            "no account can be created in crm without native.ProfileId",
        ),
        (
            "a = { system = \"crm\", object = \"Contact\" }\nb = \"directory\"\ndirection = \"a_to_b\"\n\
             match = [\"emails\"]\nleavers = \"deactivate\"\n"
                .to_owned(),
            "Contact does not say whether an account is active",
        ),
        (
            "a = { system = \"crm\", object = \"Contact\" }\nb = \"directory\"\ndirection = \"a_to_b\"\n".to_owned(),
            "match: userName is not mapped",
        ),
        (
            "a = { system = \"crm\", write_back = true }\nb = \"directory\"\ndirection = \"a_to_b\"\n".to_owned(),
            "there is no field to write to",
        ),
        (
            "a = \"crm\"\nb = { system = \"directory\", partner_field = \"x\" }\ndirection = \"a_to_b\"\n".to_owned(),
            "cannot be chosen here",
        ),
    ] {
        let text = refusals(connection(&lines)).await;
        assert!(text.contains(said), "{said}\n{text}");
    }
}
