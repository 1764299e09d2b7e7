//! A large roster: memory stays bounded, and work with nothing to do writes nothing.

use muster::sandbox::{Sandbox, SandboxSettings};

use super::processes::{Installation, active_users, connection, crm, directory, written};
use super::show::show;

/// R17: there is no cap on the number of accounts. A first load of 20,000 creates each once, and a reconcile that finds
/// both sides in step writes nothing. Prints rates and the peak memory of each process.
#[tokio::test(flavor = "multi_thread")]
async fn a_reconcile_of_20_000_users_writes_nothing() {
    let sandbox = Sandbox::start(SandboxSettings { users: 20_000, ..SandboxSettings::default() }).await.unwrap();
    let admin = sandbox.admin();
    let systems = crm(&sandbox) + &directory(&sandbox.scim_url()) + &connection("");
    let mut muster = Installation::patient(&systems).await;
    muster.start().await;
    let expected = active_users(&admin).len();

    let load = muster.sync(&["--full"]).await;
    assert_eq!(load.commands("applied"), expected as i64);
    show(format_args!("first load:  {:.0} accounts/s, {} written", load.read as f64 / load.seconds, load.emitted));
    let writes = admin.write_count();
    let reconcile = muster.sync(&["--full"]).await;
    show(format_args!("no change:   {:.0} accounts/s", reconcile.read as f64 / reconcile.seconds));
    assert_eq!(reconcile.read, 20_001 + expected as i64);
    assert_eq!((reconcile.emitted, reconcile.failed), (0, None));
    assert_eq!(admin.write_count(), writes);
    assert!(written(&admin).iter().all(|write| write.created));
    for (role, kib) in muster.peak_memory_kib() {
        show(format_args!("peak memory: {role} {} MiB", kib / 1024));
        // The bodies in hand are bounded by prefetch, not by the roster: four times this would be a leak.
        assert!(kib < 400 * 1024, "{role} took {kib} KiB");
    }
}
