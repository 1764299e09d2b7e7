//! Values that did not win a conflict: kept, listed, given back and pinned (B5). Each test is of the real programs, over a
//! file and over servers.

use muster::sandbox::{Admin, Sandbox, SandboxSettings, System};
use serde_json::{Value, json};

use super::processes::{CONNECTION, Installation, Mode, Outcome, connection, directory};

/// Two directories that are kept in step both ways; `crm` wins a clash.
struct Pair {
    installation: Installation,
    _sandboxes: [Sandbox; 2],
    admins: [Admin; 2],
    /// The account in `crm`, and the one in `directory`.
    ids: [String; 2],
    minutes: i64,
}

const CRM: usize = 0;
const DIRECTORY: usize = 1;

impl Pair {
    async fn start(mode: Mode, more: &str) -> Self {
        let crm = Sandbox::start(SandboxSettings::default()).await.unwrap();
        let other = Sandbox::start(SandboxSettings::default()).await.unwrap();
        let people = crm.admin().seed(System::Scim, 3, 7).unwrap();
        let both =
            directory(&crm.scim_url()).replace("systems.directory", "systems.crm") + &directory(&other.scim_url());
        let mapped = format!(
            "{more}\n[connections.{CONNECTION}.attributes]\nuserName = {{}}\nemails = {{}}\n\"name.familyName\" = {{}}\n\
             title = {{}}\nnickName = {{}}\n"
        );
        let two_way = connection(&mapped).replace("\"a_to_b\"", "\"two_way\"\ndefault_system = \"crm\"");
        let installation = Installation::on(mode, &(both + &two_way), "lease = \"5s\"\nrequest_timeout = \"3s\"").await;
        let admins = [crm.admin(), other.admin()];
        let mut pair = Self {
            installation,
            _sandboxes: [crm, other],
            admins,
            ids: [people[1].clone(), String::new()],
            minutes: 0,
        };
        pair.later();
        pair.sync().await;
        let accounts = pair.admins[DIRECTORY].accounts(System::Scim);
        let copy = accounts.iter().find(|account| account["externalId"] == *pair.ids[CRM]).unwrap();
        pair.ids[DIRECTORY] = copy["id"].as_str().unwrap().to_owned();
        pair
    }

    /// A minute passes for both systems, so that no stamp is shared with what was read before.
    fn later(&mut self) {
        self.minutes += 1;
        self.admins.iter().for_each(|admin| admin.set_clock(System::Scim, self.minutes * 60_000));
    }

    /// A person edits an account, a minute after all before.
    fn edit(&mut self, system: usize, fields: &Value) {
        self.later();
        self.admins[system].edit(System::Scim, &self.ids[system], fields).unwrap();
    }

    async fn sync(&mut self) {
        self.later();
        assert_eq!(self.installation.sync(&["--full"]).await.failed, None);
    }

    /// What both systems hold.
    fn both(&self, attribute: &str) -> [Value; 2] {
        [CRM, DIRECTORY]
            .map(|system| self.admins[system].account(System::Scim, &self.ids[system]).unwrap()[attribute].clone())
    }

    #[track_caller]
    fn assert_both(&self, title: &str) {
        assert_eq!(self.both("title"), [json!(title), json!(title)]);
    }

    async fn conflicts(&self, arguments: &[&str]) -> Outcome {
        self.installation.muster(&[&["conflicts"], arguments].concat()).await
    }

    /// What `conflicts list` shows with these arguments.
    async fn list(&self, arguments: &[&str]) -> Vec<Value> {
        lines(&self.conflicts(&[&["list", "--json"], arguments].concat()).await)
    }

    async fn give_back(&self, conflict: &Value, more: &[&str]) -> Value {
        let name = conflict["conflict"].as_str().unwrap();
        let done = self.conflicts(&[&["give-back", name, "--json"], more].concat()).await;
        let line = lines(&done).remove(0);
        assert_eq!(done.status, if line["given_back"] == true { 0 } else { 1 }, "{done:?}");
        line
    }
}

fn lines(outcome: &Outcome) -> Vec<Value> {
    outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{outcome:?}"))).collect()
}

/// What the command that takes a giving back back is about.
fn replaced(line: &Value) -> Value {
    json!({ "conflict": line["replaced"] })
}

/// B1, B5, R55 to R59: edits of different attributes on both sides at once both survive; of one attribute the default
/// system's value wins, and the other one is listed, shown, and given back by one command, past a kill in its middle. That
/// command is taken back by itself.
async fn a_value_that_lost_is_given_back(mode: Mode) {
    let mut pair = Pair::start(mode, "").await;
    pair.edit(CRM, &json!({"title": "Captain", "nickName": "Ace"}));
    pair.edit(DIRECTORY, &json!({"title": "Boss", "name.familyName": "Byron"}));
    pair.sync().await;
    pair.assert_both("Captain");
    assert_eq!(pair.both("nickName"), ["Ace", "Ace"]);
    assert_eq!(pair.both("name").map(|name| name["familyName"].clone()), ["Byron", "Byron"]);

    let listed = pair.list(&[]).await;
    assert_eq!(listed.len(), 1, "{listed:?}");
    let boss = &listed[0];
    let accounts = json!({ "a": format!("crm:{}", pair.ids[CRM]), "b": format!("directory:{}", pair.ids[DIRECTORY]) });
    assert_eq!(
        (&boss["attribute"], &boss["system"], &boss["reason"], &boss["accounts"], &boss["state"]),
        (&json!("title"), &json!("directory"), &json!("conflict_lost"), &accounts, &json!("lost"))
    );
    assert!(boss.get("value").is_none(), "values are shown when they are asked for");
    assert_eq!(pair.list(&["--values"]).await[0]["value"], "Boss");
    let page = pair.conflicts(&["list"]).await;
    assert!(page.status == 0 && page.stdout.contains("***") && !page.stdout.contains("Boss"), "{page:?}");
    let account = format!("crm:{}", pair.ids[CRM]);
    for (filter, found) in [
        (&["--attribute", "TITLE"][..], 1),
        (&["--attribute", "nickName"], 0),
        (&["--account", &account], 1),
        (&["--account", "directory:nobody"], 0),
        (&["--reason", "conflict_lost", "--since", "1h"], 1),
        (&["--reason", "pinned"], 0),
        (&["--since", "2000-01-01T00:00:00Z", "--connection", CONNECTION], 1),
        (&["--since", "2900-01-01T00:00:00Z"], 0),
    ] {
        assert_eq!(pair.list(filter).await.len(), found, "{filter:?}");
    }
    let name = boss["conflict"].as_str().unwrap();
    let shown = lines(&pair.conflicts(&["show", name, "--json"]).await).remove(0);
    assert_eq!((&shown["value"], &shown["should_be"]), (&json!("Boss"), &json!("Captain")));
    assert_eq!(shown["today"], json!({"a": "Captain", "b": "Captain"}));
    let page = pair.conflicts(&["show", name]).await;
    assert!(page.stdout.contains(&format!("muster conflicts give-back {name}")), "{page:?}");

    let killed = pair.installation.killed_command(&["conflicts", "give-back", name], "conflicts.given_back").await;
    assert!(killed.stderr.contains("failpoint conflicts.given_back"), "{killed:?}");
    pair.sync().await;
    pair.assert_both("Boss");
    assert_eq!(pair.list(&[]).await, [] as [Value; 0], "it is settled");
    let all = pair.list(&["--all", "--values"]).await;
    let told: Vec<_> =
        all.iter().map(|line| (line["reason"].as_str().unwrap(), line["value"].as_str().unwrap())).collect();
    assert_eq!(told, [("given_back", "Captain"), ("conflict_lost", "Boss")]);
    assert_eq!(all[0]["replaced_by"], *name);
    assert!(all[1]["given_back_by"].as_str().unwrap().starts_with("ada@"), "{all:?}");
    let twice = pair.give_back(boss, &[]).await;
    assert!(twice["text"].as_str().unwrap().contains("has done so before"), "{twice}");

    // Taken back, with the workers finding the command in their queue.
    let line = pair.give_back(&all[0], &[]).await;
    pair.sync().await;
    pair.assert_both("Captain");
    // And once more, although nobody publishes the command: the accounts are read again.
    let name = line["replaced"].as_str().unwrap();
    let killed = pair.installation.killed_command(&["conflicts", "give-back", name], "conflicts.sent").await;
    assert!(killed.stderr.contains("failpoint conflicts.sent"), "{killed:?}");
    pair.sync().await;
    pair.assert_both("Boss");
    assert_eq!(pair.installation.letters().await, [] as [Value; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_lost_is_given_back_over_a_file() {
    a_value_that_lost_is_given_back(Mode::File).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_lost_is_given_back_over_servers() {
    a_value_that_lost_is_given_back(Mode::Servers).await;
}

/// B5: an attribute that was changed since is not written over without a person's say, whether or not the change was read;
/// pinned, the side whose value it was alone counts for it, and what the other side makes of it is kept and set back.
async fn a_value_is_pinned(mode: Mode) {
    let mut pair = Pair::start(mode, "").await;
    pair.edit(CRM, &json!({"title": "Captain"}));
    pair.edit(DIRECTORY, &json!({"title": "Boss"}));
    pair.sync().await;
    let boss = pair.list(&[]).await.remove(0);

    pair.edit(CRM, &json!({"title": "Chief"}));
    let unread = pair.give_back(&boss, &[]).await;
    assert!(unread["text"].as_str().unwrap().contains("was changed in crm since the last sync"), "{unread}");
    pair.sync().await;
    let read = pair.give_back(&boss, &[]).await;
    assert!(read["text"].as_str().unwrap().contains("title was changed since it lost; --force"), "{read}");
    pair.assert_both("Chief");
    let forced = pair.give_back(&boss, &["--force", "--pin"]).await;
    assert!(forced["text"].as_str().unwrap().contains("pinned to directory"), "{forced}");
    pair.sync().await;
    pair.assert_both("Boss");
    let pins = lines(&pair.conflicts(&["pins", "--json"]).await);
    assert_eq!((pins.len(), &pins[0]["system"], &pins[0]["attribute"]), (1, &json!("directory"), &json!("title")));
    let account = format!("crm:{}", pair.ids[CRM]);
    let page = pair.installation.muster(&["explain", &account, "title"]).await;
    assert!(page.stdout.contains("pinned to directory by ada@"), "{page:?}");

    // The default system does not count for it, and what it says is kept.
    pair.edit(CRM, &json!({"title": "Major", "nickName": "Ace"}));
    pair.sync().await;
    pair.assert_both("Boss");
    assert_eq!(pair.both("nickName"), ["Ace", "Ace"], "all else flows");
    let kept = pair.list(&["--values", "--reason", "pinned"]).await;
    assert_eq!((kept.len(), &kept[0]["value"]), (1, &json!("Major")));
    pair.edit(DIRECTORY, &json!({"title": "Director"}));
    pair.sync().await;
    pair.assert_both("Director");
    let other = pair.give_back(&kept[0], &["--force"]).await;
    assert!(other["text"].as_str().unwrap().contains("is pinned to directory: --pin moves the pin"), "{other}");

    let unpinned = pair.conflicts(&["unpin", &account, "title"]).await;
    assert_eq!(unpinned.status, 0, "{unpinned:?}");
    assert_eq!(pair.conflicts(&["unpin", &account, "title"]).await.status, 2);
    assert_eq!(pair.conflicts(&["pins", "--json"]).await.stdout, "");
    pair.edit(CRM, &json!({"title": "Colonel"}));
    pair.sync().await;
    pair.assert_both("Colonel");
    // Giving back is undone by giving back what it replaced.
    let again = pair.give_back(&kept[0], &["--force"]).await;
    pair.sync().await;
    pair.assert_both("Major");
    pair.give_back(&replaced(&again), &[]).await;
    pair.sync().await;
    pair.assert_both("Colonel");
    for wrong in ["nope", "crm-directory/", "crm-directory/999999", "nope/1"] {
        let outcome = pair.conflicts(&["show", wrong]).await;
        assert!(outcome.status == 2 && outcome.stderr.contains("see `muster conflicts list`"), "{outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_is_pinned_over_a_file() {
    a_value_is_pinned(Mode::File).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_is_pinned_over_servers() {
    a_value_is_pinned(Mode::Servers).await;
}
