//! An installation over RabbitMQ and Redis that lose their data, or are away.

use std::fs;

use lapin::options::QueueDeleteOptions;
use muster::sandbox::{Fault, Matcher, Sandbox, SandboxSettings, System};
use serde_json::json;

use super::{
    CONNECTION, Desk, Installation, Mode, Office, WRITER, active_users, connection, crm, directory, id, section,
};
use crate::amqp::foreign_channel;
use crate::proxy::Proxy;
use crate::rabbitmq::RabbitMq;
use crate::redis_server::{RedisServer, free_port};

/// An office whose broker is behind a proxy, and whose store is its own.
struct Fleet {
    office: Office,
    proxy: Proxy,
    redis: RedisServer,
}

impl Fleet {
    async fn start(users: usize) -> Self {
        let sandbox = Sandbox::start(SandboxSettings { users, ..SandboxSettings::default() }).await.unwrap();
        let admin = sandbox.admin();
        let systems = crm(&sandbox) + &directory(&sandbox.scim_url()) + &connection("");
        let muster = Installation::on(Mode::Servers, &systems, WRITER).await;
        let proxy = Proxy::start(RabbitMq::shared().await.addr()).await;
        let redis = RedisServer::private(&["--repl-diskless-sync-delay", "0"]).await;
        let worker = format!("127.0.0.1:{}", free_port());
        let mut behind = muster.amqp().clone();
        behind.set_password(None).unwrap();
        let broker = behind.to_string();
        behind.set_ip_host(proxy.addr().ip()).unwrap();
        behind.set_port(Some(proxy.addr().port())).unwrap();
        let text = fs::read_to_string(muster.config()).unwrap();
        let text =
            text.replace(&broker, behind.as_str()).replace(RedisServer::shared().await.url(), redis.url()).replace(
                "listen = \"off\"",
                &format!("listen = {{ producer = \"off\", mapper = \"off\", writer = \"{worker}\" }}"),
            );
        fs::write(muster.config(), text).unwrap();
        let mut desk = Desk::at(muster);
        desk.fill_in("WORKER", worker);
        desk.fill_in("STORE", redis.url());
        let mut office = Office { desk, _sandbox: sandbox, admin, minutes: 0 };
        office.later();
        Self { office, proxy, redis }
    }

    async fn until_ready(&self, says: &str) {
        self.office.desk.until("curl -s \"http://$WORKER/readyz\"", says).await;
    }

    /// RabbitMQ is away, and when it is back it has none of its data.
    async fn lose_the_broker(&self) {
        let (_connection, channel) = foreign_channel(self.office.desk.muster.amqp()).await;
        let listed = self.office.desk.list("muster topology --json").await;
        self.proxy.refuse(true);
        self.proxy.cut();
        let queues = listed.iter().map(|queue| queue["queue"].as_str().unwrap().to_owned());
        for queue in queues.chain([format!("{}.dead", self.office.desk.muster.prefix())]) {
            channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
        }
        self.until_ready("\"part\":\"broker\"").await;
    }
}

/// R85: a worker is missing; then RabbitMQ goes away and loses everything, and what was under way is asked for anew.
pub(super) async fn rabbitmq_goes_away_and_loses_everything() {
    let mut fleet = Fleet::start(6).await;
    for role in ["producer", "writer"] {
        fleet.office.desk.muster.start_worker(role, None);
    }
    let both = "muster status --json | grep -q '\"role\":\"producer\".*\"role\":\"writer\"' && echo there";
    fleet.office.desk.until(both, "there").await;
    let mut page = section("A worker is missing");
    page.next(&fleet.office.desk, 0, &["No mapper is running: start muster-mapper"]).await;
    page.next(&fleet.office.desk, 0, &["applied"]).await;
    fleet.office.desk.muster.start_worker("mapper", None);

    fleet.office.desk.fill_in("COPY", "redis.rdb");
    let mut copies = section("Redis and RabbitMQ");
    copies.next(&fleet.office.desk, 0, &[]).await;
    copies.next(&fleet.office.desk, 0, &["aof_enabled:1", "aof_last_write_status:ok"]).await;
    copies.next(&fleet.office.desk, 0, &[]).await;
    let folder = fleet.office.desk.muster.config();
    assert!(fs::read(folder.with_file_name("redis.rdb")).unwrap().starts_with(b"REDIS"));
    assert!(fs::read_to_string(folder.with_file_name("links.csv")).unwrap().lines().count() > 2);

    // A letter is open, and writes are under way, when RabbitMQ loses everything.
    let users = active_users(&fleet.office.admin);
    let on = Matcher { body: Some("Refused".to_owned()), ..Matcher::default() };
    fleet.office.admin.inject(Fault { on, effect: super::status(403) });
    fleet.office.later();
    fleet.office.admin.edit(System::Salesforce, id(&users[0]), &json!({ "Title": "Refused" })).unwrap();
    fleet.office.later();
    fleet.office.run_ends_with(3).await;
    fleet.office.desk.carry_out("muster pause --all").await;
    fleet.office.later();
    for user in &users[1..] {
        fleet.office.admin.edit(System::Salesforce, id(user), &json!({ "Title": "Under way" })).unwrap();
    }
    fleet.office.later();
    fleet.office.desk.carry_out("muster sync crm-directory").await;
    fleet.office.desk.until("muster status", ".retry.").await;
    fleet.lose_the_broker().await;
    let mut page = section("RabbitMQ is away");
    page.next(&fleet.office.desk, 3, &["The queues cannot be seen"]).await;
    page.next(&fleet.office.desk, 1, &["WRONG broker", "ok    store"]).await;
    page.next(&fleet.office.desk, 0, &["\"ready\":false", "\"part\":\"broker\""]).await;
    fleet.proxy.refuse(false);
    fleet.until_ready("\"ready\":true").await;
    fleet.office.desk.carry_out("muster resume --all").await;
    page.next(&fleet.office.desk, 0, &[".changes", ".commands.directory"]).await;
    page.next(&fleet.office.desk, 0, &["applied"]).await;
    page.next(&fleet.office.desk, 0, &["The log has 0 letters open", "1 letter missing in the log"]).await;
    assert_eq!(fleet.office.desk.muster.letters().await.len(), 1, "no letter is closed for it");
    page.next(&fleet.office.desk, 0, &["follow from each other"]).await;
    fleet.office.admin.end_faults();
    fleet.office.desk.carry_out("muster dead retry --all --wait").await;
    fleet.office.assert_in_step();
}

/// R86: Redis is away, and comes back empty.
pub(super) async fn redis_goes_away_and_loses_everything() {
    let mut fleet = Fleet::start(6).await;
    fleet.office.desk.muster.start().await;
    fleet.office.sync().await;
    fleet.redis.kill();
    fleet.until_ready("\"part\":\"store\"").await;
    let mut page = section("Redis is away");
    page.next(&fleet.office.desk, 1, &["the store is unavailable"]).await;
    page.next(&fleet.office.desk, 0, &["\"ready\":false", "the store is unavailable"]).await;
    fleet.redis.start().await;
    fleet.until_ready("\"ready\":true").await;
    drop(page);

    fleet.redis.tell(&["FLUSHALL"]).await;
    let writes = fleet.office.admin.write_count();
    let mut page = section("The memory was lost");
    page.next(&fleet.office.desk, 0, &["accepted"]).await;
    page.next(&fleet.office.desk, 0, &["The log has"]).await;
    page.next(&fleet.office.desk, 0, &["Nothing is held"]).await;
    page.next(&fleet.office.desk, 0, &[]).await;
    page.next(&fleet.office.desk, 0, &["which this store has forgotten"]).await;
    assert_eq!(fleet.office.admin.write_count(), writes, "nobody is written for it");
    assert!(fleet.office.desk.muster.logs().contains("Began a new memory of connection crm-directory"));
}

/// R52: the links of a file go to servers.
pub(super) async fn a_file_is_left_for_servers() {
    let sandbox = Sandbox::start(SandboxSettings { users: 4, ..SandboxSettings::default() }).await.unwrap();
    let admin = sandbox.admin();
    let systems = crm(&sandbox) + &directory(&sandbox.scim_url()) + &connection("");
    let mut desk = Desk::at(Installation::on(Mode::File, &systems, WRITER).await);
    let servers = Installation::on(Mode::Servers, &systems, WRITER).await;
    desk.fill_in("NEW", servers.config().to_str().unwrap());
    desk.muster.sync(&[]).await;
    let writes = admin.write_count();
    let mut page = section("From a file to servers");
    page.next(&desk, 0, &[]).await;
    page.next(&desk, 0, &["would"]).await;
    page.next(&desk, 0, &["linked"]).await;
    page.next(&desk, 0, &["crm-directory: run"]).await;
    page.next(&desk, 0, &[CONNECTION]).await;
    assert_eq!(admin.write_count(), writes, "everybody is known");
}
