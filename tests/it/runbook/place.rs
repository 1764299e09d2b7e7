//! An installation over a file: the first look, pauses, copies, damage, upgrades, schedules.

use std::fs;
use std::os::unix::fs::FileExt as _;

use super::{Mode, Office, section};

/// R86: a day in the life of a file: looked at, paused, upgraded, damaged, and restored.
pub(super) async fn a_file_is_looked_at_upgraded_damaged_and_restored() {
    let mut office = Office::start(Mode::File, 6, "").await;
    let mut first = section("Where to begin");
    first.next(&office.desk, 0, &["crm-directory", "LAST GOOD RUN"]).await;
    first.next(&office.desk, 0, &["ok    file", "ok    connection crm-directory"]).await;
    first.next(&office.desk, 0, &["sync"]).await;
    drop(first);

    let mut paused = section("Paused");
    paused.next(&office.desk, 0, &["Paused: crm-directory, since", "No write begins any more"]).await;
    paused.next(&office.desk, 0, &["Paused: crm-directory, since", "by ada@"]).await;
    paused.next(&office.desk, 0, &["Writes of crm-directory go on"]).await;
    paused.next(&office.desk, 0, &["Paused: all connections"]).await;
    office.edit_all_and_ask("Waits").await;
    office.desk.until("muster status", "muster.retry").await;
    office.desk.fill_in("ACCOUNT", office.somebody());
    let mut backlog = section("A backlog");
    backlog.next(&office.desk, 0, &["QUEUE", "muster.retry", " in flight"]).await;
    backlog.next(&office.desk, 0, &["Paused since"]).await;
    paused.next(&office.desk, 0, &["Writes of all connections go on"]).await;
    drop((paused, backlog));
    office.sync().await;
    section("More and fewer workers").next(&office.desk, 0, &["WORKER", "writer"]).await;

    let config = office.desk.muster.config();
    let (file, new) = (config.with_file_name("muster.db"), config.with_file_name("new.toml"));
    let text = fs::read_to_string(&config).unwrap();
    let mapped = "[connections.crm-directory.attributes]\nuserName = {}\ntitle = { to_b = \"'The ' + a.title\" }\n";
    fs::write(&new, text + mapped).unwrap();
    office.desk.fill_in("NEW", new.to_str().unwrap());
    office.desk.fill_in("COPY", "before-upgrade.db");
    let mut upgrade = section("Upgrade");
    upgrade.next(&office.desk, 0, &["VERSION", env!("CARGO_PKG_VERSION")]).await;
    upgrade.next(&office.desk, 0, &["Wrote before-upgrade.db"]).await;
    upgrade.next(&office.desk, 0, &["ok    configuration"]).await;
    upgrade.next(&office.desk, 0, &["The log has 0 letters open"]).await;
    upgrade.next(&office.desk, 4, &["The Waits"]).await;
    upgrade.next(&office.desk, 0, &[]).await;
    upgrade.next(&office.desk, 0, &["crm-directory"]).await;

    office.desk.fill_in("COPY", "copy.db");
    let mut copies = section("The file");
    copies.next(&office.desk, 0, &["Wrote copy.db", "To restore it"]).await;
    office.desk.muster.end_workers().await;
    let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(20 * 4096).collect();
    fs::File::options().write(true).open(&file).unwrap().write_all_at(&noise, 3 * 4096).unwrap();
    section("The file is full or damaged").next(&office.desk, 1, &["WRONG file", "it is damaged"]).await;
    copies.next(&office.desk, 0, &[]).await;
    copies.next(&office.desk, 0, &[]).await;
    copies.next(&office.desk, 0, &["ok    file"]).await;
    let writes = office.admin.write_count();
    copies.next(&office.desk, 0, &["unchanged"]).await;
    assert_eq!(office.admin.write_count(), writes, "a restored backup writes nothing");
    office.assert_in_step();

    // An older program meets a file of a newer form.
    let newer = rusqlite::Connection::open(&file).unwrap();
    newer.pragma_update(None, "user_version", 1_000).unwrap();
    drop(newer);
    let refused = office.desk.carry_out("muster status").await;
    assert!(refused.status == 1 && refused.stderr.contains("of a newer version of Muster"), "{refused:?}");
}

/// R70: nobody works, and slots pass.
pub(super) async fn a_connection_is_overdue() {
    let office = Office::found(Mode::File, 2, "schedule = { every = \"1s\" }\noverdue_after = \"1s\"").await;
    office.sync().await;
    office.desk.until("muster status", "overdue since").await;
    let mut page = section("Alert `overdue`");
    page.next(&office.desk, 3, &["overdue since", "start `muster run`"]).await;
    page.next(&office.desk, 0, &["ok    connection crm-directory"]).await;
    page.next(&office.desk, 0, &["crm-directory: run"]).await;
}
