//! The ready-made configurations of `examples/`, each as it stands but for the addresses, over a file and over servers, with
//! the outcome that the vendors' documents promise.

use std::path::Path;

use muster::sandbox::{
    Admin, DEFAULT_INITLIVE_KEY, DEFAULT_SALESSCREEN_KEY, INITLIVE_ORGANIZATION, Sandbox, SandboxSettings, System,
    iadvize,
};
use serde_json::{Value, json};

use super::processes::{Installation, Mode, Report, active_users};

/// The same scenario over a file and over servers.
macro_rules! in_both_modes {
    ($($(#[$doc:meta])* $name:ident = $scenario:path;)+) => {$(
        mod $name {
            use crate::processes::Mode;

            $(#[$doc])*
            #[tokio::test(flavor = "multi_thread")]
            async fn over_a_file() {
                $scenario(Mode::File).await;
            }

            $(#[$doc])*
            #[tokio::test(flavor = "multi_thread")]
            async fn over_servers() {
                $scenario(Mode::Servers).await;
            }
        }
    )+};
}

in_both_modes! {
    /// R1, R7, R9, R12, R15, R19: agents for those who are ticked, one mail each; an address that is taken is refused.
    iadvize_automatic = super::agents_are_made_for_who_is_ticked;
    /// R1, R4, R8: saving both fields links; one alone does nothing; nobody is created.
    /// R43: the link is noted in iAdvize as well.
    iadvize_manual = super::saving_both_fields_links;
    /// R45, R46, R51, R52: nobody without a person; a file of mappings links, and then the user follows.
    salesscreen_manual = super::a_file_of_mappings_links;
    /// R46, R48, R50: everybody who is active, under the own id, in the team of the department.
    salesscreen_automatic = super::departments_become_teams;
    /// R54, R54a, R55, R56: contacts lead, and what is missing is made.
    salesforce_to_initlive = super::users_follow_contacts;
    /// R54, R54a, R55, R56: users lead, and what is missing is made.
    initlive_to_salesforce = super::contacts_follow_users;
    /// R55, R57, R59: both follow each other, field by field.
    initlive_two_way = super::contacts_and_users_follow_each_other;
    /// B24, R54: all of them beside each other.
    large_organisation = super::all_of_them_run_beside_each_other;
}

/// An installation with an example, whose systems are those of the sandbox.
pub async fn installation(mode: Mode, name: &str, sandbox: &Sandbox) -> Installation {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
    let mut text = std::fs::read_to_string(path).unwrap();
    // Where queues and links are is the mode's matter, and who hears of trouble is nobody's here.
    text = text.replace("file = \"muster.db\"\n", "");
    if let Some(begin) = text.find("[broker]") {
        text.replace_range(begin..text.find("[systems.crm]").unwrap(), "");
    }
    let id = format!("organization = {INITLIVE_ORGANIZATION}");
    for (example, here) in [
        ("https://example.my.salesforce.com", sandbox.salesforce_url()),
        ("3MVG9example", sandbox.client_id().to_owned()),
        ("https://directory.example.com/scim/v2", sandbox.scim_url()),
        // The vendor's rate is kept by a test of its own.
        ("https://api.iadvize.com\"", format!("{}\"\ncalls_per_second = 1000", sandbox.iadvize_url())),
        ("sync@example.com", iadvize::DEFAULT_USERNAME.to_owned()),
        ("https://connect.salesscreen.com", sandbox.salesscreen_url()),
        ("https://volunteer.bloomerang.co/api", sandbox.initlive_url()),
        ("organization = 1001", id),
    ] {
        text = text.replace(example, &here);
    }
    assert!(!text.contains("https://"), "an address of the example is not the sandbox's");
    Installation::patient_on(mode, &text).await
}

/// With what the programs of an installation find their secrets.
pub const SECRETS: [(&str, &str); 3] = [
    ("CHAT_PASSWORD", iadvize::DEFAULT_PASSWORD),
    ("RESULTS_KEY", DEFAULT_SALESSCREEN_KEY),
    ("VOLUNTEERS_KEY", DEFAULT_INITLIVE_KEY),
];

async fn sandbox(users: usize, contacts: usize) -> (Sandbox, Admin) {
    let sandbox = Sandbox::start(SandboxSettings { users, contacts, ..SandboxSettings::default() }).await.unwrap();
    let admin = sandbox.admin();
    admin.configure(System::Iadvize, json!({"requests_per_second": 100_000})).unwrap();
    admin.set_clock(System::Salesforce, 10_000);
    (sandbox, admin)
}

fn id(record: &Value) -> &str {
    record["Id"].as_str().unwrap()
}

/// The one account with this value.
fn the<'a>(accounts: &'a [Value], field: &str, value: &Value) -> &'a Value {
    let mut found = accounts.iter().filter(|account| account[field] == *value);
    let first = found.next().unwrap_or_else(|| panic!("nobody has {field} {value}"));
    assert!(found.next().is_none(), "two have {field} {value}");
    first
}

fn of(run: &Report) -> [i64; 3] {
    [run.commands("applied"), run.commands("dead"), run.commands("needs_team")]
}

async fn agents_are_made_for_who_is_ticked(mode: Mode) {
    let (sandbox, admin) = sandbox(16, 0).await;
    let users = active_users(&admin);
    let ticked = &users[..users.len() - 3];
    for user in ticked {
        admin.edit(System::Salesforce, id(user), &json!({"Sync__c": true})).unwrap();
    }
    for user in &ticked[..2] {
        let fields = json!({"name": "Before", "pseudo": "Before", "email": user["Email"], "website_list": [1]});
        admin.create(System::Iadvize, &fields).unwrap();
    }
    let (before, mails) = (admin.accounts(System::Iadvize), admin.records(System::Iadvize, "Mail").len());
    let muster = installation(mode, "iadvize-automatic.toml", &sandbox).await;
    let made = ticked.len() - 2;
    assert_eq!(of(&muster.sync_of("crm-chat", &[]).await), [made as i64, 2, 0]);
    let after = admin.accounts(System::Iadvize);
    assert_eq!(after.len(), before.len() + made);
    assert_eq!(admin.records(System::Iadvize, "Mail").len(), mails + made);
    for user in &ticked[2..] {
        let agent = the(&after, "email", &user["Email"]);
        assert_eq!((&agent["name"], &agent["pseudo"]), (&user["LastName"], &user["Alias"]));
    }
    assert!(before.iter().all(|operator| after.contains(operator)), "who was there is as before");
    let letters = muster.letters().await;
    assert!(letters.len() == 2 && letters.iter().all(|letter| letter["fingerprint"]["code"] == "email_exists"));
    assert_eq!(muster.sync_of("crm-chat", &[]).await.emitted, 0);
}

async fn saving_both_fields_links(mode: Mode) {
    let (sandbox, admin) = sandbox(4, 0).await;
    let users = active_users(&admin);
    let operators: Vec<String> = ["one", "two"]
        .map(|name| {
            let email = format!("{name}@x.example");
            admin.create(System::Iadvize, &json!({"name": name, "pseudo": name, "email": email, "website_list": [1]}))
        })
        .map(Result::unwrap)
        .into();
    let both = json!({"Operator_ID__c": operators[0], "SSO_Token__c": "token"});
    admin.edit(System::Salesforce, id(&users[0]), &both).unwrap();
    admin.edit(System::Salesforce, id(&users[1]), &json!({"Operator_ID__c": operators[1]})).unwrap();
    let count = admin.accounts(System::Iadvize).len();
    let muster = installation(mode, "iadvize-manual.toml", &sandbox).await;
    // The first one links, and asks for the operator to be read. Workers do that by themselves; here nobody stays.
    for more in [&[][..], &["--full"]] {
        muster.sync_of("crm-chat", more).await;
    }
    let name = |operator: &str| admin.account(System::Iadvize, operator).unwrap()["name"].clone();
    let external_id = |operator: &str| admin.account(System::Iadvize, operator).unwrap()["external_id"].clone();
    assert_eq!((external_id(&operators[0]), external_id(&operators[1])), (json!(id(&users[0])), Value::Null));
    let page = muster.muster(&["explain", &format!("chat:{}", operators[0])]).await.stdout;
    assert_eq!((name(&operators[0]), name(&operators[1])), (users[0]["LastName"].clone(), json!("two")), "{page}");
    assert_eq!(admin.accounts(System::Iadvize).len(), count);
    let letters = muster.letters().await;
    assert_eq!((letters.len(), &letters[0]["fingerprint"]["code"]), (1, &json!("incomplete_link")));
}

async fn a_file_of_mappings_links(mode: Mode) {
    let (sandbox, admin) = sandbox(4, 0).await;
    let users = active_users(&admin);
    let user = &users[0];
    admin.edit(System::Salesforce, id(user), &json!({"Department": "Sales EMEA"})).unwrap();
    let muster = installation(mode, "salesscreen-manual.toml", &sandbox).await;
    assert_eq!(muster.sync_of("crm-results", &[]).await.emitted, 0);
    assert_eq!(admin.accounts(System::SalesScreen), Vec::<Value>::new());
    let mappings = muster.config().with_file_name("mappings.csv");
    let row = format!("Email,External ID,System\n{},{},Salesforce\n", user["Email"].as_str().unwrap(), &id(user)[..15]);
    std::fs::write(&mappings, row).unwrap();
    let imported = muster.muster(&["links", "import", "crm-results", mappings.to_str().unwrap()]).await;
    assert_eq!(imported.status, 0, "{imported:?}");
    muster.sync_of("crm-results", &[]).await;
    let there = admin.accounts(System::SalesScreen);
    assert_eq!((there.len(), &there[0]["email"], &there[0]["team"]["key"]), (1, &user["Email"], &json!("north")));
}

async fn departments_become_teams(mode: Mode) {
    let (sandbox, admin) = sandbox(6, 0).await;
    let users = active_users(&admin);
    for (number, user) in users.iter().enumerate() {
        let department = ["Sales EMEA", "Sales US", "Kitchen"][number.min(2)];
        admin.edit(System::Salesforce, id(user), &json!({ "Department": department })).unwrap();
    }
    let muster = installation(mode, "salesscreen-automatic.toml", &sandbox).await;
    assert_eq!(of(&muster.sync_of("crm-results", &[]).await), [2, 0, users.len() as i64 - 2]);
    let there = admin.accounts(System::SalesScreen);
    assert_eq!(there.len(), users.len());
    for (user, team) in users.iter().zip([json!("north"), json!("south"), Value::Null]) {
        assert_eq!(the(&there, "userId", &user["Id"])["team"]["key"], team);
    }
}

async fn users_follow_contacts(mode: Mode) {
    let (sandbox, admin) = sandbox(0, 3).await;
    let muster = installation(mode, "salesforce-to-initlive.toml", &sandbox).await;
    assert_eq!(of(&muster.sync_of("contacts-volunteers", &[]).await), [3, 0, 0]);
    let (contacts, users) = (admin.records(System::Salesforce, "Contact"), admin.accounts(System::InitLive));
    assert_eq!((contacts.len(), users.len()), (3, 3));
    for contact in &contacts {
        assert_eq!(the(&users, "username", &contact["Email"])["lastName"], contact["LastName"]);
    }
}

async fn contacts_follow_users(mode: Mode) {
    let (sandbox, admin) = sandbox(0, 0).await;
    let ids = admin.seed(System::InitLive, 3, 7).unwrap();
    let muster = installation(mode, "initlive-to-salesforce.toml", &sandbox).await;
    assert_eq!(of(&muster.sync_of("contacts-volunteers", &[]).await), [3, 0, 0]);
    let (contacts, users) = (admin.records(System::Salesforce, "Contact"), admin.accounts(System::InitLive));
    assert_eq!((contacts.len(), users.len()), (3, 3));
    for user in &users {
        let contact = the(&contacts, "Email", &user["username"]);
        assert_eq!(contact["LastName"], user["lastName"]);
        assert!(ids.iter().any(|id| contact["Partner_Id__c"] == id.as_str()), "{contact}");
    }
}

async fn contacts_and_users_follow_each_other(mode: Mode) {
    let (sandbox, admin) = sandbox(0, 2).await;
    let muster = installation(mode, "initlive-two-way.toml", &sandbox).await;
    assert_eq!(of(&muster.sync_of("contacts-volunteers", &[]).await), [2, 0, 0]);
    let contact = admin.records(System::Salesforce, "Contact").remove(0);
    let user = the(&admin.accounts(System::InitLive), "username", &contact["Email"]).clone();
    let user_id = user["id"].as_str().map_or_else(|| user["id"].to_string(), str::to_owned);
    admin.set_clock(System::Salesforce, 60_000);
    admin.set_clock(System::InitLive, 60_000);
    admin.edit_record(System::Salesforce, "Contact", id(&contact), &json!({"LastName": "Lovelace"})).unwrap();
    admin.edit(System::InitLive, &user_id, &json!({"firstName": "Augusta"})).unwrap();
    muster.sync_of("contacts-volunteers", &[]).await;
    let contacts = admin.records(System::Salesforce, "Contact");
    let contact = the(&contacts, "Id", &contact["Id"]);
    let user = admin.account(System::InitLive, &user_id).unwrap();
    assert_eq!((&contact["FirstName"], &contact["LastName"]), (&json!("Augusta"), &json!("Lovelace")));
    assert_eq!((&user["firstName"], &user["lastName"]), (&json!("Augusta"), &json!("Lovelace")));
}

async fn all_of_them_run_beside_each_other(mode: Mode) {
    let (sandbox, admin) = sandbox(5, 2).await;
    let users = active_users(&admin);
    for user in &users {
        let fields = json!({"Sync__c": true, "Department": "Sales US"});
        admin.edit(System::Salesforce, id(user), &fields).unwrap();
    }
    let muster = installation(mode, "large-organisation.toml", &sandbox).await;
    let agents = admin.accounts(System::Iadvize).len();
    for connection in ["crm-directory", "crm-chat", "crm-results", "contacts-volunteers"] {
        // Some of it was done already: a schedule begins at once, whichever process looks first.
        let run = muster.sync_of(connection, &[]).await;
        assert_eq!((run.commands("dead"), run.failed.as_deref()), (0, None), "{connection}: {run:?}");
    }
    assert_eq!(admin.accounts(System::Iadvize).len(), agents + users.len());
    let found = [System::Scim, System::SalesScreen, System::InitLive].map(|system| admin.accounts(system).len());
    assert_eq!(found, [users.len(), users.len(), 2]);
}
