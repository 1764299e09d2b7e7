//! Two systems that both may change an account: who wins, what is seen before it is written over, and what comes to rest
//! (R55 to R59, B1, B4).

use muster::sandbox::{Actor, Admin, Dialect, Quirk, Sandbox, SandboxSettings, System};
use serde_json::{Value, json};

use super::processes::{CONNECTION, Installation, Mode, connection, crm, directory, written};

const WRITER: &str = "lease = \"5s\"\nrequest_timeout = \"3s\"";

async fn sandbox() -> (Sandbox, Admin) {
    let sandbox = Sandbox::start(SandboxSettings { users: 3, ..SandboxSettings::default() }).await.unwrap();
    let admin = sandbox.admin();
    (sandbox, admin)
}

fn title(admin: &Admin, account: &str) -> Value {
    admin.account(System::Scim, account).unwrap()["title"].clone()
}

fn id_of_copy(admin: &Admin, partner: &str) -> String {
    let accounts = admin.accounts(System::Scim);
    let copy = accounts.iter().find(|account| account["externalId"] == partner).unwrap();
    copy["id"].as_str().unwrap().to_owned()
}

async fn conflicts(installation: &Installation) -> Vec<Value> {
    let listed = installation.muster(&["conflicts", "list", "--values", "--json"]).await;
    listed.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// R73: with `conflict = "last_write"` the later edit wins, although the clocks of the two systems are an hour apart and the
/// default system is the other one: the difference is measured, shown, and taken off.
async fn the_later_edit_wins_whatever_the_clocks_say(mode: Mode) {
    const HOUR: i64 = 3_600_000;
    for (skew, default, later) in [(HOUR, "crm", "directory"), (-HOUR, "directory", "crm")] {
        let ((a, crm_admin), (b, directory_admin)) = (sandbox().await, sandbox().await);
        let clocks = |seconds: i64| {
            crm_admin.set_clock(System::Scim, seconds * 1_000 + skew);
            directory_admin.set_clock(System::Scim, seconds * 1_000);
        };
        clocks(0);
        // By that clock: the stamp of an account never goes back.
        let people = crm_admin.seed(System::Scim, 2, 7).unwrap();
        let both = directory(&a.scim_url()).replace("systems.directory", "systems.crm") + &directory(&b.scim_url());
        let mapped =
            format!("[connections.{CONNECTION}.attributes]\nuserName = {{}}\ntitle = {{ conflict = \"last_write\" }}");
        let policy = format!("\"two_way\"\ndefault_system = \"{default}\"");
        let two_way = connection(&mapped).replace("\"a_to_b\"", &policy);
        let muster = Installation::on(mode, &(both + &two_way), WRITER).await;
        muster.sync(&["--full"]).await;
        let copy = id_of_copy(&directory_admin, &people[0]);

        let edit = |system: &str| match system {
            "crm" => crm_admin.edit(System::Scim, &people[0], &json!({"title": "crm"})).unwrap(),
            _ => directory_admin.edit(System::Scim, &copy, &json!({"title": "directory"})).unwrap(),
        };
        let earlier = if later == "crm" { "directory" } else { "crm" };
        clocks(60);
        edit(earlier);
        clocks(120);
        edit(later);
        clocks(180);
        muster.sync(&["--full"]).await;
        clocks(240);
        muster.sync(&["--full"]).await;
        let held = [title(&crm_admin, &people[0]), title(&directory_admin, &copy)];
        assert_eq!(held, [json!(later), json!(later)], "skew {skew}");
        let lost = conflicts(&muster).await;
        assert_eq!((lost.len(), &lost[0]["value"]), (1, &json!(earlier)), "skew {skew}");

        let status = muster.status().await;
        let systems = status["systems"].as_array().unwrap();
        let ahead = |name| systems.iter().find(|system| system[0] == name).unwrap()[1]["ahead_ms"].as_i64().unwrap();
        let measured = ahead("crm") - ahead("directory");
        assert!((measured - skew).abs() < 5_000, "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_later_edit_wins_over_a_file() {
    the_later_edit_wins_whatever_the_clocks_say(Mode::File).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_later_edit_wins_over_servers() {
    the_later_edit_wins_whatever_the_clocks_say(Mode::Servers).await;
}

/// B4: connections that form a ring and change a value each time round are stopped by the loop breaker of one of them, which
/// says so once; nothing is written any more, and what else changes flows on.
#[tokio::test(flavor = "multi_thread")]
async fn a_ring_of_connections_is_frozen_once() {
    let ((a, crm_admin), (b, directory_admin)) = (sandbox().await, sandbox().await);
    let people = crm_admin.seed(System::Scim, 1, 7).unwrap();
    crm_admin.edit(System::Scim, &people[0], &json!({"title": "One"})).unwrap();
    let mut minutes = 0;
    let mut later = || {
        minutes += 1;
        [&crm_admin, &directory_admin].iter().for_each(|admin| admin.set_clock(System::Scim, minutes * 5_000));
    };
    // Each system is there twice, as far as Muster knows.
    let named = |url: &str, name: &str| directory(url).replace("systems.directory", &format!("systems.{name}"));
    let systems = [
        named(&a.scim_url(), "crm"),
        named(&b.scim_url(), "directory"),
        named(&a.scim_url(), "crm-again"),
        named(&b.scim_url(), "directory-again"),
    ]
    .concat();
    let there = connection(&format!(
        "loop_breaker = \"2/10m\"\n[connections.{CONNECTION}.attributes]\nuserName = {{}}\nnickName = {{}}\ntitle = {{ values = \
         {{ One = \"Two\", Two = \"One\" }} }}\n"
    ));
    let back = "[connections.back]\na = \"directory-again\"\nb = \"crm-again\"\ndirection = \"a_to_b\"\nloop_breaker = \"2/10m\"\nmatch = \
         [\"title\"]\n[connections.back.attributes]\ntitle = {}\n";
    let muster = Installation::on(Mode::File, &(systems + &there + back), WRITER).await;
    later();
    muster.sync(&["--full"]).await;
    let copy = id_of_copy(&directory_admin, &people[0]);
    let (from, to) = (format!("directory-again:{copy}"), format!("crm-again:{}", people[0]));
    let linked = muster.muster(&["links", "add", "back", &from, &to]).await;
    assert_eq!(linked.status, 0, "{linked:?}");

    let held = async || {
        let listed = muster.muster(&["held", "list", "--json"]).await;
        listed.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    };
    let mut rounds = 0;
    while held().await.is_empty() {
        rounds += 1;
        assert!(rounds < 12, "it goes round and round");
        later();
        muster.sync_of("back", &["--full"]).await;
        later();
        muster.sync(&["--full"]).await;
    }
    let frozen = held().await;
    assert_eq!((frozen.len(), &frozen[0]["reason"], &frozen[0]["attribute"]), (1, &json!("frozen"), &json!("title")));
    let count = || written(&crm_admin).len() + written(&directory_admin).len();
    let settled = async |later: &mut dyn FnMut()| {
        for connection in ["back", CONNECTION, "back", CONNECTION] {
            later();
            muster.sync_of(connection, &["--full"]).await;
        }
    };
    settled(&mut later).await;
    let before = count();
    settled(&mut later).await;
    assert_eq!((count(), held().await.len()), (before, 1), "it rests");
    crm_admin.edit(System::Scim, &people[0], &json!({"nickName": "Ace"})).unwrap();
    settled(&mut later).await;
    assert_eq!(directory_admin.account(System::Scim, &copy).unwrap()["nickName"], "Ace", "all else flows on");
    let status = muster.muster(&["status"]).await;
    assert!(status.status == 3 && status.stdout.contains("are held"), "{status:?}");
}

/// A directory that trims, cuts and reformats what it is sent comes to rest after one write, both ways, and its form of a
/// value never comes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_with_forms_of_its_own_comes_to_rest_both_ways() {
    let ((a, crm_admin), (b, directory_admin)) = (sandbox().await, sandbox().await);
    let people = crm_admin.seed(System::Scim, 1, 7).unwrap();
    let dialect: Dialect =
        [Quirk::ValuesTrimmed, Quirk::TruncateAt(12), Quirk::UserNameLowerCased, Quirk::PhonesReformatted].into();
    directory_admin.set_dialect(dialect);
    let both = directory(&a.scim_url()).replace("systems.directory", "systems.crm") + &directory(&b.scim_url());
    let mapped = format!(
        "[connections.{CONNECTION}.attributes]\nuserName = {{}}\ntitle = {{}}\nnickName = {{}}\nphoneNumbers = {{}}\n"
    );
    let two_way = connection(&mapped).replace("\"a_to_b\"", "\"two_way\"\ndefault_system = \"crm\"");
    let muster = Installation::on(Mode::File, &(both + &two_way), WRITER).await;
    muster.sync(&["--full"]).await;
    let copy = id_of_copy(&directory_admin, &people[0]);
    let fields = json!({"title": " Head of Everything ", "nickName": "Ada", "userName": "Ada.BYRON@Corp.Example",
        "phoneNumbers": [{"value": "+44 (20) 7946-0018", "type": "work"}]});
    for admin in [&crm_admin, &directory_admin] {
        admin.set_clock(System::Scim, 60_000);
        admin.clear_log();
    }
    crm_admin.edit(System::Scim, &people[0], &fields).unwrap();
    for seconds in [120_000, 180_000, 240_000] {
        [&crm_admin, &directory_admin].iter().for_each(|admin| admin.set_clock(System::Scim, seconds));
        muster.sync(&["--full"]).await;
    }
    assert!(written(&directory_admin).len() <= 2, "{:?}", written(&directory_admin));
    assert_eq!(written(&crm_admin).len(), 0, "{:?}", written(&crm_admin));
    let (original, kept) =
        (crm_admin.account(System::Scim, &people[0]).unwrap(), directory_admin.account(System::Scim, &copy).unwrap());
    assert_eq!((&original["title"], &kept["title"]), (&json!(" Head of Everything "), &json!("Head of Ever")));
    assert_eq!(kept["nickName"], "Ada");
    assert_eq!(conflicts(&muster).await, [] as [Value; 0]);
    // What a person makes of it there is an edit all the same.
    directory_admin.set_clock(System::Scim, 300_000);
    directory_admin.edit(System::Scim, &copy, &json!({"title": "Boss"})).unwrap();
    [&crm_admin, &directory_admin].iter().for_each(|admin| admin.set_clock(System::Scim, 360_000));
    muster.sync(&["--full"]).await;
    assert_eq!(title(&crm_admin, &people[0]), "Boss");
}

/// Nothing is written over unseen (B1, B5): a person edits an account just before Muster, which has decided and noted what
/// it is about to write, would do so. Contacts of an org and accounts of a directory, either as the target: the edit is
/// decided, and by the write log no value of a person's was ever overwritten that is not listed.
async fn an_edit_just_before_a_write_is_seen(mode: Mode) {
    let sandbox =
        Sandbox::start(SandboxSettings { users: 3, contacts: 2, ..SandboxSettings::default() }).await.unwrap();
    let admin = sandbox.admin();
    let contacts = admin.records(System::Salesforce, "Contact");
    let contact = contacts[0]["Id"].as_str().unwrap().to_owned();
    let copy = json!({"userName": "ada@x.example", "title": contacts[0]["Title"], "active": true,
        "name": {"familyName": contacts[0]["LastName"]}});
    let account = admin.create(System::Scim, &copy).unwrap();
    let clocks = |minute: i64| {
        [System::Salesforce, System::Scim].iter().for_each(|system| admin.set_clock(*system, minute * 60_000));
    };
    let two_way = format!(
        "[connections.{CONNECTION}]\na = {{ system = \"crm\", object = \"Contact\" }}\nb = \"directory\"\ndirection = \
         \"two_way\"\ndefault_system = \"crm\"\nbudgets = \"off\"\nmatch = [\"name.familyName\"]\n\
         [connections.{CONNECTION}.attributes]\n\"name.familyName\" = {{}}\ntitle = {{}}\n"
    );
    let muster = Installation::on(mode, &(crm(&sandbox) + &directory(&sandbox.scim_url()) + &two_way), WRITER).await;
    clocks(1);
    muster.sync(&["--full"]).await;
    let (a, b) = (format!("crm:{contact}"), format!("directory:{account}"));
    let linked = muster.muster(&["links", "add", CONNECTION, &a, &b]).await;
    assert_eq!(linked.status, 0, "{linked:?}");
    clocks(2);
    muster.sync(&["--full"]).await;

    let edit = |system: System, value: &str| match system {
        System::Salesforce => {
            admin.edit_record(System::Salesforce, "Contact", &contact, &json!({"Title": value})).unwrap();
        }
        _ => admin.edit(System::Scim, &account, &json!({"title": value})).unwrap(),
    };
    let both = || {
        let contacts = admin.records(System::Salesforce, "Contact");
        let contact = contacts.into_iter().find(|known| known["Id"] == *contact).unwrap();
        [contact["Title"].clone(), title(&admin, &account)]
    };
    for (minute, source, target) in [(3, System::Salesforce, System::Scim), (13, System::Scim, System::Salesforce)] {
        let (first, second) = (format!("first {minute}"), format!("second {minute}"));
        clocks(minute);
        edit(source, &first);
        clocks(minute + 1);
        let killed = muster.killed_command(&["sync", CONNECTION, "--wait"], "writer.noted_intent").await;
        assert!(killed.stderr.contains("failpoint writer.noted_intent"), "{killed:?}");
        edit(target, &second);
        let before = admin.write_count();
        for later in 2..5 {
            clocks(minute + later);
            muster.sync(&["--full"]).await;
        }
        let (won, lost) = if source == System::Salesforce { (&first, &second) } else { (&second, &first) };
        assert_eq!(both(), [json!(won), json!(won)], "the default system's value");
        let listed = self::conflicts(&muster).await;
        let listed: Vec<_> = listed.iter().filter_map(|line| line["value"].as_str()).collect();
        assert!(listed.contains(&lost.as_str()), "{lost} is listed: {listed:?}");
        let field = |value: &Option<Value>| {
            let value = value.as_ref().unwrap();
            value["Title"].as_str().or(value["title"].as_str()).unwrap_or_default().to_owned()
        };
        for write in admin.writes(before).iter().filter(|write| write.actor == Actor::Client && write.changed) {
            let overwritten = field(&write.before);
            assert!(overwritten != *won && (overwritten == *lost || !overwritten.starts_with("second")), "{write:?}");
        }
    }
    assert_eq!(muster.letters().await, [] as [Value; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_just_before_a_write_is_seen_over_a_file() {
    an_edit_just_before_a_write_is_seen(Mode::File).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_just_before_a_write_is_seen_over_servers() {
    an_edit_just_before_a_write_is_seen(Mode::Servers).await;
}
