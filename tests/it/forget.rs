//! A person is forgotten, by the real programs, over a file and over servers: what was remembered of them is searched for in
//! the raw bytes of the store.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use muster::broker::embedded::EmbeddedBroker;
use muster::broker::message::{Message, Payload};
use muster::broker::{Broker, Destination, Outgoing};
use muster::database::Database;
use muster::domain::*;
use muster::sandbox::{Admin, Sandbox, SandboxSettings, System};
use muster::store::Store;
use muster::store::embedded::EmbeddedStore;
use muster::store::redis::{RedisSettings, RedisStore};
use serde_json::{Value, json};

use super::processes::{CONNECTION, Installation, Mode, connection, directory};
use super::redis_server::RedisServer;

/// What nobody else has and no program writes by itself.
const LOST: &str = "Zaphod-Beeblebrox-lost";
const WON: &str = "Tricia-McMillan-won";
const ADDRESS: &str = "arthur.dent@heart-of-gold.example";

/// Two directories in step both ways, with a person of whom a value lost a conflict.
struct Scene {
    muster: Installation,
    mode: Mode,
    admins: [Admin; 2],
    _sandboxes: [Sandbox; 2],
    /// The account in `crm`.
    account: String,
    minutes: i64,
}

impl Scene {
    async fn start(mode: Mode) -> Self {
        let crm = Sandbox::start(SandboxSettings::default()).await.unwrap();
        let other = Sandbox::start(SandboxSettings::default()).await.unwrap();
        let people = crm.admin().seed(System::Scim, 3, 7).unwrap();
        let both =
            directory(&crm.scim_url()).replace("systems.directory", "systems.crm") + &directory(&other.scim_url());
        let mapped = format!(
            "history = \"7d\"\n[connections.{CONNECTION}.attributes]\nuserName = {{}}\nemails = {{}}\n\
             \"name.familyName\" = {{}}\ntitle = {{}}\n"
        );
        let two_way = connection(&mapped).replace("\"a_to_b\"", "\"two_way\"\ndefault_system = \"crm\"");
        let muster = Installation::on(mode, &(both + &two_way), "lease = \"5s\"\nrequest_timeout = \"3s\"").await;
        let admins = [crm.admin(), other.admin()];
        let account = people[1].clone();
        admins[0].edit(System::Scim, &account, &json!({"emails": [{"value": ADDRESS, "type": "work"}]})).unwrap();
        let mut scene = Self { muster, mode, admins, _sandboxes: [crm, other], account, minutes: 0 };
        scene.sync().await;
        let accounts = scene.admins[1].accounts(System::Scim);
        let copy = accounts.iter().find(|account| account["externalId"] == *scene.account).unwrap();
        let copy = copy["id"].as_str().unwrap().to_owned();
        scene.later();
        scene.admins[0].edit(System::Scim, &scene.account, &json!({ "title": WON })).unwrap();
        scene.admins[1].edit(System::Scim, &copy, &json!({ "title": LOST })).unwrap();
        scene.sync().await;
        scene
    }

    fn later(&mut self) {
        self.minutes += 1;
        self.admins.iter().for_each(|admin| admin.set_clock(System::Scim, self.minutes * 60_000));
    }

    async fn sync(&mut self) {
        self.later();
        assert_eq!(self.muster.sync(&["--full"]).await.failed, None);
    }

    fn named(&self) -> String {
        format!("crm:{}", self.account)
    }

    async fn forget(&self, more: &[&str]) -> Value {
        let named = self.named();
        let outcome = self.muster.muster(&[&["forget", &named, "--json"], more].concat()).await;
        assert_eq!(outcome.status, 0, "{outcome:?}");
        serde_json::from_str(&outcome.stdout).unwrap()
    }

    /// Which of these texts are anywhere in the raw store.
    async fn found(&self, texts: &[&'static str]) -> Vec<&'static str> {
        let mut bytes = Vec::new();
        match self.mode {
            Mode::File => {
                for suffix in ["", "-wal"] {
                    let file = self.muster.config().with_file_name(format!("muster.db{suffix}"));
                    bytes.extend(std::fs::read(file).unwrap_or_default());
                }
            }
            Mode::Servers => {
                let server = RedisServer::shared().await;
                // Otherwise a text may lie there in another form.
                server.tell(&["CONFIG", "SET", "rdbcompression", "no"]).await;
                let keys: Vec<String> = server.ask(&["KEYS", &format!("{}:*", self.muster.prefix())]).await.unwrap();
                for key in keys {
                    bytes.extend(server.ask::<Option<Vec<u8>>>(&["DUMP", &key]).await.unwrap().unwrap_or_default());
                }
            }
        }
        let is_there = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        texts.iter().copied().filter(|text| is_there(text)).collect()
    }

    /// Files a letter about a message that nobody can read and that has this text in it.
    async fn file_letter(&self, id: &str, text: impl AsRef<[u8]>) {
        let letter = DeadLetter {
            id: LetterId::of_message(id),
            fingerprint: Fingerprint {
                target: None,
                class: FailureClass::Permanent,
                code: Code::known("undecodable"),
                attribute: None,
            },
            connection: None,
            account: None,
            partner: None,
            first_at: Timestamp(1_700_000_000_000),
            last_at: Timestamp(1_700_000_000_000),
            failures: 1,
            message: "the body is not a CloudEvent".to_owned(),
            first_message: None,
            attempts: Vec::new(),
            status: None,
            request_id: None,
            content: LetterContent::Message { queue: "muster.changes".to_owned(), body: BASE64.encode(text) },
        };
        match self.mode {
            Mode::File => {
                let database = Database::open(&self.muster.config().with_file_name("muster.db")).unwrap();
                let store = EmbeddedStore::open(&database).await.unwrap();
                file(&EmbeddedBroker::open(&database), &store, letter).await;
                drop(store);
                database.close().await;
            }
            Mode::Servers => {
                let url = RedisServer::shared().await.url();
                let prefix = self.muster.prefix().to_owned();
                let store = RedisStore::open(&RedisSettings { prefix, ..RedisSettings::new(url) }).unwrap();
                file(&self.muster.broker(), &store, letter).await;
            }
        }
    }
}

async fn file<B: Broker, S: Store>(broker: &B, store: &S, letter: DeadLetter) {
    let entry = LetterEntry::Opened { letter: Box::new(letter.clone()) };
    let message = Message::new(Payload::Letters(vec![entry]));
    broker.publish(vec![Outgoing { to: Destination::Dead, message }]).await.unwrap();
    store.file_letters(&[letter], &[]).await.unwrap();
    broker.close().await;
}

/// Of somebody who is still linked, everything goes but the values that keep the two accounts in step; that there was a
/// conflict stays. Once the link is gone nothing is left. A dry run changes nothing, a kill in the middle is made good by the
/// same command, and the log of acts has who did it and how much that was, and no value.
async fn a_person_is_forgotten(mode: Mode) {
    let scene = Scene::start(mode).await;
    let all = [LOST, WON, ADDRESS];
    assert_eq!(scene.found(&all).await, all, "the search finds what is there");

    let dry = scene.forget(&["--dry-run"]).await;
    assert_eq!((&dry["dry_run"], &dry["erased"]["conflicts"]), (&json!(true), &json!(1)), "{dry}");
    assert!(dry["erased"]["history"].as_u64() >= Some(2) && dry["kept_in_links"].as_u64() >= Some(3), "{dry}");
    assert_eq!(scene.found(&all).await, all, "a dry run erases nothing");

    for failpoint in ["forget.letters", "forget.entries"] {
        let killed = scene.muster.killed_command(&["forget", &scene.named()], failpoint).await;
        assert!(killed.stderr.contains(&format!("failpoint {failpoint}")), "{killed:?}");
    }
    let named = scene.muster.muster(&["forget", ADDRESS, "--json"]).await;
    let done: Value = serde_json::from_str(&named.stdout).unwrap_or_else(|_| panic!("{named:?}"));
    assert!(done["accounts"].as_array().unwrap().contains(&json!(scene.named())), "{done}");
    let again = scene.forget(&[]).await;
    assert_eq!((&again["erased"]["conflicts"], &again["erased"]["history"]), (&json!(0), &json!(0)), "{again}");
    assert_eq!(scene.found(&[LOST]).await, [""; 0], "what lost is nowhere");

    let listed = scene.muster.muster(&["conflicts", "list", "--values", "--json"]).await;
    let conflict: Value = serde_json::from_str(listed.stdout.trim()).unwrap_or_else(|_| panic!("{listed:?}"));
    assert_eq!(
        (&conflict["state"], &conflict["value"]),
        (&json!("erased"), &Value::Null),
        "the fact stays: {conflict}"
    );
    let name = conflict["conflict"].as_str().unwrap();
    let refused = scene.muster.muster(&["conflicts", "give-back", name, "--force"]).await;
    assert!(refused.status == 1 && refused.stdout.contains("was erased"), "{refused:?}");
    let shown = scene.muster.muster(&["conflicts", "show", name, "--offline"]).await;
    assert!(shown.stdout.contains("a value that was erased"), "{shown:?}");

    let removed = scene.muster.muster(&["links", "remove", CONNECTION, &scene.named()]).await;
    assert_eq!(removed.status, 0, "{removed:?}");
    scene.forget(&[]).await;
    assert_eq!(scene.found(&all).await, [""; 0], "nothing of them is left");

    let acts = scene.muster.muster(&["audit", "list", "--verb", "forget", "--json"]).await;
    let acts: Vec<Value> = acts.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let outcomes: Vec<_> = acts.iter().rev().map(|act| act["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["begun", "begun", "done", "done", "done"]);
    assert_eq!(acts[2]["about"], json!({"accounts": ["(an address)"]}));
    assert!(acts[2]["turned_out"]["accounts"].as_array().unwrap().contains(&json!(scene.named())), "{}", acts[2]);
    let erased: u64 = acts.iter().filter_map(|act| act["counts"]["conflicts"].as_u64()).sum();
    // What was killed had erased it and could not say so any more.
    assert_eq!(erased, 0, "{acts:?}");
    assert_eq!(scene.muster.muster(&["audit", "verify"]).await.status, 0);
}

/// A change that shows this account with this value.
fn change(account: &str, value: &str) -> Change {
    let attributes: Attributes = [("title".parse().unwrap(), Some(value.into()))].into_iter().collect();
    let version = Version { modified_at: None, read_at: Timestamp(1), tag: None };
    let snapshot = Snapshot { account: account.parse().unwrap(), partner: None, version, attributes };
    let cause = Cause { run: "r1".parse().unwrap(), number: 1 };
    let seen = Sighting::Present { snapshot };
    Change { connection: "gone".parse().unwrap(), side: Side::A, cause, epoch: Epoch(1), seen }
}

/// A message that nobody could read and that names the person is closed, and its bytes are gone; one that names somebody else
/// stays. Of a page that can be read only what is about the person goes. Where the bytes cannot go, the output says when they
/// will. What may have been lost with the one that cannot be read is read again.
async fn what_nobody_could_read_is_forgotten(mode: Mode) {
    let scene = Scene::start(mode).await;
    let body = format!("{{\"broken\": \"{}\", \"title\": \"{LOST}\"", ADDRESS.to_uppercase());
    scene.file_letter("theirs", &body).await;
    scene.file_letter("of-another", "{\"broken\": \"ford.prefect@heart-of-gold.example\"").await;
    // A colleague's change that names the person, on a page with one of theirs.
    let colleague = change("a-colleague", &scene.account);
    let page = |changes: Vec<Change>| Message { id: "page".to_owned(), ..Message::new(Payload::Changes(changes)) };
    let whole = page(vec![change(&scene.account, LOST), colleague.clone()]).encode();
    let rest = BASE64.encode(page(vec![colleague]).encode());
    scene.file_letter("of-both", &whole).await;
    let encoded: &'static str = BASE64.encode(&body).leak();
    assert_eq!(scene.found(&[encoded]).await, [encoded]);
    let erased = scene.forget(&[]).await;
    assert_eq!((&erased["erased"]["letters"], &erased["erased"]["log_entries"]), (&json!(2), &json!(2)), "{erased}");
    assert_eq!(erased["reads"], json!([CONNECTION]));
    assert_eq!(scene.found(&[encoded]).await, [""; 0]);
    match mode {
        Mode::File => assert!(erased["log_stays_until"].is_null(), "{erased}"),
        Mode::Servers => assert_eq!(erased["log_stays_until"], 1_700_000_000_000_i64 + 365 * 86_400_000, "{erased}"),
    }
    let open = scene.muster.letters().await;
    let open: Vec<_> = open.iter().map(|letter| letter["id"].as_str().unwrap()).collect();
    assert_eq!(open, ["message/of-another", "message/of-both"]);
    let exported = scene.muster.muster(&["dead", "export", "--values"]).await.stdout;
    assert!(exported.contains(&rest) && !exported.contains(LOST), "the colleague's change stays: {exported}");
    let again = scene.forget(&[]).await;
    assert_eq!((&again["erased"]["letters"], &again["reads"]), (&json!(0), &json!([])), "{again}");
    let rebuilt = scene.muster.muster(&["dead", "rebuild", "--json"]).await;
    assert!(rebuilt.status == 0 && rebuilt.stdout.contains("\"in_log\":2"), "{rebuilt:?}");
}

/// Of somebody without a partner the link keeps the id alone.
async fn who_has_no_partner_is_forgotten(mode: Mode) {
    let crm = Sandbox::start(SandboxSettings::default()).await.unwrap();
    let other = Sandbox::start(SandboxSettings::default()).await.unwrap();
    let people = crm.admin().seed(System::Scim, 2, 7).unwrap();
    crm.admin().edit(System::Scim, &people[0], &json!({ "title": WON })).unwrap();
    crm.admin().set_clock(System::Scim, 60_000);
    let both = directory(&crm.scim_url()).replace("systems.directory", "systems.crm") + &directory(&other.scim_url());
    let connection = connection("").replace("\"automatic\"", "\"manual\"");
    let muster = Installation::on(mode, &(both + &connection), "lease = \"5s\"\nrequest_timeout = \"3s\"").await;
    assert_eq!(muster.sync(&["--full"]).await.failed, None);
    let (account, admins) = (people[0].clone(), [crm.admin(), other.admin()]);
    let scene = Scene { muster, mode, admins, _sandboxes: [crm, other], account, minutes: 0 };
    assert_eq!(scene.found(&[WON]).await, [WON]);
    let erased = scene.forget(&[]).await;
    assert!(erased["erased"]["values"].as_u64() >= Some(2) && erased["kept_in_links"] == 0, "{erased}");
    assert_eq!(scene.found(&[WON]).await, [""; 0]);
    let again = scene.forget(&[]).await;
    assert_eq!(again["erased"]["values"], 0, "{again}");
    assert_eq!(again["accounts"], json!([scene.named()]), "the id stays: {again}");
}

/// What a link of two accounts keeps only so that a write can be undone goes as well, and they stay linked.
async fn what_an_undo_would_bring_back_is_forgotten(mode: Mode) {
    let crm = Sandbox::start(SandboxSettings::default()).await.unwrap();
    let other = Sandbox::start(SandboxSettings::default()).await.unwrap();
    let people = crm.admin().seed(System::Scim, 2, 7).unwrap();
    let both = directory(&crm.scim_url()).replace("systems.directory", "systems.crm") + &directory(&other.scim_url());
    let muster = Installation::on(mode, &(both + &connection("")), "lease = \"5s\"\nrequest_timeout = \"3s\"").await;
    let (account, admins) = (people[0].clone(), [crm.admin(), other.admin()]);
    let mut scene = Scene { muster, mode, admins, _sandboxes: [crm, other], account, minutes: 0 };
    scene.admins[0].edit(System::Scim, &scene.account, &json!({ "title": WON })).unwrap();
    scene.sync().await;
    let accounts = scene.admins[1].accounts(System::Scim);
    let copy = accounts.iter().find(|account| account["externalId"] == *scene.account).unwrap()["id"].clone();
    scene.later();
    scene.admins[1].edit(System::Scim, copy.as_str().unwrap(), &json!({ "title": LOST })).unwrap();
    scene.sync().await;
    assert_eq!(scene.found(&[LOST]).await, [LOST]);
    let dry = scene.forget(&["--dry-run"]).await;
    assert!(dry["erased"]["overwritten"].as_u64() >= Some(1), "{dry}");
    assert_eq!(scene.found(&[LOST]).await, [LOST]);
    let erased = scene.forget(&[]).await;
    assert_eq!(erased["erased"]["overwritten"], dry["erased"]["overwritten"]);
    assert!(erased["kept_in_links"].as_u64() >= Some(1), "{erased}");
    assert_eq!(scene.found(&[LOST]).await, [""; 0]);
    assert_eq!(scene.forget(&[]).await["erased"]["overwritten"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_undo_would_bring_back_is_forgotten_over_a_file() {
    what_an_undo_would_bring_back_is_forgotten(Mode::File).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_undo_would_bring_back_is_forgotten_over_servers() {
    what_an_undo_would_bring_back_is_forgotten(Mode::Servers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_partner_is_forgotten_over_a_file() {
    who_has_no_partner_is_forgotten(Mode::File).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_partner_is_forgotten_over_servers() {
    who_has_no_partner_is_forgotten(Mode::Servers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_forgotten_over_a_file() {
    a_person_is_forgotten(Mode::File).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_forgotten_over_servers() {
    a_person_is_forgotten(Mode::Servers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_could_read_is_forgotten_over_a_file() {
    what_nobody_could_read_is_forgotten(Mode::File).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_could_read_is_forgotten_over_servers() {
    what_nobody_could_read_is_forgotten(Mode::Servers).await;
}
