//! A backlog of dead letters, and the people who work it off (R78, B6 to B9). Each test is of the real programs, over a
//! file and over servers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use muster::sandbox::{Admin, Effect, Fault, Matcher, Sandbox, SandboxSettings, System};
use serde_json::{Value, json};

use super::processes::{CONNECTION, Installation, Mode, Outcome, active_users, connection, crm, directory, written};
use super::redis_server::RedisServer;

mod large;
mod lost_log;

/// An org whose people are in the directory, and an installation at work.
struct Scene {
    _sandbox: Sandbox,
    admin: Admin,
    muster: Installation,
    minutes: i64,
}

impl Scene {
    async fn start(mode: Mode, users: usize) -> Self {
        let sandbox = Sandbox::start(SandboxSettings { users, ..SandboxSettings::default() }).await.unwrap();
        let admin = sandbox.admin();
        for system in [System::Salesforce, System::Scim] {
            admin.set_clock(system, 10_000);
        }
        let systems = crm(&sandbox) + &directory(&sandbox.scim_url()) + &connection("");
        let mut muster = Installation::patient_on(mode, &systems).await;
        muster.start().await;
        Self { _sandbox: sandbox, admin, muster, minutes: 0 }
    }

    /// A minute passes, so that no stamp is shared with what was read before.
    fn later(&mut self) {
        self.minutes += 1;
        for system in [System::Salesforce, System::Scim] {
            self.admin.set_clock(system, 10_000 + self.minutes * 60_000);
        }
    }

    /// The directory refuses such requests until the fault ends.
    fn refuse(&self, method: &str, status: u16) -> u64 {
        let on = Matcher { system: Some(System::Scim), method: Some(method.to_owned()), ..Matcher::default() };
        self.admin.inject(Fault { on, effect: Effect::Status { status, body: Default::default() } })
    }

    /// Everybody gets a title that the directory refuses: a letter for each.
    async fn backlog(&mut self, title: &str) -> Vec<Value> {
        let fault = self.refuse("PATCH", 403);
        self.later();
        let users = active_users(&self.admin);
        for user in &users {
            self.admin.edit(System::Salesforce, id(user), &json!({ "Title": title })).unwrap();
        }
        let outcome = self.muster.muster(&["sync", CONNECTION, "--wait", "--json"]).await;
        assert_eq!(outcome.status, 3, "{outcome:?}");
        let letters = self.muster.await_letters(users.len()).await;
        assert!(self.admin.end_fault(fault));
        self.later();
        letters
    }

    /// A command that goes well: the objects that it prints.
    async fn dead(&self, arguments: &[&str]) -> Vec<Value> {
        let outcome = self.muster.muster(&[&["dead"], arguments, &["--json"]].concat()).await;
        assert!(matches!(outcome.status, 0 | 3) && outcome.stderr.is_empty(), "{arguments:?}: {outcome:?}");
        objects(&outcome)
    }

    /// The copies in the directory by whom they are of.
    fn copies(&self) -> BTreeMap<String, Value> {
        let copies = self.admin.accounts(System::Scim).into_iter();
        copies.map(|copy| (copy["externalId"].as_str().unwrap().to_owned(), copy)).collect()
    }

    /// The store forgets its list of open letters; over servers, everything.
    async fn lose_the_index(&self, mode: Mode) {
        match mode {
            Mode::File => assert!(self.file().execute("DELETE FROM open_letters", ()).unwrap() > 0),
            Mode::Servers => {
                let forget = "for _, key in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('DEL', key) end return 1";
                let keys = format!("{}:*", self.muster.prefix());
                RedisServer::shared().await.tell(&["EVAL", forget, "0", &keys]).await;
            }
        }
    }

    fn file(&self) -> rusqlite::Connection {
        let file = rusqlite::Connection::open(self.muster.config().with_file_name("muster.db")).unwrap();
        file.busy_timeout(Duration::from_secs(30)).unwrap();
        file
    }

    /// Both sides have the same titles.
    fn assert_equal(&self) {
        let copies = self.copies();
        for user in active_users(&self.admin) {
            assert_eq!(copies[id(&user)]["title"], user["Title"], "{user}");
        }
    }

    async fn assert_no_letters(&self) {
        self.muster.await_letters(0).await;
    }
}

fn objects(outcome: &Outcome) -> Vec<Value> {
    outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{outcome:?}"))).collect()
}

fn id(user: &Value) -> &str {
    user["Id"].as_str().unwrap()
}

fn ids(letters: &[Value]) -> BTreeSet<String> {
    letters.iter().map(|letter| letter["id"].as_str().or(letter["letter"].as_str()).unwrap().to_owned()).collect()
}

/// How many letters a test makes that can make more.
fn people(few: usize) -> usize {
    std::env::var("MUSTER_TEST_LETTERS").map_or(few, |letters| letters.parse().expect("it is a number"))
}

/// R78, B9: a backlog is told by its causes, filtered, shown with every attempt, exported; looking takes nothing out.
async fn a_backlog_is_listed_by_cause_and_filtered(mode: Mode) {
    let mut scene = Scene::start(mode, 12).await;
    let users = active_users(&scene.admin);
    let taken = scene.admin.create(System::Scim, &json!({"userName": users[0]["Username"]})).unwrap();
    assert_eq!(scene.muster.sync(&[]).await.commands("dead"), 1);
    let before = scene.muster.letters().await;
    assert_eq!(before.len(), 1);
    let many = scene.backlog("Refused").await;
    // The one who has no account there has the letter that was open.
    assert_eq!(many.len(), users.len());

    let groups = scene.dead(&["list", "--group"]).await;
    let told: Vec<_> =
        groups.iter().map(|group| (group["code"].as_str().unwrap(), group["letters"].as_u64())).collect();
    assert_eq!(told, [("forbidden", Some(users.len() as u64 - 1)), ("account_exists", Some(1))], "{groups:?}");
    assert!(groups.iter().all(|group| group["remedy"].is_string() && group["accounts"] == group["letters"]));
    let text = scene.muster.muster(&["dead", "list", "--group"]).await;
    assert!(text.status == 3 && text.stdout.contains("of 2 causes"), "{text:?}");

    let of = async |filter: &[&str]| scene.dead(&[&["list"], filter].concat()).await.len();
    let rest = users.len() - 1;
    for (filter, expected) in [
        (&["--code", "forbidden"][..], rest),
        (&["--code", "account_exists", "--target", "directory"], 1),
        (&["--target", "crm"], 0),
        (&["--class", "permanent", "--connection", CONNECTION], rest + 1),
        (&["--class", "transient"], 0),
        (&["--attribute", "userName"], 1),
        (&["--attribute", "title"], 0),
        (&["--account", &format!("crm:{}", id(&users[0]))], 1),
        (&["--account", &format!("crm:{}", id(&users[3]))], 1),
        (&["--since", "1h"], rest + 1),
        (&["--older-than", "1h"], 0),
        (&["--until", "2020-01-01T00:00:00Z"], 0),
        (&["--code", "forbidden", "--limit", "4"], 4),
    ] {
        assert_eq!(of(filter).await, expected, "{filter:?}");
    }
    let exported = scene.muster.muster(&["dead", "export", "--format", "csv", "--code", "forbidden"]).await;
    assert_eq!(exported.stdout.lines().count(), rest + 1, "{exported:?}");
    for (arguments, expected) in [
        (&["dead", "list", "--connection", "nobody"][..], "there is no connection nobody"),
        (&["dead", "list", "--account", "ada"], "is no account"),
        (&["dead", "retry"], "use a filter or --all"),
        (&["dead", "retry", "--resume"], "there is no retry to carry on"),
        (&["dead", "list", "--since", "soon"], "how long ago"),
    ] {
        let refused = scene.muster.muster(arguments).await;
        assert!(refused.status == 2 && refused.stderr.contains(expected), "{refused:?}");
    }

    // Shown without values, unless somebody asks for them.
    let letter =
        many.iter().find(|letter| letter["fingerprint"]["code"] == "forbidden").unwrap()["id"].as_str().unwrap();
    let shown = scene.muster.muster(&["dead", "show", letter, "--live"]).await;
    assert!(shown.status == 0 && !shown.stdout.contains("Refused"), "{shown:?}");
    assert!(shown.stdout.contains("title = a text of 7 characters"), "{shown:?}");
    let shown = scene.muster.muster(&["dead", "show", letter, "--live", "--values"]).await;
    assert!(shown.stdout.contains("title = \"Refused\"") && shown.stdout.contains("403"), "{shown:?}");
    assert_eq!(ids(&scene.muster.letters().await), ids(&many), "looking takes nothing out");

    scene.admin.delete(System::Scim, &taken).unwrap();
    let closed = ["discard", "--code", "forbidden", "--reason", "accepted", "--yes"];
    assert_eq!(scene.dead(&closed).await.len(), rest);
    assert_eq!(scene.muster.letters().await.len(), 1);
}

/// B6, B8: what the preview tells comes true; what a person changed meanwhile is not overwritten; the command may be killed
/// anywhere and carried on, and everybody is written once.
async fn a_backlog_is_sent_again_while_people_edit(mode: Mode) {
    let mut scene = Scene::start(mode, people(40) + 10).await;
    scene.muster.sync(&[]).await;
    let letters = scene.backlog("First").await;
    let users = active_users(&scene.admin);

    // Of some, somebody put the value there by hand; of some, the source has a newer one by now.
    let (by_hand, newer) = (&users[..5], &users[5..10]);
    let copies = scene.copies();
    for user in by_hand {
        scene.admin.edit(System::Scim, copies[id(user)]["id"].as_str().unwrap(), &json!({"title": "First"})).unwrap();
    }
    let preview = scene.dead(&["preview", "--all"]).await;
    assert_eq!(preview.len(), letters.len());
    let of_user: BTreeMap<&str, &str> =
        letters.iter().map(|it| (it["partner"].as_str().unwrap(), it["id"].as_str().unwrap())).collect();
    let foreseen: BTreeMap<&str, &str> =
        preview.iter().map(|it| (it["letter"].as_str().unwrap(), it["outcome"].as_str().unwrap())).collect();
    for user in &users {
        let expected = if by_hand.contains(user) { "already_true" } else { "applied" };
        assert_eq!(foreseen[of_user[id(user)]], expected, "{user}");
    }
    let writes = scene.admin.write_count();

    for user in newer {
        scene.admin.edit(System::Salesforce, id(user), &json!({"Title": "Second"})).unwrap();
    }
    let begin = ["dead", "retry", "--code", "forbidden", "--rate", "50", "--canary", "2", "--json"];
    let mut killed = scene.muster.killed_command(&begin, "dead.noted:2").await;
    assert!(killed.stderr.contains("failpoint dead.noted"), "{killed:?}");
    for (number, failpoint) in ["dead.asked:2", "dead.sent:3", "dead.asked:1", "dead.noted:2"].into_iter().enumerate() {
        let user = &users[10 + number];
        scene.admin.edit(System::Salesforce, id(user), &json!({"Title": "Third"})).unwrap();
        killed = scene.muster.killed_command(&["dead", "retry", "--resume", "--json"], failpoint).await;
        assert!(killed.stderr.contains("failpoint"), "{failpoint}: {killed:?}");
    }
    let done = scene.dead(&["retry", "--resume", "--wait"]).await;
    let summary = done.last().unwrap();
    assert_eq!(
        (&summary["state"]["phase"], &summary["left"], &summary["in_flight"]),
        (&json!("done"), &json!(0), &json!(0)),
        "{summary}"
    );
    let dealt = summary["sent"].as_u64().unwrap() + summary["closed"].as_u64().unwrap();
    assert_eq!((dealt, summary["meant"].as_u64()), (letters.len() as u64, Some(letters.len() as u64)), "{summary}");
    scene.assert_no_letters().await;
    scene.muster.sync(&[]).await;
    scene.assert_equal();

    // Nobody's older value came over a newer one, and who had the value was not written.
    let mut titles = BTreeMap::<String, Vec<String>>::new();
    for write in written(&scene.admin).into_iter().filter(|write| write.sequence > writes) {
        let after = write.after.unwrap();
        let title = after["title"].as_str().unwrap().to_owned();
        titles.entry(after["externalId"].as_str().unwrap().to_owned()).or_default().push(title);
    }
    let order = ["First", "Second", "Third"];
    for (user, titles) in &titles {
        let ranks: Vec<_> = titles.iter().map(|title| order.iter().position(|it| it == title).unwrap()).collect();
        assert!(ranks.windows(2).all(|pair| pair[0] < pair[1]), "{user}: {titles:?}");
    }
    for user in by_hand {
        assert!(!titles.contains_key(id(user)), "{titles:?}");
    }
    assert_eq!(titles.len(), users.len() - by_hand.len());

    // B16: what was sent again is counted, and the runs that a killed command left add up.
    let status = scene.muster.status().await;
    for run in status["connections"][0]["runs"].as_array().unwrap() {
        let sum =
            |counts: &Value| counts.as_array().unwrap().iter().map(|count| count[1].as_i64().unwrap()).sum::<i64>();
        assert_eq!(run["read"], sum(&run["changes"]), "{run}");
        assert_eq!(run["emitted"], sum(&run["commands"]), "{run}");
    }
}

/// B8: while the cause is there, a retry with canaries fails a few letters and leaves the others alone; carried on when the
/// cause is gone, it sends the rest.
async fn canaries_spare_the_rest(mode: Mode) {
    let mut scene = Scene::start(mode, 12).await;
    scene.muster.sync(&[]).await;
    let letters = scene.backlog("Refused").await;
    let fault = scene.refuse("PATCH", 403);
    let stopped = scene.muster.muster(&["dead", "retry", "--all", "--canary", "2", "--json"]).await;
    assert_eq!(stopped.status, 3, "{stopped:?}");
    let summary = objects(&stopped).pop().unwrap();
    assert_eq!((&summary["state"]["phase"], &summary["sent"]), (&json!("stopped"), &json!(2)), "{summary}");
    assert!(summary["state"]["why"].as_str().unwrap().contains("failed again"), "{summary}");
    let after = scene.muster.letters().await;
    assert_eq!(ids(&after), ids(&letters));
    let failures =
        |letters: &[Value]| -> Vec<u64> { letters.iter().map(|letter| letter["failures"].as_u64().unwrap()).collect() };
    let more: u64 = failures(&after).iter().sum::<u64>() - failures(&letters).iter().sum::<u64>();
    assert_eq!(more, 2, "only the canaries failed again");
    let tried = after.iter().find(|letter| letter["failures"].as_u64() > Some(1)).unwrap();
    assert_eq!(tried["attempts"].as_array().unwrap().len() as u64, tried["failures"].as_u64().unwrap(), "{tried}");

    scene.admin.end_fault(fault);
    let text = scene.muster.muster(&["dead", "retry", "--resume", "--wait"]).await;
    assert!(text.status == 3 && text.stdout.contains("applied"), "the canaries count as well: {text:?}");
    // The canaries were sent and failed; they are a matter of their own.
    let left = scene.muster.await_letters(2).await;
    let again: Vec<_> = left.iter().map(|letter| letter["id"].as_str().unwrap()).collect();
    let arguments = [&["retry"], &again[..]].concat();
    assert_eq!(scene.dead(&arguments).await.len(), 2);
    scene.assert_no_letters().await;
    scene.assert_equal();
}

/// B8: canaries whose outcome nobody knows prove nothing: carried on, they are waited for, and one that fails stops it.
async fn canaries_without_an_outcome_are_waited_for(mode: Mode) {
    let mut scene = Scene::start(mode, 12).await;
    scene.muster.sync(&[]).await;
    scene.backlog("Refused").await;
    let fault = scene.refuse("PATCH", 403);
    scene.muster.end_workers().await;
    let retry = ["dead", "retry", "--all", "--canary", "2", "--json"];
    let alone = objects(&scene.muster.muster(&retry).await).pop().unwrap();
    assert_eq!((&alone["state"]["unproven"], &alone["sent"]), (&json!(true), &json!(2)), "{alone}");
    scene.muster.start().await;
    let stopped = scene.muster.muster(&["dead", "retry", "--resume", "--json"]).await;
    let summary = objects(&stopped).pop().unwrap();
    assert_eq!((&summary["state"]["phase"], &summary["sent"]), (&json!("stopped"), &json!(2)), "{summary}");
    assert!(summary["state"]["why"].as_str().unwrap().contains("failed again"), "{summary}");
    scene.admin.end_fault(fault);
    scene.dead(&["retry", "--resume", "--wait"]).await;
    let left = scene.muster.await_letters(2).await;
    scene
        .dead(&[&["retry"], &left.iter().map(|letter| letter["id"].as_str().unwrap()).collect::<Vec<_>>()[..]].concat())
        .await;
    scene.assert_no_letters().await;
    scene.assert_equal();
}

/// R78: whoever discards letters that a retry had in hand when it died means it: carried on, it sends them no more.
async fn what_was_discarded_meanwhile_is_not_sent(mode: Mode) {
    let mut scene = Scene::start(mode, 12).await;
    scene.muster.sync(&[]).await;
    let letters = scene.backlog("Unwanted").await;
    let before = written(&scene.admin).len();
    let killed = scene.muster.killed_command(&["dead", "retry", "--all", "--json"], "dead.noted").await;
    assert!(killed.stderr.contains("failpoint dead.noted"), "{killed:?}");
    scene.dead(&["discard", "--code", "forbidden", "--reason", "accepted", "--yes"]).await;
    scene.assert_no_letters().await;
    let done = scene.dead(&["retry", "--resume", "--wait"]).await;
    let summary = done.last().unwrap();
    assert_eq!((&summary["sent"], &summary["closed"]), (&json!(0), &json!(letters.len())), "{summary}");
    scene.muster.sync(&["--full"]).await;
    assert_eq!(written(&scene.admin).len(), before);
    for run in scene.muster.status().await["connections"][0]["runs"].as_array().unwrap() {
        let sum =
            |counts: &Value| counts.as_array().unwrap().iter().map(|count| count[1].as_i64().unwrap()).sum::<i64>();
        assert_eq!(
            (&run["read"], &run["emitted"]),
            (&json!(sum(&run["changes"])), &json!(sum(&run["commands"]))),
            "{run}"
        );
    }
}

/// R78: two people list, show and send the same letters at the same time: each account is written once.
async fn two_operators_do_not_get_in_each_others_way(mode: Mode) {
    let mut scene = Scene::start(mode, 30).await;
    scene.muster.sync(&[]).await;
    let letters = scene.backlog("Once").await;
    let before = written(&scene.admin).len();
    let one = letters[7]["id"].as_str().unwrap();
    let (retry, list, show) =
        (["retry", "--all", "--wait"], ["dead", "list", "--json"], ["dead", "show", one, "--json"]);
    let (first, second, listed, shown) =
        tokio::join!(scene.dead(&retry), scene.dead(&retry), scene.muster.muster(&list), scene.muster.muster(&show),);
    assert!(matches!(listed.status, 0 | 3), "{listed:?}");
    assert!(matches!(shown.status, 0 | 2), "{shown:?}");
    for summary in [first.last().unwrap(), second.last().unwrap()] {
        assert_eq!((&summary["state"]["phase"], &summary["left"]), (&json!("done"), &json!(0)), "{summary}");
    }
    scene.assert_no_letters().await;
    scene.assert_equal();
    let mut accounts: Vec<_> = written(&scene.admin)[before..].iter().map(|write| write.account.clone()).collect();
    accounts.sort();
    assert!(accounts.windows(2).all(|pair| pair[0] != pair[1]), "{accounts:?}");
    assert_eq!(accounts.len(), letters.len());
}

/// R78, R86: the store forgets everything, or only its list of letters; the log brings all open letters back, one for each
/// account, and sent again they heal.
async fn open_letters_come_back_from_the_log(mode: Mode) {
    let mut scene = Scene::start(mode, 8).await;
    scene.muster.sync(&[]).await;
    let letters = scene.backlog("Lost").await;
    let discarded = letters[0]["id"].as_str().unwrap();
    scene.dead(&["discard", discarded, "--reason", "accepted"]).await;
    let open = ids(&scene.muster.letters().await);
    scene.lose_the_index(mode).await;
    assert_eq!(scene.muster.letters().await, [] as [Value; 0]);
    let rebuilt = scene.dead(&["rebuild"]).await;
    assert_eq!(rebuilt[0]["brought_back"], open.len(), "{rebuilt:?}");
    assert_eq!(ids(&scene.muster.letters().await), open, "all that were open, and not the discarded one");
    assert_eq!(scene.dead(&["rebuild"]).await[0]["brought_back"], 0, "nothing is lacking any more");

    // What is read again has links of its own by now, whose letters go on in their place.
    let fault = scene.refuse("PATCH", 403);
    scene.later();
    scene.muster.muster(&["sync", CONNECTION, "--full", "--wait", "--json"]).await;
    let rebuilt = scene.dead(&["rebuild"]).await;
    assert_eq!(rebuilt[0]["without_link"], 0, "{rebuilt:?}");
    let now = scene.muster.letters().await;
    let partners: BTreeSet<_> = now.iter().map(|letter| letter["partner"].as_str().unwrap()).collect();
    assert_eq!(partners.len(), now.len(), "one for each account: {now:?}");
    assert!(now.len() >= open.len(), "{now:?}");
    scene.admin.end_fault(fault);
    scene.later();
    let done = scene.dead(&["retry", "--all", "--wait"]).await;
    assert_eq!(done.last().unwrap()["left"], 0, "{done:?}");
    scene.assert_no_letters().await;
}

mod over_a_file {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_backlog_is_listed_by_cause_and_filtered() {
        super::a_backlog_is_listed_by_cause_and_filtered(Mode::File).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_backlog_is_sent_again_while_people_edit() {
        super::a_backlog_is_sent_again_while_people_edit(Mode::File).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn canaries_spare_the_rest() {
        super::canaries_spare_the_rest(Mode::File).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn canaries_without_an_outcome_are_waited_for() {
        super::canaries_without_an_outcome_are_waited_for(Mode::File).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_discarded_meanwhile_is_not_sent() {
        super::what_was_discarded_meanwhile_is_not_sent(Mode::File).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn two_operators_do_not_get_in_each_others_way() {
        super::two_operators_do_not_get_in_each_others_way(Mode::File).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn open_letters_come_back_from_the_log() {
        super::open_letters_come_back_from_the_log(Mode::File).await;
    }
}

mod over_servers {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_backlog_is_listed_by_cause_and_filtered() {
        super::a_backlog_is_listed_by_cause_and_filtered(Mode::Servers).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_backlog_is_sent_again_while_people_edit() {
        super::a_backlog_is_sent_again_while_people_edit(Mode::Servers).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn canaries_spare_the_rest() {
        super::canaries_spare_the_rest(Mode::Servers).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn canaries_without_an_outcome_are_waited_for() {
        super::canaries_without_an_outcome_are_waited_for(Mode::Servers).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_discarded_meanwhile_is_not_sent() {
        super::what_was_discarded_meanwhile_is_not_sent(Mode::Servers).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn two_operators_do_not_get_in_each_others_way() {
        super::two_operators_do_not_get_in_each_others_way(Mode::Servers).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn open_letters_come_back_from_the_log() {
        super::open_letters_come_back_from_the_log(Mode::Servers).await;
    }
}
