//! `muster explain`: the page about one account, in the states that people ask about (B17).

use std::time::Duration;

use muster::sandbox::{Effect, Fault, FaultBody, Matcher, Sandbox, SandboxSettings, System};
use serde_json::{Value, json};

use super::place::{On, Place};
use super::processes::{CONNECTION, Outcome, active_users, connection, crm, directory};

/// The longest line of a page.
const WIDTH: usize = 100;

/// Lines that were broken where they reached the width are whole again, since words of changing length decide where.
fn unbroken(page: &str) -> String {
    let width = console::measure_text_width;
    let mut whole = String::new();
    let mut last = "";
    for line in page.lines() {
        assert!(width(line) <= WIDTH || line.starts_with("    muster "), "{line}");
        let word = line.split_whitespace().next().unwrap_or_default();
        let is_rest = line.starts_with(' ') && !last.ends_with(['.', ':']) && width(last) + 1 + width(word) > WIDTH;
        whole.push_str(if is_rest { " " } else { "\n" });
        whole.push_str(if is_rest { line.trim_start() } else { line });
        last = line;
    }
    whole.trim_start().to_owned()
}

/// The page without what differs from run to run.
fn stable(page: &str, ids: &[(&str, &str)]) -> String {
    let text = masked(unbroken(page), ids);
    // The time of a request may be over or not when the page is made.
    text.replace("may have taken effect; the next sync looks.", "may still take effect, until TIME.")
}

/// The text without times and the ids that are named here.
pub(super) fn masked(mut text: String, ids: &[(&str, &str)]) -> String {
    for (id, name) in ids {
        text = text.replace(id, name);
    }
    let is_time = |text: &str| {
        let shape = "dddd-dd-ddTdd:dd:ddZ";
        text.len() >= shape.len()
            && text.chars().zip(shape.chars()).all(|(c, s)| if s == 'd' { c.is_ascii_digit() } else { c == s })
    };
    while let Some((at, _)) = text.char_indices().find(|(at, _)| is_time(&text[*at..])) {
        text.replace_range(at..at + 20, "TIME");
    }
    for unit in ["s", "min", "h", "days"] {
        while let Some(end) = text.find(&format!(" {unit} ago")) {
            let start = text[..end].rfind(|c: char| !c.is_ascii_digit()).map_or(0, |at| at + 1);
            text.replace_range(start..end + unit.len() + 5, "AGO");
        }
    }
    // A page also says that it has read the accounts just now.
    text.replace("just now (TIME)", "AGO (TIME)").replace(", just now\n", ", AGO\n")
}

/// No word of the program's own on a page for administrators.
fn assert_plain(page: &str) {
    let page = page.to_lowercase();
    for word in ["digest", "generation", "register", "intent", "epoch", "revision", "journal", "lease"] {
        assert!(!page.contains(word), "`{word}` in {page}");
    }
}

async fn explain(muster: &Place, arguments: &[&str]) -> Outcome {
    let outcome = muster.muster(&[&["explain"], arguments].concat()).await;
    assert_eq!(outcome.stderr, "", "{arguments:?}");
    assert_plain(&outcome.stdout);
    outcome
}

async fn report(muster: &Place, arguments: &[&str]) -> Value {
    let outcome = explain(muster, &[arguments, &["--json"]].concat()).await;
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|_| panic!("{outcome:?}"))
}

/// How long a write may take.
const WRITER: &str = "lease = \"3s\"\nrequest_timeout = \"1s\"";

async fn start(on: On, users: usize, writer: &'static str) -> (Sandbox, Place) {
    let sandbox = Sandbox::start(SandboxSettings { users, ..SandboxSettings::default() }).await.unwrap();
    let systems = crm(&sandbox) + &directory(&sandbox.scim_url()) + &connection(&mapped());
    let muster = on.installation(&systems, writer).await;
    (sandbox, muster)
}

fn id<'v>(account: &'v Value, name: &str) -> &'v str {
    account[name].as_str().unwrap()
}

fn copy_of(sandbox: &Sandbox, user: &str) -> Value {
    let accounts = sandbox.admin().accounts(System::Scim);
    accounts.into_iter().find(|account| account["externalId"] == user).unwrap()
}

/// The attributes of the tests: a few, so that a page stays one.
fn mapped() -> String {
    format!(
        "[connections.{CONNECTION}.attributes]\nuserName = {{}}\nemails = {{}}\n\"name.familyName\" = {{}}\ntitle = {{}}\n"
    )
}

/// B17: an account that was changed: before the sync that reads it, and after. An attribute alone has its rule as well.
async fn a_changed_account_is_explained(on: On) {
    let (sandbox, muster) = start(on, 3, WRITER).await;
    let admin = sandbox.admin();
    let user = active_users(&admin)[1].clone();
    admin.edit(System::Salesforce, id(&user, "Id"), &json!({"Title": "Clerk"})).unwrap();
    let unread = explain(&muster, &[id(&user, "Username")]).await;
    muster.sync(&[]).await;
    let copy = copy_of(&sandbox, id(&user, "Id"));
    let mail = id(&user, "Email");
    let names = [(id(&user, "Id"), "USER"), (id(&copy, "id"), "COPY")];
    assert_eq!(
        (unread.status, unread.stdout.lines().next().unwrap()),
        (0, "crm-directory: not linked: no sync has read this account of crm yet.")
    );

    admin.edit(System::Salesforce, id(&user, "Id"), &json!({"Title": "Captain"})).unwrap();
    let before = explain(&muster, &[mail]).await;
    insta::assert_snapshot!("explain_changed_before_the_sync", stable(&before.stdout, &names));
    muster.sync(&[]).await;
    let after = explain(&muster, &[mail]).await;
    insta::assert_snapshot!("explain_changed_after_the_sync", stable(&after.stdout, &names));
    let title = explain(&muster, &[&format!("crm:{}", &id(&user, "Id")[..15]), "title"]).await;
    insta::assert_snapshot!("explain_one_attribute", stable(&title.stdout, &names));

    let json = report(&muster, &[mail, "title", "--connection", CONNECTION]).await;
    let title = &json["attributes"][0];
    assert_eq!(
        (&json["state"], &title["value"], &title["set_by"]),
        (&json!("in_step"), &json!("Captain"), &json!("a"))
    );
    assert_eq!(
        (&json["sides"][1]["last_write"]["answer"], &json["needs_a_person"]),
        (&json!("updated"), &json!(false))
    );
    assert_eq!(json["attributes"].as_array().unwrap().len(), 1);
}

/// B5, B17: of a clash the page says who won, by which rule, what lost, and how to have it back.
async fn a_conflict_is_explained(on: On) {
    let org = Sandbox::start(SandboxSettings::default()).await.unwrap();
    let other = Sandbox::start(SandboxSettings::default()).await.unwrap();
    let people = org.admin().seed(System::Scim, 3, 7).unwrap();
    let both = directory(&org.scim_url()).replace("systems.directory", "systems.crm") + &directory(&other.scim_url());
    let two_way = connection(&mapped()).replace("\"a_to_b\"", "\"two_way\"\ndefault_system = \"crm\"");
    let muster = on.installation(&(both + &two_way), WRITER).await;
    muster.sync(&["--full"]).await;
    let copy = copy_of(&other, &people[1]);
    org.admin().edit(System::Scim, &people[1], &json!({"title": "Captain"})).unwrap();
    other.admin().edit(System::Scim, id(&copy, "id"), &json!({"title": "Boss"})).unwrap();
    muster.sync(&["--full"]).await;
    assert_eq!(copy_of(&other, &people[1])["title"], "Captain");

    let page = explain(&muster, &[&format!("directory:{}", id(&copy, "id"))]).await;
    assert_eq!(page.status, 0);
    let json = report(&muster, &[&format!("crm:{}", people[1]), "title", "--offline"]).await;
    let conflict = json["kept"][0]["conflict"].as_str().unwrap();
    let names = [(&*people[1], "ACCOUNT"), (id(&copy, "id"), "ACCOUNT"), (conflict, "CONFLICT")];
    // Where the loser was mapped first, a writer was sent to the winner's account and found it changed.
    let is_noise = |line: &&str| !line.contains("nothing was written, since somebody had just changed the account");
    let page = stable(&page.stdout, &names);
    let page: Vec<&str> = page.lines().filter(is_noise).collect();
    insta::assert_snapshot!("explain_conflict", page.join("\n"));
    let kept = &json["kept"][0];
    assert_eq!(
        (&json["state"], &kept["value"], &kept["side"], &kept["reason"]),
        (&json!("conflict_decided"), &json!("Boss"), &json!("b"), &json!("conflict_lost"))
    );
}

/// R12, B17: a creation that was refused names the account in the way, and the command that sends it again.
async fn a_refused_account_is_explained(on: On) {
    let (sandbox, muster) = start(on, 3, WRITER).await;
    let admin = sandbox.admin();
    let user = active_users(&admin)[1].clone();
    let taken = admin.create(System::Scim, &json!({"userName": user["Username"]})).unwrap();
    muster.sync(&[]).await;
    let letters = muster.letters().await;
    let letter = id(&letters[0], "id");
    let page = explain(&muster, &[id(&user, "Username")]).await;
    assert_eq!(page.status, 3);
    let link = letter.rsplit('/').next().unwrap();
    let names = [(link, "LINK"), (id(&user, "Id"), "USER"), (&taken, "TAKEN")];
    insta::assert_snapshot!("explain_refused", stable(&page.stdout, &names));
    // The commands of the page are commands.
    assert!(page.stdout.contains(&format!("muster dead retry '{letter}'")));
    assert_eq!(muster.muster(&["dead", "retry", letter]).await.status, 0);

    assert!(page.stdout.contains(&format!("muster dead discard '{letter}' --reason accepted")));
    muster.sync(&["--full"]).await;
    assert_eq!(muster.muster(&["dead", "discard", letter, "--reason", "accepted"]).await.status, 0);
    let closed = report(&muster, &[id(&user, "Username")]).await;
    assert_eq!((&closed["state"], &closed["letters"]), (&json!("discarded"), &json!([])));
    assert_eq!(closed["next"][0]["command"], format!("muster dead retry '{letter}'"));
}

/// B17: a target that failed until Muster gave up: what it answered, and what is not written because of that.
async fn a_dead_account_is_explained(on: On) {
    let (sandbox, muster) = start(on, 3, "lease = \"3s\"\nrequest_timeout = \"1s\"\nattempts = 2").await;
    let admin = sandbox.admin();
    muster.sync(&[]).await;
    let user = active_users(&admin)[1].clone();
    admin.edit(System::Salesforce, id(&user, "Id"), &json!({"Title": "Captain"})).unwrap();
    let on = Matcher { system: Some(System::Scim), method: Some("PATCH".into()), ..Matcher::default() };
    admin.inject(Fault { on, effect: Effect::Status { status: 503, body: FaultBody::Html } });
    // An account read twice within the grain of its stamp may have had two commands.
    assert!(muster.sync(&[]).await.commands("dead") > 0);
    let letters = muster.letters().await;
    let link = id(&letters[0], "id").rsplit('/').next().unwrap();
    let copy = copy_of(&sandbox, id(&user, "Id"));
    let page = explain(&muster, &[id(&user, "Email")]).await;
    assert_eq!(page.status, 3);
    let names = [(link, "LINK"), (id(&user, "Id"), "USER"), (id(&copy, "id"), "COPY")];
    insta::assert_snapshot!("explain_dead", stable(&page.stdout, &names));
    let json = report(&muster, &[id(&user, "Email")]).await;
    let title = json["attributes"].as_array().unwrap().iter().find(|a| a["attribute"] == "title").unwrap();
    assert_eq!((&json["state"], &title["sides"][1]["standing"]), (&json!("given_up"), &json!("refused")));
    assert_eq!(json["sides"][1]["last_write"]["status"], 503);

    // Accounts that are nobody's, several people's, or not where they are looked for.
    let twin = active_users(&admin)[2].clone();
    admin.edit(System::Salesforce, id(&twin, "Id"), &json!({"Email": user["Email"]})).unwrap();
    let mail = id(&user, "Email");
    for (arguments, complaint) in [
        (&[mail][..], "is more than one person's; name one of these:\n  crm:"),
        (&["nobody@x.example"], "no system has an account with the e-mail address or user name `nobody@x.example`"),
        (&["chat:1"], "there is no system chat on a connection; there are: crm, directory"),
        (&["crm:1"], "`1` is no account id of crm"),
        (&[mail, "--offline"], "without asking the systems, an account is named <system>:<id>"),
        (&[mail, "--connection", "nope"], "there is no connection nope"),
        (&[&format!("crm:{}", id(&user, "Id")), "shoeSize"], "does not map attribute shoeSize; it maps: "),
    ] {
        let outcome = muster.muster(&[&["explain"], arguments].concat()).await;
        assert!(outcome.status == 2 && outcome.stderr.contains(complaint), "{arguments:?}: {outcome:?}");
        assert_eq!(outcome.stdout, "");
    }
}

/// B17: what is decided and written by nobody, since nobody is at work, says so, and which command does it.
async fn an_account_that_nobody_writes_is_explained(on: On) {
    let (sandbox, mut muster) = start(on, 3, WRITER).await;
    let user = active_users(&sandbox.admin())[1].clone();
    let account = format!("crm:{}", id(&user, "Id"));
    match &mut muster {
        Place::Servers(muster) => {
            muster.start_worker("producer", None);
            muster.start_worker("mapper", None);
            assert_eq!(muster.muster(&["sync", CONNECTION, "--only", &account]).await.status, 0);
        }
        Place::File(muster) => {
            let run = muster.run("run", Some("mapper.committed:1")).await;
            assert_eq!(muster.muster(&["sync", CONNECTION, "--only", &account]).await.status, 0);
            run.killed().await;
        }
    }
    let decided = async {
        loop {
            let page = explain(&muster, &[&account]).await;
            if page.stdout.contains("is to be created") {
                return page;
            }
        }
    };
    let page = tokio::time::timeout(Duration::from_secs(60), decided).await.expect("it is never decided");
    let expected = match on {
        On::Servers => "No writer is running, so nothing is written.",
        On::File => "`muster run` is not at work, so nothing is written.",
    };
    let next =
        format!("Next\n  {expected} To have it done now:\n    muster sync {CONNECTION} --only {account} --wait\n");
    assert!(page.status == 0 && page.stdout.ends_with(&next), "{page:?}");
    let report = muster.sync(&["--only", &account]).await;
    assert_eq!(report.failed, None);
    assert_eq!(copy_of(&sandbox, id(&user, "Id"))["title"], user["Title"]);
}

/// Every page over servers and over a file: it is the same.
macro_rules! suite {
    ($on:expr) => {
        #[tokio::test(flavor = "multi_thread")]
        async fn a_changed_account_is_explained() {
            super::a_changed_account_is_explained($on).await;
        }

        #[tokio::test(flavor = "multi_thread")]
        async fn a_conflict_is_explained() {
            super::a_conflict_is_explained($on).await;
        }

        #[tokio::test(flavor = "multi_thread")]
        async fn a_refused_account_is_explained() {
            super::a_refused_account_is_explained($on).await;
        }

        #[tokio::test(flavor = "multi_thread")]
        async fn a_dead_account_is_explained() {
            super::a_dead_account_is_explained($on).await;
        }

        #[tokio::test(flavor = "multi_thread")]
        async fn an_account_that_nobody_writes_is_explained() {
            super::an_account_that_nobody_writes_is_explained($on).await;
        }
    };
}

mod over_servers {
    suite!(super::On::Servers);
}

mod over_a_file {
    suite!(super::On::File);
}
