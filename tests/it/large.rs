//! A large roster: memory stays bounded, and work with nothing to do writes nothing.
//!
//! `MUSTER_TEST_USERS=100000 tests/run --release --test it -- large_organisation_over_a_file --nocapture` loads an
//! organisation of that size; without the variable each test has its own, which takes less than a minute.

use muster::sandbox::{Sandbox, SandboxSettings};

use super::processes::{Installation, Mode, active_users, connection, crm, directory, written};
use super::show::show;

/// What a program takes more that was built without optimisation, before it does anything: its code alone (`muster
/// config-schema` took 42 MiB at its peak, and 15 MiB as a release build). It is no memory that the work costs.
const UNOPTIMISED_MIB: u64 = if cfg!(debug_assertions) { 27 } else { 0 };

/// Loads as many users, each created once, and reads them again, which writes nothing. Prints rates and the peak memory of
/// each process, none of which may take more than this.
async fn loads_once_and_then_writes_nothing(mode: Mode, users: usize, memory_mib: u64) {
    let users = std::env::var("MUSTER_TEST_USERS").map_or(users, |users| users.parse().expect("it is a number"));
    let sandbox = Sandbox::start(SandboxSettings { users, ..SandboxSettings::default() }).await.unwrap();
    let admin = sandbox.admin();
    let systems = crm(&sandbox) + &directory(&sandbox.scim_url()) + &connection("");
    let mut muster = Installation::patient_on(mode, &systems).await;
    muster.start().await;
    let expected = active_users(&admin).len();

    let load = muster.sync(&["--full"]).await;
    assert_eq!(load.commands("applied"), expected as i64);
    show(format_args!("{users} users, {mode:?}"));
    show(format_args!("first load:  {:.0} accounts/s, {} written", load.read as f64 / load.seconds, load.emitted));
    let writes = admin.write_count();
    let reconcile = muster.sync(&["--full"]).await;
    show(format_args!("no change:   {:.0} accounts/s", reconcile.read as f64 / reconcile.seconds));
    assert_eq!(reconcile.read, (users + 1 + expected) as i64);
    assert_eq!((reconcile.emitted, reconcile.failed), (0, None));
    assert_eq!(admin.write_count(), writes);
    assert!(written(&admin).iter().all(|write| write.created));
    for (role, kib) in muster.peak_memory_kib() {
        show(format_args!("peak memory: {role} {} MiB", kib / 1024));
        // The bodies in hand are bounded by prefetch, not by the roster.
        assert!(kib < (memory_mib + UNOPTIMISED_MIB) * 1024, "{role} took {kib} KiB");
    }
}

/// R17: there is no cap on the number of accounts.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_organisation_over_servers() {
    loads_once_and_then_writes_nothing(Mode::Servers, 20_000, 400).await;
}

/// R17: nor is there over one file, where one process does it all in 150 MB.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_organisation_over_a_file() {
    loads_once_and_then_writes_nothing(Mode::File, 5_000, 143).await;
}
