//! Links that people make: one by one, from files, and by fields of an account.

use muster::sandbox::{Admin, DEFAULT_SALESSCREEN_KEY, Sandbox, SandboxSettings, System};
use serde_json::{Value, json};

use super::embedded_run::Home;
use super::processes::{CONNECTION, Installation, Outcome, active_users, crm, directory};

mod fields;

fn id(account: &Value) -> &str {
    account["Id"].as_str().or(account["id"].as_str()).unwrap()
}

/// An org with so many users, and a directory that knows each of them by another e-mail address.
async fn sandbox(users: usize) -> (Sandbox, Admin, Vec<(String, String)>) {
    let sandbox = Sandbox::start(SandboxSettings { users, ..SandboxSettings::default() }).await.unwrap();
    let admin = sandbox.admin();
    for system in [System::Salesforce, System::Scim] {
        admin.set_clock(system, 10_000);
    }
    let pairs = active_users(&admin).into_iter().map(|user| {
        let name = format!("old-{}@x.example", id(&user));
        let account = json!({"userName": name, "active": true, "title": "Old", "name": {"familyName": "Old"},
            "emails": [{"value": name, "type": "work"}]});
        (id(&user).to_owned(), admin.create(System::Scim, &account).unwrap())
    });
    let pairs = pairs.collect();
    (sandbox, admin, pairs)
}

fn systems(sandbox: &Sandbox, more: &str) -> String {
    // Without budgets: accounts that meet for the first time change more addresses than one lets pass.
    format!(
        "{}{}[connections.{CONNECTION}]\na = \"crm\"\nb = \"directory\"\ndirection = \"a_to_b\"\nbudgets = \"off\"\n{more}",
        crm(sandbox),
        directory(&sandbox.scim_url())
    )
}

fn lines(outcome: &Outcome) -> Vec<Value> {
    outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{outcome:?}"))).collect()
}

/// How often each outcome was told.
fn outcomes(outcome: &Outcome) -> Vec<(String, u64)> {
    let lines = lines(outcome);
    let counts = lines.last().unwrap()["counts"].as_object().unwrap().iter();
    let counts: Vec<_> = counts.map(|(outcome, count)| (outcome.clone(), count.as_u64().unwrap())).collect();
    for (word, count) in &counts {
        assert_eq!(lines.iter().filter(|line| line["outcome"] == **word).count() as u64, *count, "{word}");
    }
    counts.into_iter().filter(|(_, count)| *count > 0).collect()
}

fn counted(counts: &[(&str, u64)]) -> Vec<(String, u64)> {
    counts.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect()
}

/// R1, R2, R3, R45: two accounts that exist are linked by a command, and then kept in step; a second link of either is
/// refused, and the first stays; ended, neither account is touched, and nothing is written to them any more.
#[tokio::test(flavor = "multi_thread")]
async fn two_accounts_are_linked_by_hand() {
    let (sandbox, admin, pairs) = sandbox(6).await;
    let home = Home::with(&systems(&sandbox, ""));
    // Known before, each alone: the link takes their place.
    assert_eq!(home.sync(&[]).await.emitted, 0);
    let [(a, b), (other_a, other_b)] = [&pairs[0], &pairs[1]];
    let (account, short) = (format!("directory:{b}"), &a[..15]);

    let absent = home.muster(&["links", "add", CONNECTION, short, "directory:nobody"]).await;
    assert!(absent.status == 2 && absent.stderr.contains("there is no account directory:nobody"), "{absent:?}");
    let no_id = home.muster(&["links", "add", CONNECTION, "crm:ada", &account]).await;
    assert!(no_id.status == 2 && no_id.stderr.contains("`crm:ada` is no account of crm"), "{no_id:?}");
    // In either order.
    let added = home.muster(&["links", "add", CONNECTION, &account, &format!("crm:{short}")]).await;
    assert_eq!(added.status, 0, "{added:?}");
    assert!(added.stdout.contains("Where the two differ, directory gets what crm holds"), "{added:?}");
    // Who did it is logged.
    assert!(added.stderr.contains("ada@") && added.stderr.contains(&format!("links crm:{a} with {account}")));
    let again = home.muster(&["links", "add", CONNECTION, a, b]).await;
    assert!(again.status == 0 && again.stdout.contains("are linked already"), "{again:?}");
    for (one, two) in [(a, other_b), (other_a, b)] {
        let refused = home.muster(&["links", "add", CONNECTION, one, two]).await;
        assert!(refused.status == 1 && refused.stderr.contains("the first link stays"), "{refused:?}");
    }

    let synced = home.sync(&[]).await;
    assert_eq!(synced.failed, None);
    let user = admin.account(System::Salesforce, a).unwrap();
    assert_eq!(admin.account(System::Scim, b).unwrap()["name"]["familyName"], user["LastName"]);
    assert_eq!(admin.account(System::Scim, other_b).unwrap()["name"]["familyName"], "Old");
    let listed = lines(&home.muster(&["links", "list", "--json"]).await);
    let expected = json!({"connection": CONNECTION, "a": format!("crm:{a}"), "b": account, "state": "in_step"});
    assert_eq!(listed, [expected]);

    let before = admin.account(System::Scim, b);
    let removed = home.muster(&["links", "remove", CONNECTION, &account]).await;
    assert!(removed.status == 0 && removed.stdout.contains("neither was changed"), "{removed:?}");
    assert_eq!(home.muster(&["links", "remove", CONNECTION, &account]).await.status, 2);
    admin.set_clock(System::Salesforce, 60_000);
    admin.edit(System::Salesforce, a, &json!({"LastName": "Newer"})).unwrap();
    assert_eq!(home.sync(&["--full"]).await.emitted, 0);
    assert_eq!(admin.account(System::Scim, b), before);
    // The accounts are free again.
    assert_eq!(home.muster(&["links", "add", CONNECTION, other_a, b]).await.status, 0);
}

/// R1, R57: both ways, both accounts were known, each alone, and become one link; where they differ the default system's
/// value is kept, what only one of them has both get, and then it rests.
#[tokio::test(flavor = "multi_thread")]
async fn two_accounts_that_were_known_apart_follow_each_other() {
    let (sandbox, admin, pairs) = sandbox(3).await;
    let two_way = systems(&sandbox, "default_system = \"crm\"\n").replace("a_to_b", "two_way");
    let home = Home::with(&format!(
        "{two_way}[connections.{CONNECTION}.attributes]\nuserName = {{}}\ntitle = {{}}\n\"name.familyName\" = {{}}\n\
         \"name.givenName\" = {{}}\n"
    ));
    let (a, b) = &pairs[0];
    admin.edit(System::Scim, b, &json!({"title": "of the directory", "name.givenName": "Both"})).unwrap();
    admin.edit(System::Salesforce, a, &json!({"Title": null, "FirstName": null})).unwrap();
    assert_eq!(home.sync(&[]).await.emitted, 0);
    assert_eq!(home.muster(&["links", "add", CONNECTION, a, b]).await.status, 0);
    let user = admin.account(System::Salesforce, a).unwrap();
    home.sync(&[]).await;
    let (now, account) = (admin.account(System::Salesforce, a).unwrap(), admin.account(System::Scim, b).unwrap());
    assert_eq!((&now["LastName"], &account["name"]["familyName"]), (&user["LastName"], &user["LastName"]));
    assert_eq!((&now["Title"], &account["title"]), (&json!("of the directory"), &json!("of the directory")));
    assert_eq!((&now["FirstName"], &account["name"]["givenName"]), (&json!("Both"), &json!("Both")));
    assert_eq!(home.sync(&["--full"]).await.emitted, 0);
    let listed = lines(&home.muster(&["links", "list", "--json"]).await);
    assert_eq!((listed.len(), &listed[0]["state"]), (1, &json!("in_step")));
    assert!(home.letters().await.is_empty());
}

/// Where accounts are created automatically, the answer to `remove` says what the next reading does, and who still names
/// whom.
#[tokio::test(flavor = "multi_thread")]
async fn ending_a_link_says_what_follows() {
    let sandbox = Sandbox::start(SandboxSettings { users: 3, ..SandboxSettings::default() }).await.unwrap();
    let admin = sandbox.admin();
    let home = Home::with(&systems(&sandbox, "create = \"automatic\"\n"));
    home.sync(&[]).await;
    let user = active_users(&admin)[0].clone();
    let account = format!("crm:{}", id(&user));
    let removed = home.muster(&["links", "remove", CONNECTION, &account, "--json"]).await;
    let told = lines(&removed).remove(0);
    let next: Vec<_> = told["next"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    assert!(next.len() == 2 && next[0].contains(&format!("still names {account} as its partner")), "{next:?}");
    assert!(next[1].contains("created automatically in directory"), "{next:?}");
    // As it says: the account that names its partner is found, and nobody is made twice.
    let accounts = admin.accounts(System::Scim).len();
    home.sync(&["--full"]).await;
    let listed = lines(&home.muster(&["links", "list", "--json"]).await);
    assert_eq!((listed.len(), admin.accounts(System::Scim).len()), (active_users(&admin).len(), accounts));
}

/// R2, R3, R48, R51, R52: a report with ids of 15 characters is imported as it comes: every row has an outcome, bad ones
/// are named, good ones kept; a dry run tells the same and does nothing; a second time changes nothing; and what is
/// exported can be imported elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_report_of_pairs_is_imported() {
    let (sandbox, admin, pairs) = sandbox(130).await;
    let home = Home::with(&systems(&sandbox, ""));
    let mut report = "\u{feff}\"Full; Name\";\"User ID\";\"directory\"\r\n".to_owned();
    for (a, b) in &pairs {
        report.push_str(&format!("\"Ada; Countess\";\"{}\";\"{b}\"\r\n", &a[..15]));
    }
    let first_bad = pairs.len() + 2;
    let [(a, b), (other_a, other_b)] = [&pairs[0], &pairs[1]];
    for row in [
        format!("x;{};{b}", other_a),
        format!("x;{a};free"),
        format!("x;{};free", a.to_lowercase()),
        "x;;free".to_owned(),
        format!("x;{other_a};{other_b}"),
    ] {
        report.push_str(&format!("{row}\r\n"));
    }
    report.push_str("\r\n\"Users Report\"\r\n");
    std::fs::write(home.path("report.csv"), report).unwrap();

    let count = pairs.len() as u64;
    let dry = home.muster(&["links", "import", CONNECTION, "report.csv", "--dry-run", "--json"]).await;
    assert_eq!(dry.status, 3, "{}", dry.stderr);
    let rest = [("already_linked", 1), ("refused", 4), ("skipped", 1)];
    assert_eq!(outcomes(&dry), counted(&[&rest[..], &[("would_link", count)]].concat()));
    assert!(lines(&home.muster(&["links", "list", "--json"]).await).is_empty());

    let imported = home.muster(&["links", "import", CONNECTION, "report.csv", "--json"]).await;
    assert_eq!(imported.status, 3, "{}", imported.stderr);
    assert_eq!(
        outcomes(&imported),
        counted(&[("already_linked", 1), ("linked", count), ("refused", 4), ("skipped", 1)])
    );
    let bad = lines(&imported).into_iter().filter(|line| line["outcome"] == "refused");
    let bad: Vec<_> = bad.map(|line| (line["line"].clone(), line["code"].clone())).collect();
    let codes = ["taken", "taken", "not_an_id", "no_id"];
    let expected: Vec<_> = codes.iter().enumerate().map(|(n, code)| (json!(first_bad + n), json!(code))).collect();
    assert_eq!(bad, expected);
    let again = home.muster(&["links", "import", CONNECTION, "report.csv"]).await;
    let summary = format!(" 0 linked, {} linked already,", count + 1);
    assert!(again.status == 3 && again.stdout.contains(&summary), "{}", again.stdout);

    home.sync(&[]).await;
    let states = lines(&home.muster(&["links", "list", CONNECTION, "--json"]).await);
    assert_eq!(states.len(), pairs.len());
    assert!(states.iter().all(|link| link["state"] == "in_step"), "{states:?}");
    for (a, b) in &pairs {
        let user = admin.account(System::Salesforce, a).unwrap();
        assert_eq!(admin.account(System::Scim, b).unwrap()["name"]["familyName"], user["LastName"]);
    }

    let exported = home.muster(&["links", "export", CONNECTION]).await;
    let elsewhere = Home::with(&systems(&sandbox, ""));
    std::fs::write(elsewhere.path("links.csv"), &exported.stdout).unwrap();
    let imported = elsewhere.muster(&["links", "import", CONNECTION, "links.csv", "--check", "--json"]).await;
    assert_eq!((imported.status, outcomes(&imported)), (0, counted(&[("linked", count)])), "{}", imported.stderr);
    let exported = exported.stdout.lines().count();
    assert_eq!(exported, pairs.len() + 1);
}

/// R52: one who does not exist is named by `--check`, the others are linked.
#[tokio::test(flavor = "multi_thread")]
async fn an_import_can_ask_who_is_there() {
    let (sandbox, _admin, pairs) = sandbox(3).await;
    let home = Home::with(&systems(&sandbox, ""));
    let (a, b) = &pairs[0];
    std::fs::write(home.path("pairs.csv"), format!("a,b\n{a},nobody\n{},{b}\n", pairs[1].0)).unwrap();
    let imported = home.muster(&["links", "import", CONNECTION, "pairs.csv", "--check", "--json"]).await;
    assert_eq!((imported.status, outcomes(&imported)), (3, counted(&[("linked", 1), ("refused", 1)])));
    assert_eq!(lines(&imported)[0]["reason"], "there is no account directory:nobody");
}

/// B3: killed in the middle, an import has linked whole pairs and nothing else, and done again it links the rest.
#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_killed_is_done_again() {
    let (sandbox, admin, pairs) = sandbox(150).await;
    let home = Home::with(&systems(&sandbox, ""));
    let rows: String = pairs.iter().map(|(a, b)| format!("{a},{b}\n")).collect();
    std::fs::write(home.path("pairs.csv"), format!("a,b\n{rows}")).unwrap();
    let import = ["links", "import", CONNECTION, "pairs.csv", "--json"];
    let mut killed = home.command(env!("CARGO_BIN_EXE_muster"));
    let killed = killed.args(import).env("MUSTER_FAILPOINT", "file.replaced_link:120").output().await.unwrap();
    assert_eq!(killed.status.code(), None, "{killed:?}");
    let told = String::from_utf8(killed.stdout).unwrap().matches("\"linked\"").count();
    let links = lines(&home.muster(&["links", "list", "--json"]).await).len();
    assert_eq!((told, links), (100, 100), "what was told is there, and nothing of the rest");
    let again = home.muster(&import).await;
    let rest = pairs.len() as u64 - 100;
    assert_eq!(outcomes(&again), counted(&[("already_linked", 100), ("linked", rest)]));
    home.sync(&[]).await;
    for (a, b) in &pairs {
        let user = admin.account(System::Salesforce, a).unwrap();
        assert_eq!(admin.account(System::Scim, b).unwrap()["name"]["familyName"], user["LastName"]);
    }
}

/// R2, R3, B3: beside running workers, and two imports that want the same accounts at once, each account has one partner.
#[tokio::test(flavor = "multi_thread")]
async fn imports_beside_each_other_and_the_workers_are_one_to_one() {
    let (sandbox, admin, pairs) = sandbox(120).await;
    let home = Home::with(&systems(&sandbox, ""));
    let running = home.run("run", None).await;
    let turned: Vec<_> = (0..pairs.len()).map(|n| (&pairs[n].0, &pairs[pairs.len() - 1 - n].1)).collect();
    let file = |pairs: &mut dyn Iterator<Item = (&String, &String)>| -> String {
        std::iter::once("a,b\n".to_owned()).chain(pairs.map(|(a, b)| format!("{a},{b}\n"))).collect()
    };
    std::fs::write(home.path("one.csv"), file(&mut pairs.iter().map(|(a, b)| (a, b)))).unwrap();
    std::fs::write(home.path("two.csv"), file(&mut turned.into_iter())).unwrap();
    let import = |name: &'static str| {
        let home = &home;
        async move { home.muster(&["links", "import", CONNECTION, name, "--json"]).await }
    };
    let (one, two, synced) = tokio::join!(import("one.csv"), import("two.csv"), home.sync(&[]));
    assert_eq!(synced.failed, None);
    let linked = |outcome: &Outcome| lines(outcome).iter().filter(|line| line["outcome"] == "linked").count();
    let links = lines(&home.muster(&["links", "list", "--json"]).await);
    assert_eq!(links.len(), linked(&one) + linked(&two), "{one:?} {two:?}");
    for side in ["a", "b"] {
        let mut accounts: Vec<_> = links.iter().map(|link| link[side].as_str().unwrap()).collect();
        accounts.sort_unstable();
        accounts.dedup();
        assert_eq!(accounts.len(), links.len());
    }
    home.sync(&[]).await;
    running.stop().await;
    for link in &links {
        let account = |side: &str| link[side].as_str().unwrap().split_once(':').unwrap().1.to_owned();
        let user = admin.account(System::Salesforce, &account("a")).unwrap();
        assert_eq!(admin.account(System::Scim, &account("b")).unwrap()["name"]["familyName"], user["LastName"]);
    }
}

/// Over servers: what is linked is read again by the producers at once, without a sync.
#[tokio::test(flavor = "multi_thread")]
async fn links_flow_through_running_workers() {
    let (sandbox, admin, pairs) = sandbox(20).await;
    let mut muster = Installation::new(&systems(&sandbox, "")).await;
    muster.start().await;
    assert_eq!(muster.sync(&[]).await.emitted, 0);
    let rows: String = pairs.iter().map(|(a, b)| format!("{},{b}\n", &a[..15])).collect();
    let file = muster.config().with_file_name("pairs.csv");
    std::fs::write(&file, format!("a,b\n{rows}")).unwrap();
    let file = file.to_str().unwrap();
    let count = pairs.len() as u64;
    let imported = muster.muster(&["links", "import", CONNECTION, file, "--json"]).await;
    assert_eq!((imported.status, outcomes(&imported)), (0, counted(&[("linked", count)])), "{imported:?}");
    let flows = async {
        loop {
            let links = lines(&muster.muster(&["links", "list", "--json"]).await);
            if links.len() == pairs.len() && links.iter().all(|link| link["state"] == "in_step") {
                return;
            }
        }
    };
    tokio::time::timeout(super::embedded_run::PATIENCE, flows).await.expect("values flow");
    for (a, b) in &pairs {
        let user = admin.account(System::Salesforce, a).unwrap();
        assert_eq!(admin.account(System::Scim, b).unwrap()["name"]["familyName"], user["LastName"]);
    }
    let again = muster.muster(&["links", "import", CONNECTION, file, "--json"]).await;
    assert_eq!(outcomes(&again), counted(&[("already_linked", count)]));
    let removed = muster.muster(&["links", "remove", CONNECTION, &pairs[0].0]).await;
    assert_eq!(removed.status, 0, "{removed:?}");
    assert_eq!(lines(&muster.muster(&["links", "list", "--json"]).await).len(), pairs.len() - 1);
}

/// Who is on one side only is told as CSV, from what both systems hold now, with why.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_partner_is_told() {
    let (sandbox, admin, pairs) = sandbox(5).await;
    admin.edit(System::Salesforce, &pairs[0].0, &json!({"FirstName": "=cmd()", "LastName": "x"})).unwrap();
    let home = Home::with(
        &systems(&sandbox, "scope = \"a.native.Sync__c == true\"\n")
            .replace("[systems.directory]", "fields = [\"Sync__c\"]\n[systems.directory]"),
    );
    let (a, b) = &pairs[1];
    assert_eq!(home.muster(&["links", "add", CONNECTION, a, b]).await.status, 0);
    let missing = home.muster(&["links", "missing", CONNECTION, "--output", "missing.csv"]).await;
    assert_eq!(missing.status, 0, "{missing:?}");
    let text = std::fs::read_to_string(home.path("missing.csv")).unwrap();
    let users = admin.accounts(System::Salesforce).len();
    assert_eq!(text.lines().count(), 1 + users - 1 + pairs.len() - 1, "{text}");
    assert!(text.starts_with("system,side,account,name,email,active,in_scope,why\n"), "{text}");
    assert!(!text.contains(a.as_str()) && !text.contains(b.as_str()), "{text}");
    assert!(text.contains("'=cmd() x") && text.contains(",true,false,not_linked"), "{text}");
    let rows = lines(&home.muster(&["links", "missing", CONNECTION, "--json"]).await);
    assert_eq!(rows.len(), text.lines().count() - 1);
}

/// R48, R49: SalesScreen's own list of mappings tells both sides. Who is there already is only mapped, and written when
/// they change, under the id of the Salesforce user.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_mappings_is_imported() {
    let sandbox = Sandbox::start(SandboxSettings { users: 4, ..SandboxSettings::default() }).await.unwrap();
    let admin = sandbox.admin();
    admin.set_clock(System::Salesforce, 10_000);
    let users = active_users(&admin);
    let home = Home::with(&format!(
        "{}[systems.results]\nkind = \"salesscreen\"\nurl = \"{}\"\napi_key = {{ env = \"SALESSCREEN_KEY\" }}\n\
         automatic_sync_off = true\nteams = {{ north = \"North\" }}\n[connections.crm-results]\na = \"crm\"\n\
         b = \"results\"\ndirection = \"a_to_b\"\nmatch = [\"emails\"]\n[connections.crm-results.attributes]\n\
         emails = {{}}\n\"name.givenName\" = {{}}\n\"name.familyName\" = {{}}\n",
        crm(&sandbox),
        sandbox.salesscreen_url()
    ))
    .variable("SALESSCREEN_KEY", DEFAULT_SALESSCREEN_KEY)
    .connection("crm-results");
    let short = &id(&users[0])[..15];
    let file = format!("Email,External ID,System\nada@x.example,{short},Salesforce\nada@x.example,42,HubSpot\n");
    std::fs::write(home.path("mappings.csv"), file).unwrap();
    let imported = home.muster(&["links", "import", "crm-results", "mappings.csv", "--json"]).await;
    assert_eq!(outcomes(&imported), counted(&[("linked", 1), ("skipped", 1)]), "{imported:?}");
    home.sync(&[]).await;
    let there: Vec<_> = admin.accounts(System::SalesScreen);
    assert_eq!(there.len(), 1, "{there:?}");
    assert_eq!((&there[0]["userId"], &there[0]["lastname"]), (&users[0]["Id"], &users[0]["LastName"]));
    // Nobody who waits to be read where nothing can be.
    assert_eq!(home.sync(&["--full"]).await.emitted, 0);
    let rows = lines(&home.muster(&["links", "missing", "crm-results", "--json"]).await);
    assert_eq!(rows.len(), admin.accounts(System::Salesforce).len() - 1);
    assert!(rows.iter().all(|row| row["system"] == "crm"));
}
