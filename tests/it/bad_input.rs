//! What cannot be used ends in a clear, counted outcome, and in a letter where a person must act; all else flows.

use lapin::options::BasicPublishOptions;
use lapin::{BasicProperties, ConnectionProperties};
use muster::broker::message::Payload;
use muster::broker::{Broker as _, Destination, Message, Outgoing, Queue};
use muster::domain::{Cause, Change, Code, Epoch, Lane, Side, Sighting};
use muster::sandbox::people::Emails;
use muster::sandbox::{Effect, Fault, Matcher, Sandbox, SandboxSettings, System};
use serde_json::{Value, json};

use super::processes::{CONNECTION, Installation, active_users, written};

async fn sandbox(users: usize) -> Sandbox {
    Sandbox::start(SandboxSettings { users, ..SandboxSettings::default() }).await.unwrap()
}

/// Strikes the next query for users.
fn next_query(effect: Effect, times: u64) -> Fault {
    let on = Matcher {
        system: Some(System::Salesforce),
        path: Some("/query".into()),
        times: Some(times),
        ..Matcher::default()
    };
    Fault { on, effect }
}

fn codes(letters: &[Value]) -> Vec<&str> {
    letters.iter().map(|letter| letter["fingerprint"]["code"].as_str().unwrap()).collect()
}

/// R18, B7, B22: a user without the address that the target's user name is made of is refused before any call, with a
/// letter that names the rule; the others arrive. Another run opens no second letter, and once the address is there the
/// next sync creates the account and closes the letter. An address that is none is refused as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_an_address_has_a_letter_until_it_has_one() {
    let settings = SandboxSettings { users: 100, emails: Emails::SomeMissing, ..SandboxSettings::default() };
    let sandbox = Sandbox::start(settings).await.unwrap();
    let admin = sandbox.admin();
    let mapped = format!(
        "[connections.{CONNECTION}.attributes]\nuserName = {{ a = \"emails\" }}\nemails = {{ a = \"userName\" }}\n\
         \"name.familyName\" = {{}}\n"
    );
    let mut muster = Installation::between(&sandbox, &mapped).await;
    muster.start().await;

    let users = active_users(&admin);
    // Two people of a roster share an address, and a user name is unique: the second is refused by its search.
    let without: Vec<_> = users.iter().filter(|user| user["Email"].is_null()).collect();
    assert!(!without.is_empty());
    let first = muster.sync(&[]).await;
    let letters = muster.letters().await;
    assert_eq!(first.emitted, users.len() as i64);
    assert_eq!(first.commands("applied") + letters.len() as i64, users.len() as i64, "{first:?}");
    assert_eq!(first.commands("dead"), letters.len() as i64);
    let missing: Vec<_> = letters.iter().filter(|letter| letter["fingerprint"]["code"] == "required_missing").collect();
    assert_eq!(missing.len(), without.len(), "{letters:?}");
    assert_eq!(missing[0]["fingerprint"]["attribute"], "userName");
    assert_eq!(missing[0]["partner"], without[0]["Id"]);

    let again = muster.sync(&["--full"]).await;
    assert_eq!((again.emitted, again.failed), (0, None));
    assert_eq!(muster.letters().await.len(), letters.len());

    for user in &without {
        let id = user["Id"].as_str().unwrap();
        admin.edit(System::Salesforce, id, &json!({"Email": format!("{id}@corrected.example")})).unwrap();
    }
    let healed = muster.sync(&[]).await;
    assert_eq!(healed.commands("applied"), without.len() as i64, "{healed:?}");
    assert_eq!(muster.letters().await.len(), letters.len() - without.len());
    let all_but_twins = admin.accounts(System::Scim).len();
    assert_eq!(all_but_twins, users.len() - (letters.len() - without.len()));
}

/// A record with an attribute of 4 MB, and one that is no UTF-8, each have a letter under the account and the attribute;
/// the rest of their page arrives. When the record is right again, a sync heals the letter.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_read_has_a_letter_until_it_can() {
    for (effect, code) in
        [(Effect::HugeAttribute { bytes: 4 << 20 }, "value_too_large"), (Effect::InvalidUtf8, "invalid_text")]
    {
        let sandbox = sandbox(60).await;
        let admin = sandbox.admin();
        let mut muster = Installation::between(&sandbox, "").await;
        muster.start().await;
        let fault = admin.inject(next_query(effect, 1_000));
        let first = muster.sync(&[]).await;
        assert!(first.changes("undecodable") >= 1, "{first:?}");
        let letters = muster.letters().await;
        assert_eq!(codes(&letters), [code], "{first:?}");
        assert!(letters[0]["account"].is_string() && letters[0]["fingerprint"]["attribute"].is_string());
        assert_eq!(first.commands("applied"), active_users(&admin).len() as i64 - 1);

        admin.end_fault(fault);
        let healed = muster.sync(&["--full"]).await;
        assert_eq!((healed.commands("applied"), healed.failed), (1, None));
        assert_eq!(muster.letters().await.len(), 0);
        assert_eq!(admin.accounts(System::Scim).len(), active_users(&admin).len());
    }
}

/// An answer that is no answer (a login page with status 200, JSON that ends in the middle) costs a retry: nobody is
/// lost, nobody is written twice, and there is no letter.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_none_is_asked_for_again() {
    let sandbox = sandbox(60).await;
    let admin = sandbox.admin();
    admin.configure_salesforce(serde_json::from_value(json!({"max_page": 25})).unwrap()).unwrap();
    let mut muster = Installation::between(&sandbox, "").await;
    muster.start().await;
    for effect in [Effect::LoginPage, Effect::TruncatedJson] {
        let mut fault = next_query(effect.clone(), 1);
        fault.on.path = Some("/query/".into());
        admin.inject(fault);
        // The target's answers to creations are of no use either.
        for method in ["POST", "GET"] {
            let on = Matcher {
                system: Some(System::Scim),
                method: Some(method.into()),
                times: Some(2),
                ..Matcher::default()
            };
            admin.inject(Fault { on, effect: effect.clone() });
        }
    }
    let first = muster.sync(&["--full"]).await;
    assert_eq!(first.failed, None);
    assert_eq!(first.changes("undecodable"), 0);
    assert!(
        admin.faults().is_empty() || admin.faults().iter().all(|(_, _, struck)| *struck > 0),
        "{:?}",
        admin.faults()
    );
    assert_eq!(admin.accounts(System::Scim).len(), active_users(&admin).len());
    assert_eq!(written(&admin).len(), active_users(&admin).len());
    assert_eq!(muster.letters().await.len(), 0);
}

/// Publishes a body as it is.
async fn publish_raw(muster: &Installation, queue: &str, body: &[u8]) {
    let url = super::rabbitmq::RabbitMq::shared().await.url().to_string();
    let connection = lapin::Connection::connect(&url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(lapin::options::ConfirmSelectOptions::default()).await.unwrap();
    let queue = format!("{}.{queue}", muster.prefix());
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let confirm =
        channel.basic_publish("".into(), queue.as_str().into(), options, body, BasicProperties::default()).await;
    assert_eq!(confirm.unwrap().await.unwrap(), lapin::Confirmation::Ack(None));
    connection.close(200, "done".into()).await.unwrap();
}

/// R78: a message of a version that is not known here, one that is no message, one in the wrong queue, and a change for a
/// connection that is not configured (any more) each have one letter, and the changes behind them flow. A retry puts the
/// message back as it came: where it still cannot be read, it has a letter again; where it can, the letter stays closed.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_nobody_can_read_has_a_letter() {
    let sandbox = sandbox(20).await;
    let admin = sandbox.admin();
    let mut muster = Installation::between(&sandbox, "").await;
    let declared = muster.muster(&["topology"]).await;
    assert_eq!(declared.status, 0, "{declared:?}");

    let unknown = json!({"specversion": "1.0", "id": "from-the-future", "source": "muster", "data": [{}],
        "type": "muster.changes.v9", "datacontenttype": "application/json"});
    publish_raw(&muster, "changes", unknown.to_string().as_bytes()).await;
    publish_raw(&muster, "changes", b"\xff\xfe no JSON").await;
    let misplaced = unknown.to_string().replace("changes.v9", "commands.v0");
    publish_raw(&muster, "commands.directory", misplaced.as_bytes()).await;
    let change = Change {
        connection: "forgotten".parse().unwrap(),
        side: Side::A,
        cause: Cause { run: "a-run-of-old".parse().unwrap(), number: 3 },
        epoch: Epoch(1),
        seen: Sighting::Unreadable { account: None, code: Code::known("no_id"), attribute: None },
    };
    let broker = muster.broker();
    let message = Message::new(Payload::Changes(vec![change]));
    let to = Destination::Queue(Queue::changes(&CONNECTION.parse().unwrap(), Lane::Live));
    broker.publish(vec![Outgoing { to, message }]).await.unwrap();
    broker.close().await;

    muster.start().await;
    let first = muster.sync(&[]).await;
    assert_eq!(first.commands("applied"), active_users(&admin).len() as i64);
    let letters = muster.await_letters(4).await;
    let mut found = codes(&letters);
    found.sort_unstable();
    assert_eq!(found, ["undecodable_message", "undecodable_message", "undecodable_message", "unknown_connection"]);
    let status = muster.muster(&["status", "--json"]).await;
    assert_eq!(status.status, 3, "letters of no connection wait for a person as well: {status:?}");

    let id = |code: &str| {
        letters.iter().find(|letter| letter["fingerprint"]["code"] == code).unwrap()["id"].as_str().unwrap().to_owned()
    };
    for code in ["undecodable_message", "unknown_connection"] {
        let retried = muster.muster(&["dead", "retry", &id(code), "--json"]).await;
        assert_eq!(retried.status, 0, "{retried:?}");
        // As bad as before.
        let again = muster.await_letters(4).await;
        assert!(again.iter().any(|letter| letter["fingerprint"]["code"] == code), "{again:?}");
    }
}

/// B3, B16, F23: a message that kills every mapper that touches it is called poison after some deliveries, has a letter,
/// and is counted; what comes behind it flows. Once the mapper can work on it, a retry of the letter does, and the books
/// still add up.
#[tokio::test(flavor = "multi_thread")]
async fn poison_has_a_letter_and_the_rest_flows() {
    let sandbox = sandbox(20).await;
    let admin = sandbox.admin();
    let mut muster = Installation::between(&sandbox, "").await;
    muster.start_worker("producer", None);
    muster.start_worker("writer", None);
    let user = active_users(&admin)[3]["Id"].as_str().unwrap().to_owned();
    let only = format!("crm:{user}");
    let asked = muster.muster(&["sync", CONNECTION, "--only", &only]).await;
    assert_eq!(asked.status, 0, "{asked:?}");

    let mut deaths = 0;
    muster.start_worker("mapper", Some("mapper.found"));
    while muster.letters().await.is_empty() {
        if muster.has_ended("mapper") {
            deaths += 1;
            assert!(deaths < 20, "nobody calls it poison");
            muster.start_worker("mapper", Some("mapper.found"));
        }
    }
    muster.kill("mapper").await;
    muster.start_worker("mapper", None);
    let letters = muster.letters().await;
    assert_eq!(codes(&letters), ["poison_message"]);

    let first = muster.sync(&[]).await;
    assert_eq!(first.commands("applied"), active_users(&admin).len() as i64);
    let id = letters[0]["id"].as_str().unwrap();
    let retried = muster.muster(&["dead", "retry", id]).await;
    assert_eq!(retried.status, 0, "{retried:?}");
    muster.await_letters(0).await;
    let rest = muster.sync(&["--full"]).await;
    assert_eq!(rest.emitted, 0);
    assert_eq!(written(&admin).len(), active_users(&admin).len());
    let status: Value = serde_json::from_str(&muster.muster(&["status", "--json"]).await.stdout).unwrap();
    for run in status["connections"][0]["runs"].as_array().unwrap() {
        let sum =
            |counts: &Value| counts.as_array().unwrap().iter().map(|count| count[1].as_i64().unwrap()).sum::<i64>();
        assert_eq!(run["read"], sum(&run["changes"]), "{run}");
        assert_eq!(run["emitted"], sum(&run["commands"]), "{run}");
    }
}
