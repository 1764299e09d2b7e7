//! Attributes that are made of others: from the file to what both systems hold in the end.

use std::fmt::Write as _;

use muster::sandbox::{Admin, Sandbox, SandboxSettings, System};
use serde_json::{Value, json};

use super::embedded_run::Home;
use super::processes::{CONNECTION, active_users, crm, directory};

/// The department of SCIM's enterprise extension.
const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

fn id(user: &Value) -> &str {
    user["Id"].as_str().unwrap()
}

async fn sandbox(users: usize) -> (Sandbox, Admin) {
    let sandbox = Sandbox::start(SandboxSettings { users, ..SandboxSettings::default() }).await.unwrap();
    let admin = sandbox.admin();
    [System::Salesforce, System::Scim].iter().for_each(|system| admin.set_clock(*system, 10_000));
    (sandbox, admin)
}

/// The text of a file in which these attributes flow so.
fn file(crm_url: &str, scim_url: &str, direction: &str, attributes: &str) -> String {
    let mut text =
        format!("{crm_url}{}[connections.{CONNECTION}]\na = \"crm\"\nb = \"directory\"\n", directory(scim_url));
    // Both ways, nobody is created in the org: that takes more than these attributes.
    let more = if direction == "two_way" { "default_system = \"crm\"" } else { "create = \"automatic\"" };
    writeln!(text, "direction = \"{direction}\"\n{more}\nbudgets = \"off\"").unwrap();
    writeln!(text, "[connections.{CONNECTION}.attributes]\n{attributes}").unwrap();
    text
}

fn copy_of(admin: &Admin, user: &Value) -> Value {
    let mut accounts = admin.accounts(System::Scim).into_iter();
    accounts.find(|account| account["externalId"] == user["Id"]).unwrap_or_else(|| panic!("{} has a copy", id(user)))
}

/// A name that is made of two: it follows either of them, and what flows once is at rest.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_made_of_two() {
    let (sandbox, admin) = sandbox(12).await;
    let home = Home::with(&file(
        &crm(&sandbox),
        &sandbox.scim_url(),
        "a_to_b",
        "userName = {}\ndisplayName = { to_b = \"[a.name.givenName, a.name.familyName].filter(n, n != null).join(' ')\" }\n\
         title = { to_b = \"a.title == null ? 'Member' : a.title\" }",
    ));
    let people = active_users(&admin);
    let no_first_name = json!({"FirstName": null, "Title": null});
    admin.edit(System::Salesforce, id(&people[0]), &no_first_name).unwrap();
    let first = home.sync(&[]).await;
    assert_eq!((first.commands("dead"), first.failed), (0, None));
    for user in &people[1..] {
        let full = format!("{} {}", user["FirstName"].as_str().unwrap(), user["LastName"].as_str().unwrap());
        assert_eq!(copy_of(&admin, user)["displayName"], full);
    }
    let copy = copy_of(&admin, &people[0]);
    assert_eq!((&copy["displayName"], &copy["title"]), (&people[0]["LastName"], &json!("Member")));
    admin.set_clock(System::Salesforce, 60_000);
    assert_eq!(home.sync(&["--full"]).await.emitted, 0, "it is at rest");

    admin.edit(System::Salesforce, id(&people[1]), &json!({"FirstName": "Augusta"})).unwrap();
    assert_eq!(home.sync(&[]).await.commands("applied"), 1);
    let name = format!("Augusta {}", people[1]["LastName"].as_str().unwrap());
    assert_eq!(copy_of(&admin, &people[1])["displayName"], name);
    let page = home.muster(&["explain", &format!("crm:{}", id(&people[1])), "displayName"]).await;
    assert!(page.stdout.contains("filter(n, n != null)"), "it says what the value is made by: {page:?}");
}

/// Both ways, each side has its own form of a value: edits of either side arrive in the other's, and then nothing moves.
#[tokio::test(flavor = "multi_thread")]
async fn both_ways_each_side_has_its_own_form() {
    let (sandbox, admin) = sandbox(8).await;
    let department = format!("\"{ENTERPRISE}:department\"");
    let home = Home::with(&file(&crm(&sandbox), &sandbox.scim_url(), "a_to_b", "userName = {}"));
    home.sync(&[]).await;
    let attributes = format!(
        "userName = {{ direction = \"a_to_b\" }}\n\"name.familyName\" = {{ direction = \"a_to_b\" }}\n\
         title = {{ to_b = \"'corp: ' + a.title\", to_a = \"b.title.substring(6)\" }}\n\
         {department} = {{ values = {{ Sales = \"north\", Support = \"south\" }} }}"
    );
    let both_ways = file(&crm(&sandbox), &sandbox.scim_url(), "two_way", &attributes);
    let text = format!("[telemetry]\nlisten = \"127.0.0.1:0\"\n\n{both_ways}");
    std::fs::write(home.path("muster.toml"), text).unwrap();
    let people = active_users(&admin);
    for user in &people {
        let fields = json!({"Title": "Clerk", "Department": "Sales"});
        admin.edit(System::Salesforce, id(user), &fields).unwrap();
    }
    let first = home.sync(&["--full"]).await;
    assert_eq!((first.commands("dead"), first.failed, home.letters().await.len()), (0, None, 0));
    let holds = |user: &Value, title: &str, department: &str| {
        let copy = copy_of(&admin, user);
        assert_eq!((&copy["title"], &copy[ENTERPRISE]["department"]), (&json!(title), &json!(department)), "{copy}");
    };
    people.iter().for_each(|user| holds(user, "corp: Clerk", "north"));
    let mut time = 10_000;
    let mut later = || {
        time += 50_000;
        [System::Salesforce, System::Scim].iter().for_each(|system| admin.set_clock(*system, time));
    };
    later();
    assert_eq!(home.sync(&["--full"]).await.emitted, 0, "it is at rest");

    let copy = copy_of(&admin, &people[0]);
    let edit = json!({"title": "corp: Boss", (ENTERPRISE): {"department": "south"}});
    admin.edit(System::Scim, copy["id"].as_str().unwrap(), &edit).unwrap();
    admin.edit(System::Salesforce, id(&people[1]), &json!({"Title": "Chief", "Department": null})).unwrap();
    let edited = home.sync(&[]).await;
    assert_eq!((edited.commands("applied"), edited.commands("dead")), (2, 0), "{edited:?}");
    let user = admin.account(System::Salesforce, id(&people[0])).unwrap();
    assert_eq!((&user["Title"], &user["Department"]), (&json!("Boss"), &json!("Support")));
    assert_eq!(copy_of(&admin, &people[1])["title"], "corp: Chief");
    assert!(copy_of(&admin, &people[1])[ENTERPRISE]["department"].is_null(), "a clear is a clear");
    later();
    assert_eq!(home.sync(&["--full"]).await.emitted, 0, "no echo comes back");

    // What is of no form that the other side could have stays where it is, with a letter, and so does what it would replace.
    let edit = json!({"title": "Temp", (ENTERPRISE): {"department": "west"}});
    admin.edit(System::Scim, copy["id"].as_str().unwrap(), &edit).unwrap();
    admin.edit(System::Salesforce, id(&people[0]), &json!({"Title": "Queen", "LastName": "Byron"})).unwrap();
    let held = home.sync(&[]).await;
    assert_eq!(held.failed, None, "{held:?}");
    let letters = home.letters().await;
    let text = letters[0]["message"].as_str().unwrap();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert!(text.contains("attribute title") && text.contains("department") && text.contains("`values`"), "{text}");
    assert!(!text.contains("Temp") && !text.contains("west"), "no value is in a letter: {text}");
    let copy = copy_of(&admin, &people[0]);
    assert_eq!((&copy["title"], &copy["name"]["familyName"]), (&json!("Temp"), &json!("Byron")), "the rest flows");
    let user = admin.account(System::Salesforce, id(&people[0])).unwrap();
    assert_eq!((&user["Title"], &user["Department"]), (&json!("Queen"), &json!("Support")));

    later();
    let edit = json!({"title": "corp: Queen", (ENTERPRISE): {"department": "south"}});
    admin.edit(System::Scim, copy["id"].as_str().unwrap(), &edit).unwrap();
    home.sync(&[]).await;
    assert_eq!(home.letters().await.len(), 0, "a usable value heals the letter");
    later();
    assert_eq!(home.sync(&["--full"]).await.emitted, 0);
}

/// An expression that fails on what an account holds is a letter that names the attribute and the place and no value; the
/// rest of the account flows; with a better expression, the letter's retry heals it.
#[tokio::test(flavor = "multi_thread")]
async fn an_expression_that_fails_is_a_letter_until_it_is_mended() {
    let (sandbox, admin) = sandbox(6).await;
    let with = |expression: &str| {
        let attributes = format!("userName = {{}}\ntitle = {{}}\ndisplayName = {{ to_b = \"{expression}\" }}");
        file(&crm(&sandbox), &sandbox.scim_url(), "a_to_b", &attributes)
    };
    let people = active_users(&admin);
    admin.edit(System::Salesforce, id(&people[0]), &json!({"FirstName": null, "Title": "Countess"})).unwrap();
    let home = Home::with(&with("a.name.givenName + ' ' + a.name.familyName"));
    let planned = home.muster(&["plan", CONNECTION, "--json"]).await;
    assert!(planned.stdout.contains("mapping_failed"), "{planned:?}");
    let first = home.sync(&[]).await;
    assert_eq!((first.failed.clone(), first.commands("dead")), (None, 0));
    let letters = home.letters().await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    let (text, code) = (letters[0]["message"].as_str().unwrap(), &letters[0]["fingerprint"]["code"]);
    assert_eq!((code, &letters[0]["fingerprint"]["attribute"]), (&json!("mapping_failed"), &json!("displayName")));
    let expected =
        "the expression of attribute displayName fails at character 18: there is no `+` of no value and a text";
    assert!(text.contains(expected), "{text}");
    assert!(!text.contains(people[0]["LastName"].as_str().unwrap()));
    let copy = copy_of(&admin, &people[0]);
    assert_eq!((&copy["title"], &copy["displayName"]), (&json!("Countess"), &Value::Null), "the rest flows");

    let page = home.muster(&["explain", &format!("crm:{}", id(&people[0]))]).await;
    assert!(page.stdout.contains("displayName fails at character 18"), "{page:?}");

    let config = std::fs::read_to_string(home.path("muster.toml")).unwrap();
    let mended = "a.name.givenName == null ? a.name.familyName : a.name.givenName + ' ' + a.name.familyName";
    let config = config.replace("a.name.givenName + ' ' + a.name.familyName", mended);
    std::fs::write(home.path("muster.toml"), config).unwrap();
    let retried = home.muster(&["dead", "retry", "--all"]).await;
    assert_eq!(retried.status, 0, "{retried:?}");
    admin.set_clock(System::Salesforce, 60_000);
    home.sync(&[]).await;
    assert_eq!(home.letters().await.len(), 0);
    assert_eq!(copy_of(&admin, &people[0])["displayName"], people[0]["LastName"]);
    let rest = home.sync(&["--full"]).await;
    assert_eq!(rest.emitted, 0, "{rest:?}");
}

/// What cannot work is refused before anything is called, with its place in the file and what would be right.
#[tokio::test(flavor = "multi_thread")]
async fn an_expression_that_cannot_work_is_refused() {
    let crm = "[systems.crm]\nkind = \"salesforce\"\nurl = \"https://example.my.salesforce.com\"\nauth = { flow = \
               \"client-credentials\", client_id = \"x\", client_secret = { env = \"CRM_SECRET\" } }\n";
    let mut told = String::new();
    for (direction, attribute) in [
        ("a_to_b", "title = { to_b = \"a.title +\" }"),
        ("a_to_b", "title = { to_b = 'a.title.lowerASCII()' }"),
        ("a_to_b", "title = { to_b = 'has(a.title) ? a.title : \"none\"' }"),
        ("a_to_b", "title = { to_b = 'b.title' }"),
        ("a_to_b", "title = { to_b = 'a.titel' }"),
        ("a_to_b", "title = { to_b = 'a.title.size()' }"),
        ("a_to_b", "title = { to_b = 'a.title + 1' }"),
        ("a_to_b", "title = { to_b = '[1, 2].map(x, [3].map(y, a.title))' }"),
        ("a_to_b", "title = { a = \"native.Alias\", to_b = 'a.title' }"),
        ("a_to_b", "title = { to_a = 'b.title' }"),
        ("two_way", "title = { to_b = 'a.title.trim()' }"),
        ("two_way", "title = { to_b = 'a.title.substring(0, 1)', to_a = 'b.title' }"),
        ("two_way", "title = { to_b = 'a.title.upper()', to_a = 'b.title.lower()' }"),
        ("two_way", "title = { to_b = 'a.title + a.nickName', to_a = 'b.title' }"),
        ("two_way", "title = { values = { Boss = \"Chief\", Head = \"Chief\" } }"),
        ("two_way", "title = { values = { Boss = \"Chief\" }, otherwise = \"x\" }"),
        ("two_way", "displayName = { values = { \"Ada Byron\" = \"Countess\" } }"),
        ("a_to_b", "title = { to_b = \"a.title.replace('', a.title).replace('', a.title)\" }"),
        (
            "two_way",
            "displayName = { direction = \"a_to_b\", to_b = \"a.name.givenName + ' ' + a.name.familyName\" }\n\
             \"name.givenName\" = { direction = \"b_to_a\", to_a = \"b.displayName.split(' ')[0]\" }",
        ),
    ] {
        let attributes =
            format!("userName = {{ direction = \"{}\" }}\n{attribute}", direction.replace("two_way", "a_to_b"));
        let home = Home::with(&file(crm, "https://directory.example/scim/v2", direction, &attributes));
        let outcome = home.muster(&["check", "--offline"]).await;
        assert_eq!(outcome.status, 2, "{attribute}: {outcome:?}");
        let stderr = outcome.stderr.replace(&home.path("").display().to_string(), "");
        writeln!(told, "{direction}: {attribute}\n{}\n", stderr.trim_end()).unwrap();
    }
    insta::assert_snapshot!("mapping_refused", told);
}

/// The examples of docs/mapping.md do what stands below them: each is run as it stands.
#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_the_page_do_what_it_says() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/mapping.md")).unwrap();
    let mut blocks = Vec::new();
    let mut rest = page.as_str();
    while let Some((_, after)) = rest.split_once("\n```") {
        let (kind, after) = after.split_once('\n').unwrap();
        let (block, after) = after.split_once("\n```").unwrap();
        blocks.push((kind.to_owned(), block.to_owned()));
        rest = after;
    }
    let mut examples = 0;
    for window in blocks.windows(3) {
        let [(toml, attributes), (sample, accounts), (text, expected)] = window else { unreachable!("three") };
        if (&**toml, &**text) != ("toml", "text") || !["json", "csv"].contains(&&**sample) {
            continue;
        }
        examples += 1;
        let crm = "[systems.crm]\nkind = \"salesforce\"\nurl = \"https://example.my.salesforce.com\"\nfields = \
                   [\"Level__c\"]\nauth = { flow = \"client-credentials\", client_id = \"x\", client_secret = { env = \
                   \"CRM_SECRET\" } }\n";
        let direction =
            if attributes.contains("to_a") || attributes.contains("two_way") { "two_way" } else { "a_to_b" };
        let attributes = match attributes.contains("userName") {
            true => attributes.clone(),
            false => format!("userName = {{ direction = \"a_to_b\" }}\n{attributes}"),
        };
        let home = Home::with(&file(crm, "https://directory.example/scim/v2", direction, &attributes));
        let name = format!("people.{}", sample.replace("json", "jsonl"));
        std::fs::write(home.path(&name), accounts).unwrap();
        let path = home.path(&name).display().to_string();
        let (_, side) = expected.split_once("--side ").map_or(("", "a"), |(before, after)| (before, &after[..1]));
        let outcome = home.muster(&["map", "test", CONNECTION, "--file", &path, "--side", side]).await;
        let shown = expected.lines().skip(1).collect::<Vec<_>>().join("\n");
        assert_eq!(outcome.stdout.trim_end(), shown.trim_end(), "{attributes}\n{outcome:?}");
        assert_eq!(outcome.status, i32::from(shown.contains("ERROR")), "{outcome:?}");
    }
    assert!(examples >= 4, "the page has examples: {examples}");
}

/// `map test` reads live accounts, writes nothing, and makes no file.
#[tokio::test(flavor = "multi_thread")]
async fn a_mapping_is_tried_on_live_accounts() {
    let (sandbox, admin) = sandbox(9).await;
    let people = active_users(&admin);
    admin.edit(System::Salesforce, id(&people[0]), &json!({"Title": null})).unwrap();
    let home = Home::with(&file(
        &crm(&sandbox),
        &sandbox.scim_url(),
        "a_to_b",
        "userName = {}\ndisplayName = { to_b = \"a.name.familyName.upper() + ' ' + a.title\" }",
    ));
    let tried = home.muster(&["map", "test", "--live", "--json", "--limit", "100"]).await;
    let lines: Vec<Value> = tried.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() >= people.len(), "{tried:?}");
    let failed: Vec<_> = lines.iter().filter(|line| line["error"].is_object()).collect();
    assert_eq!((failed.len(), tried.status), (1, 1), "{tried:?}");
    assert_eq!((&failed[0]["error"]["line"], &failed[0]["error"]["column"]), (&json!(1), &json!(33)), "{failed:?}");
    assert_eq!((&failed[0]["attribute"], &failed[0]["account"]), (&json!("displayName"), &people[0]["Id"]));
    let made = lines.iter().find(|line| line["account"] == people[1]["Id"]).unwrap();
    let family = people[1]["LastName"].as_str().unwrap();
    let title = people[1]["Title"].as_str().unwrap();
    assert_eq!(made["out"], format!("{} {title}", family.to_uppercase()));
    assert_eq!(made["in"]["name.familyName"], family);
    assert!(admin.accounts(System::Scim).is_empty());
    assert!(!home.path("muster.db").exists());
}
