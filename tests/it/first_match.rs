//! The first match of two populated systems: the report is right to the account, nobody is created twice, and a second run
//! does nothing.
//!
//! `MUSTER_TEST_USERS=50000 tests/run --test it -- first_match_over_a_file --nocapture` does it with as many users; without
//! the variable each test has its own number.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use muster::sandbox::{Admin, Sandbox, SandboxSettings, System};
use serde_json::{Value, json};

use super::crm_target::crm_with_defaults;
use super::place::{On, Place};
use super::processes::{CONNECTION, active_users, directory};
use super::show::show;

const EMPLOYEE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:employeeNumber";

/// What one side holds and the other does not: attribute, value in the org, value in the directory.
type Differing = BTreeSet<(String, String, String)>;

/// What the generator made, as the report has to say it.
#[derive(Debug, Default, PartialEq)]
struct Truth {
    /// Accounts of the org with their partners, the key, and what differs.
    matched: BTreeMap<String, (String, String, Differing)>,
    /// Each group as it is: accounts of the org, accounts of the directory.
    ambiguous: BTreeSet<(Vec<String>, Vec<String>)>,
    only_crm: BTreeSet<String>,
    only_directory: BTreeSet<String>,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    let mut texts: Vec<_> = value.as_array().unwrap().iter().map(text).collect();
    texts.sort();
    texts
}

/// Puts an account into the directory for most users of the org: 2 % with another title, 5 % under another user name, 0.1 %
/// twice under others, 1 % not at all, and as many that the org has not.
fn populate(admin: &Admin) -> Truth {
    let mut truth = Truth::default();
    for (number, user) in active_users(admin).iter().enumerate() {
        let id = text(&user["Id"]);
        let account = |user_name: &str, title: &Value, employee: &Value| {
            let fields = json!({
                "userName": user_name, "active": true, "title": title,
                "emails": [{ "value": user["Email"], "type": "work", "primary": true }],
                "name": { "givenName": user["FirstName"], "familyName": user["LastName"] },
                "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User",
                            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],
                "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": { "employeeNumber": employee },
            });
            admin.create(System::Scim, &fields).unwrap()
        };
        let (own, title, employee) = (text(&user["Username"]), &user["Title"], &user["EmployeeNumber"]);
        let other = |word: &str| format!("{word}-{number}@corp.example");
        if number % 1000 == 500 {
            let mut twins = vec![account(&other("one"), title, employee), account(&other("two"), title, employee)];
            twins.sort();
            truth.ambiguous.insert((vec![id], twins));
            continue;
        }
        if number % 100 == 3 {
            truth.only_crm.insert(id);
            continue;
        }
        if number % 100 == 4 {
            truth.only_directory.insert(account(&other("only"), title, &json!(format!("only-{number}"))));
        }
        let mut differing = Differing::new();
        let (mut by, mut name) = ("userName", own.clone());
        if number % 20 == 11 {
            (by, name) = ("name.familyName + employeeNumber", other("renamed"));
            differing.insert(("userName".to_owned(), own.clone(), name.clone()));
        } else if number % 10 == 2 {
            name = own.to_uppercase();
        }
        let mut shown = title.clone();
        if number % 50 == 7 {
            shown = json!("Boss");
            differing.insert(("title".to_owned(), text(title), text(&shown)));
        }
        truth.matched.insert(id, (account(&name, &shown, employee), by.to_owned(), differing));
    }
    truth
}

/// What the report says.
fn reported(lines: &[Value]) -> Truth {
    let mut truth = Truth::default();
    for line in lines {
        match line["action"].as_str().unwrap() {
            "match" => {
                let differing = line["differing"].as_array().unwrap().iter();
                let differing = differing.map(|difference| {
                    assert_eq!(difference["wins"], "crm", "{difference}");
                    assert_eq!(difference["rule"], "default_system", "{difference}");
                    (text(&difference["attribute"]), text(&difference["a"]), text(&difference["b"]))
                });
                let by = text(&line["by"]).replace(EMPLOYEE, "employeeNumber");
                let pair = (text(&line["accounts"]["b"]), by, differing.collect());
                assert!(truth.matched.insert(text(&line["accounts"]["a"]), pair).is_none(), "{line} is there twice");
            }
            "ambiguous" => {
                let group = (texts(&line["accounts"]["a"]), texts(&line["accounts"]["b"]));
                assert!(truth.ambiguous.insert(group), "{line} is there twice");
            }
            "only" if line["side"] == "a" => assert!(truth.only_crm.insert(text(&line["account"])), "{line}"),
            "only" => assert!(truth.only_directory.insert(text(&line["account"])), "{line}"),
            _ => {}
        }
    }
    truth
}

const WRITER: &str = "lease = \"8s\"\nrequest_timeout = \"6s\"";

/// The two systems and their connection.
fn meeting(sandbox: &Sandbox) -> String {
    crm_with_defaults(sandbox)
        + &directory(&sandbox.scim_url())
        + &format!(
            "[connections.{CONNECTION}]\na = \"crm\"\nb = \"directory\"\ndirection = \"two_way\"\ndefault_system = \"crm\"\n\
             create = \"automatic\"\non_existing = \"link\"\nbudgets = \"off\"\nmatch = [\"userName\", \
             [\"name.familyName\", \"{EMPLOYEE}\"]]\n\n[connections.{CONNECTION}.attributes]\nuserName = {{}}\n\
             emails = {{}}\n\"name.givenName\" = {{}}\n\"name.familyName\" = {{}}\ntitle = {{}}\n\"{EMPLOYEE}\" = {{}}\n"
        )
}

async fn two_populated_systems_meet(on: On, users: usize) {
    let users = std::env::var("MUSTER_TEST_USERS").map_or(users, |users| users.parse().expect("it is a number"));
    let sandbox = Sandbox::start(SandboxSettings { users, ..SandboxSettings::default() }).await.unwrap();
    let admin = sandbox.admin();
    let truth = populate(&admin);
    assert!(!truth.ambiguous.is_empty() && !truth.only_crm.is_empty() && !truth.only_directory.is_empty());
    let muster = on.installation(&meeting(&sandbox), WRITER).await;
    let (accounts, count) =
        ((admin.accounts(System::Salesforce).len(), admin.accounts(System::Scim).len()), admin.write_count());

    // The report is right to the account, and nothing was written for it.
    let began = Instant::now();
    let outcome = muster.muster(&["plan", CONNECTION, "--json"]).await;
    show(format_args!("{users} users, {on:?}: plan in {:.1} s", began.elapsed().as_secs_f64()));
    assert_eq!(
        (outcome.status, &*outcome.stderr),
        (4, ""),
        "{}",
        outcome.stdout.chars().take(2_000).collect::<String>()
    );
    let mut lines: Vec<Value> = outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let summary = lines.pop().unwrap()["summary"].clone();
    assert!(reported(&lines) == truth, "reported {:#?}\nbut it is {truth:#?}", reported(&lines));
    let met = &summary["first_match"];
    let twins = truth.ambiguous.len();
    assert_eq!(met["ambiguous"], json!({ "a": twins, "b": 2 * twins }));
    assert_eq!(met["only"], json!({ "a": truth.only_crm.len(), "b": truth.only_directory.len() }));
    let matched: u64 = met["matched"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(matched, truth.matched.len() as u64);
    let differing = truth.matched.values().filter(|(_, _, differing)| !differing.is_empty()).count();
    assert_eq!(met["differing"], json!(differing));
    assert_eq!(summary["stays"]["ambiguous"], json!(3 * twins));
    assert_eq!(admin.write_count(), count);
    let created = |side: &str| summary[side]["create"].as_u64().unwrap() as usize;
    assert_eq!((created("a"), created("b")), (truth.only_directory.len(), truth.only_crm.len()));

    // The sync does that: pairs are linked, whoever is alone is created once, and what is ambiguous is left alone.
    let began = Instant::now();
    assert_eq!(muster.sync(&[]).await.failed, None);
    show(format_args!("{users} users, {on:?}: sync in {:.1} s", began.elapsed().as_secs_f64()));
    let now = (admin.accounts(System::Salesforce).len(), admin.accounts(System::Scim).len());
    assert_eq!(now, (accounts.0 + truth.only_directory.len(), accounts.1 + truth.only_crm.len()));
    let writes = admin.writes(count);
    assert_eq!(writes.iter().filter(|write| write.created).count(), truth.only_crm.len() + truth.only_directory.len());
    assert_eq!(writes.len(), differing + truth.only_crm.len() + truth.only_directory.len());
    let ambiguous: BTreeSet<String> = truth.ambiguous.iter().flat_map(|(a, b)| a.iter().chain(b).cloned()).collect();
    let letters: BTreeSet<String> = muster.letters().await.iter().map(|letter| text(&letter["account"])).collect();
    assert_eq!(letters, ambiguous);
    assert!(writes.iter().all(|write| !ambiguous.contains(&write.account)));

    // A second run does nothing.
    let count = admin.write_count();
    let again = muster.sync(&["--full"]).await;
    assert_eq!((again.commands("applied"), again.failed, admin.write_count()), (0, None, count));
    let outcome = muster.muster(&["plan", CONNECTION]).await;
    assert_eq!((outcome.status, &*outcome.stderr), (3, ""), "{outcome:?}");
    let expected = format!("{CONNECTION}: nothing to do; ");
    assert!(outcome.stdout.starts_with(&expected), "{outcome:?}");

    a_person_says_who_belongs_to_whom(&muster, &admin, &truth).await;
}

/// Ambiguous accounts wait for `links add`, are found meanwhile, and then are as any others.
async fn a_person_says_who_belongs_to_whom(muster: &Place, admin: &Admin, truth: &Truth) {
    let (users, twins) = truth.ambiguous.first().unwrap();
    let missing = muster.muster(&["links", "missing", CONNECTION, "--json"]).await;
    let missing: Vec<Value> = missing.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ambiguous = missing.iter().filter(|line| line["why"] == "ambiguous").count();
    assert_eq!(ambiguous, 3 * truth.ambiguous.len());
    let added = muster.muster(&["links", "add", CONNECTION, &users[0], &twins[0]]).await;
    assert_eq!(added.status, 0, "{added:?}");
    admin.edit(System::Salesforce, &users[0], &json!({ "Title": "Captain" })).unwrap();
    assert_eq!(muster.sync(&["--full"]).await.failed, None);
    assert_eq!(admin.account(System::Scim, &twins[0]).unwrap()["title"], "Captain");
    // The other one still has the same values as somebody who has a partner by now: it is created for nobody unasked.
    let users = admin.accounts(System::Salesforce);
    assert!(users.iter().all(|user| user["Username"] != user_name(admin, &twins[1])));
}

/// R2: accounts of which it cannot be told whose they are wait for a person, and no newcomer takes them meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_takes_nobody_who_is_ambiguous() {
    let sandbox = Sandbox::start(SandboxSettings { users: 10, ..SandboxSettings::default() }).await.unwrap();
    let admin = sandbox.admin();
    let users: Vec<String> = active_users(&admin).iter().map(|user| text(&user["Id"])).collect();
    let mail = "front.desk@example.com";
    for user in &users[..2] {
        admin.edit(System::Salesforce, user, &json!({ "Email": mail })).unwrap();
    }
    let desk = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "front.desk", "active": true,
        "emails": [{ "value": mail, "type": "work", "primary": true }],
    });
    let desk = admin.create(System::Scim, &desk).unwrap();
    let connection = crm_with_defaults(&sandbox)
        + &directory(&sandbox.scim_url())
        + &format!(
            "[connections.{CONNECTION}]\na = \"crm\"\nb = \"directory\"\ndirection = \"a_to_b\"\ncreate = \"automatic\"\n\
             on_existing = \"link\"\nbudgets = \"off\"\nmatch = [\"emails\"]\n\n[connections.{CONNECTION}.attributes]\n\
             userName = {{}}\nemails = {{}}\ntitle = {{}}\n"
        );
    let muster = On::File.installation(&connection, WRITER).await;
    assert_eq!(muster.sync(&[]).await.failed, None);
    let letters = || async {
        let who = |letter: &Value| letter["account"].as_str().or(letter["partner"].as_str()).map(str::to_owned);
        let code = |letter: &Value| text(&letter["fingerprint"]["code"]);
        let letters = muster.letters().await;
        letters.iter().map(|it| (who(it).unwrap_or_else(|| it.to_string()), code(it))).collect::<BTreeMap<_, _>>()
    };
    let ambiguous = |user: &String| (user.clone(), "ambiguous_match".to_owned());
    assert_eq!(letters().await, users[..2].iter().map(ambiguous).collect());
    let before = (admin.account(System::Scim, &desk).unwrap(), admin.accounts(System::Scim).len());

    let mut newcomer = admin.account(System::Salesforce, &users[2]).unwrap();
    let fields = newcomer.as_object_mut().unwrap();
    fields.retain(|name, _| {
        ["ProfileId", "TimeZoneSidKey", "LocaleSidKey", "EmailEncodingKey", "LanguageLocaleKey"].contains(&&**name)
    });
    for (name, value) in
        [("LastName", "Late"), ("Alias", "late"), ("Email", mail), ("Username", "late@example.com"), ("Title", "Late")]
    {
        fields.insert(name.to_owned(), value.into());
    }
    let newcomer = admin.create(System::Salesforce, &newcomer).unwrap();
    assert_eq!(muster.sync(&[]).await.failed, None);
    assert_eq!((admin.account(System::Scim, &desk).unwrap(), admin.accounts(System::Scim).len()), before);
    assert!(letters().await.contains_key(&newcomer), "{:?}", letters().await);
    // A person can still say whose it is.
    let added = muster.muster(&["links", "add", CONNECTION, &users[0], &desk]).await;
    assert_eq!(added.status, 0, "{added:?}");
    assert_eq!(muster.sync(&["--full"]).await.failed, None);
    assert_eq!(
        admin.account(System::Scim, &desk).unwrap()["title"],
        admin.account(System::Salesforce, &users[0]).unwrap()["Title"]
    );
}

fn user_name(admin: &Admin, id: &str) -> Value {
    admin.account(System::Scim, id).unwrap()["userName"].clone()
}

/// B3, B23: a match that is killed anywhere begins again, and until it was made nobody is created.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_match_begins_again() {
    for failpoint in ["clerk.compared", "clerk.linked", "clerk.matched"] {
        let sandbox = Sandbox::start(SandboxSettings { users: 60, ..SandboxSettings::default() }).await.unwrap();
        let admin = sandbox.admin();
        let truth = populate(&admin);
        let muster = On::File.installation(&meeting(&sandbox), WRITER).await;
        let Place::File(home) = &muster else { unreachable!() };
        let count = admin.write_count();
        let killed = home
            .command(env!("CARGO_BIN_EXE_muster"))
            .args(["sync", CONNECTION, "--wait"])
            .env("MUSTER_FAILPOINT", failpoint)
            .output()
            .await
            .unwrap();
        assert!(!killed.status.success(), "{failpoint} was not reached: {killed:?}");
        assert_eq!(admin.write_count(), count, "{failpoint}");
        assert_eq!(muster.sync(&[]).await.failed, None);
        let writes = admin.writes(count);
        let created = writes.iter().filter(|write| write.created).count();
        assert_eq!(created, truth.only_crm.len() + truth.only_directory.len(), "{failpoint}");
        let count = admin.write_count();
        assert_eq!(muster.sync(&["--full"]).await.failed, None);
        assert_eq!((admin.write_count(), muster.letters().await.len()), (count, 0), "{failpoint}");
    }
}

/// B23, issue 5: two populated systems over one file.
#[tokio::test(flavor = "multi_thread")]
async fn first_match_over_a_file() {
    two_populated_systems_meet(On::File, 1_000).await;
}

/// The same over RabbitMQ and Redis.
#[tokio::test(flavor = "multi_thread")]
async fn first_match_over_servers() {
    two_populated_systems_meet(On::Servers, 700).await;
}
