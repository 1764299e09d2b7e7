//! Users of an org in SalesScreen, which can be written and never read, through the whole pipeline.
//!
//! `MUSTER_TEST_USERS=900 tests/run --test it -- four_writers_keep_both_windows --nocapture` takes four minutes and more, and
//! says how full each of them was.

use std::collections::{BTreeMap, BTreeSet};

use muster::sandbox::{Actor, Admin, DEFAULT_SALESSCREEN_KEY, Sandbox, SandboxSettings, System};
use serde_json::{Value, json};

use super::embedded_run::Home;
use super::examples::installation;
use super::processes::{Mode, Report as Run, active_users, crm};
use super::show::show;

fn id(user: &Value) -> &str {
    user["Id"].as_str().unwrap()
}

/// An installation that makes SalesScreen users of the org's, with these lines in the connection's table.
fn home(sandbox: &Sandbox, lines: &str) -> Home {
    let results = format!(
        "[systems.results]\nkind = \"salesscreen\"\nurl = \"{}\"\napi_key = {{ env = \"SALESSCREEN_KEY\" }}\n\
         automatic_sync_off = true\nteams = {{ north = \"North\", south = \"South\" }}\n",
        sandbox.salesscreen_url()
    );
    let connection = format!(
        "[connections.crm-results]\na = \"crm\"\nb = \"results\"\ndirection = \"a_to_b\"\nmatch = [\"emails\"]\n{lines}\
         [connections.crm-results.attributes]\nemails = {{}}\n\"name.givenName\" = {{}}\n\"name.familyName\" = {{}}\n\
         \"native.team\" = {{ a = \"native.Badge__c\" }}\n"
    );
    Home::with(&format!("{}fields = [\"Badge__c\"]\n{results}{connection}", crm(sandbox)))
        .variable("SALESSCREEN_KEY", DEFAULT_SALESSCREEN_KEY)
        .connection("crm-results")
}

async fn sandbox(users: usize) -> (Sandbox, Admin, Vec<Value>) {
    let sandbox = Sandbox::start(SandboxSettings { users, ..SandboxSettings::default() }).await.unwrap();
    let admin = sandbox.admin();
    admin.set_clock(System::Salesforce, 10_000);
    let people = active_users(&admin);
    for (number, user) in people.iter().enumerate() {
        let team = ["north", "south"][number % 2];
        admin.edit(System::Salesforce, id(user), &json!({ "Badge__c": team })).unwrap();
    }
    (sandbox, admin, people)
}

/// The users of the product by our id for them.
fn users(admin: &Admin) -> BTreeMap<String, Value> {
    let users = admin.accounts(System::SalesScreen).into_iter();
    users.map(|user| (user["userId"].as_str().unwrap_or_default().to_owned(), user)).collect()
}

fn calls(admin: &Admin) -> usize {
    admin.writes(0).iter().filter(|write| write.system == System::SalesScreen && write.actor == Actor::Client).count()
}

/// R46, R48, R50: everybody gets a user with the org's own id and a team; nobody is written twice; an edit sends that
/// user alone and whole, so that nothing of it is lost; and a full sync, which reads what can be read, writes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn users_that_nobody_can_read_are_kept_in_step() {
    let (sandbox, admin, people) = sandbox(20).await;
    admin.configure(System::SalesScreen, json!({"absent": "clear"})).unwrap();
    let home = home(&sandbox, "create = \"automatic\"\n");
    let first = home.sync(&[]).await;
    assert_eq!(first.commands("applied"), people.len() as i64, "{first:?}");
    let there = users(&admin);
    assert_eq!(there.len(), people.len());
    for user in &people {
        let copy = &there[id(user)];
        assert_eq!((&copy["email"], &copy["lastname"]), (&user["Email"], &user["LastName"]));
        assert!(copy["team"]["key"] == "north" || copy["team"]["key"] == "south", "{copy}");
    }
    assert_eq!(calls(&admin), people.len());
    assert_eq!(home.sync(&["--full"]).await.emitted, 0);

    admin.set_clock(System::Salesforce, 60_000);
    admin.edit(System::Salesforce, id(&people[3]), &json!({"FirstName": "Augusta"})).unwrap();
    let edited = home.sync(&[]).await;
    assert_eq!((edited.commands("applied"), calls(&admin)), (1, people.len() + 1), "{edited:?}");
    let (before, after) = (&there[id(&people[3])], &users(&admin)[id(&people[3])]);
    assert_eq!(after["firstname"], "Augusta");
    for kept in ["email", "lastname", "team"] {
        assert_eq!(after[kept], before[kept], "{kept}");
    }
    for _ in 0..2 {
        assert_eq!(home.sync(&["--full"]).await.emitted, 0);
    }
    assert_eq!(calls(&admin), people.len() + 1);
}

/// R45: manual is the default. Nobody gets an account without a command.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_made_unless_somebody_says_so() {
    let (sandbox, admin, _) = sandbox(5).await;
    let home = home(&sandbox, "");
    assert_eq!(home.sync(&[]).await.emitted, 0);
    assert!(users(&admin).is_empty());
}

/// R50: an unknown team key would make a second team of the same name, whose members nobody sees: it is refused before the
/// call, and named.
#[tokio::test(flavor = "multi_thread")]
async fn a_team_that_nobody_listed_is_refused() {
    let (sandbox, admin, people) = sandbox(4).await;
    admin.edit(System::Salesforce, id(&people[0]), &json!({"Badge__c": "nrth"})).unwrap();
    let home = home(&sandbox, "create = \"automatic\"\n");
    let synced = home.sync(&[]).await;
    assert_eq!((synced.commands("applied"), synced.commands("dead")), (people.len() as i64 - 1, 1), "{synced:?}");
    assert!(!users(&admin).contains_key(id(&people[0])));
    let letters = home.letters().await;
    assert_eq!((letters.len(), &letters[0]["fingerprint"]["code"]), (1, &json!("unknown_team")), "{letters:?}");

    // Corrected, the next sync heals it.
    admin.set_clock(System::Salesforce, 60_000);
    admin.edit(System::Salesforce, id(&people[0]), &json!({"Badge__c": "north"})).unwrap();
    assert_eq!(home.sync(&[]).await.commands("applied"), 1);
    assert!(home.letters().await.is_empty());
}

/// R50: the teams are named after departments by a table. Who has a department without a team gets an account, is not
/// called a success, and `explain` says what is missing; an edit of the department mends it.
#[tokio::test(flavor = "multi_thread")]
async fn departments_become_teams_and_who_has_none_is_shown() {
    let (sandbox, admin, people) = sandbox(6).await;
    for (number, user) in people.iter().enumerate() {
        let department = if number == 2 { "Kitchen" } else { "Sales EMEA" };
        admin.edit(System::Salesforce, id(user), &json!({ "Department": department })).unwrap();
    }
    let home = home(&sandbox, "create = \"automatic\"\n");
    let text = std::fs::read_to_string(home.path("muster.toml")).unwrap();
    let by_badge = "{ a = \"native.Badge__c\" }";
    let department = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department";
    let by_department =
        format!("{{ a = \"{department}\", values = {{ \"Sales EMEA\" = \"north\", Field = \"south\" }} }}");
    assert!(text.contains(by_badge));
    std::fs::write(home.path("muster.toml"), text.replace(by_badge, &by_department)).unwrap();

    let first = home.sync(&[]).await;
    let of = |run: &Run| (run.commands("applied"), run.commands("needs_team"), run.commands("dead"));
    assert_eq!(of(&first), (people.len() as i64 - 1, 1, 0), "{first:?}");
    let there = users(&admin);
    assert_eq!(there.len(), people.len());
    for (number, user) in people.iter().enumerate() {
        let team = there[id(user)]["team"]["key"].as_str();
        assert_eq!(team, (number != 2).then_some("north"), "{number}");
    }
    let page = home.muster(&["explain", &format!("results:{}", id(&people[2]))]).await.stdout;
    assert!(page.contains("shows nothing"), "{page}");
    assert_eq!(home.sync(&["--full"]).await.emitted, 0);

    admin.set_clock(System::Salesforce, 60_000);
    admin.edit(System::Salesforce, id(&people[2]), &json!({"Department": "Field"})).unwrap();
    assert_eq!(of(&home.sync(&[]).await), (1, 0, 0));
    assert_eq!(users(&admin)[id(&people[2])]["team"]["key"], "south");
    let page = home.muster(&["explain", &format!("results:{}", id(&people[2]))]).await.stdout;
    assert!(!page.contains("shows nothing"), "{page}");
}

/// What flows from a system that cannot be read is refused at load.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_can_flow_from_what_cannot_be_read() {
    let (sandbox, ..) = sandbox(0).await;
    let home = home(&sandbox, "");
    let text = std::fs::read_to_string(home.path("muster.toml")).unwrap();
    std::fs::write(home.path("muster.toml"), text.replace("a_to_b", "b_to_a")).unwrap();
    let refused = home.muster(&["check", "--offline"]).await;
    let told = format!("{}{}", refused.stdout, refused.stderr);
    assert!(refused.status != 0 && told.contains("results cannot be read, so nothing can flow from it"), "{refused:?}");
}

/// B19: four processes write at once, and together they keep both of the vendor's windows by its own count: 15 calls within
/// any second, 200 within any minute. How full a minute is, is for whoever runs it at length to see.
#[tokio::test(flavor = "multi_thread")]
async fn four_writers_keep_both_windows() {
    let count = std::env::var("MUSTER_TEST_USERS").map_or(70, |users| users.parse().expect("it is a number"));
    let sandbox = Sandbox::start(SandboxSettings { users: count, ..SandboxSettings::default() }).await.unwrap();
    let admin = sandbox.admin();
    admin.set_clock(System::Salesforce, 10_000);
    let mut muster = installation(Mode::Servers, "salesscreen-automatic.toml", &sandbox).await;
    for role in ["producer", "mapper", "writer", "writer", "writer", "writer"] {
        muster.start_worker(role, None);
    }
    let run = muster.sync_of("crm-results", &[]).await;
    let windows = admin.records(System::SalesScreen, "Window");
    show(format_args!(
        "{} users in {:.0} s; windows as the product counted them: {windows:?}",
        calls(&admin),
        run.seconds
    ));
    for window in &windows {
        assert_eq!(window["refused"], 0, "{window}");
        assert!(window["peak"].as_u64() <= window["calls"].as_u64(), "{window}");
    }
    let mut arrivals: Vec<jiff::Timestamp> = admin
        .requests()
        .iter()
        .filter(|request| request.system == System::SalesScreen)
        .map(|request| request.at.parse().unwrap())
        .collect();
    arrivals.sort();
    let second = |at: &jiff::Timestamp| at.duration_since(arrivals[0]).as_secs();
    for minute in 0..second(&arrivals[arrivals.len() - 1]) / 60 {
        let inside = arrivals.iter().filter(|at| second(at) / 60 == minute).count();
        show(format_args!("minute {}: {inside} calls, {:.1} % of 200", minute + 1, inside as f64 / 2.0));
    }
    // Some share an address, by which partners are recognised: who comes second is refused.
    let address = |user: &Value| user["Email"].as_str().unwrap_or_default().to_lowercase();
    let addresses: BTreeSet<String> = active_users(&admin).iter().map(address).collect();
    assert_eq!(users(&admin).len(), addresses.len());
}
