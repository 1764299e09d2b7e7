//! What blocks one connection and no other: fields that are hidden or cannot be edited, by direction.

use std::collections::BTreeMap;

use muster::sandbox::salesforce::Access;
use muster::sandbox::{Admin, SalesforceEdit, Sandbox, SandboxSettings, System};

use super::processes::{CONNECTION, Installation, Mode, active_users, connection, crm, directory, written};

async fn sandbox() -> Sandbox {
    Sandbox::start(SandboxSettings { users: 4, ..SandboxSettings::default() }).await.unwrap()
}

/// The tables of a second sandbox, under other names.
fn other(sandbox: &Sandbox, more: &str) -> String {
    let tables = crm(sandbox) + &directory(&sandbox.scim_url()) + &connection(more);
    let renamed = tables.replace("systems.crm", "systems.org").replace("systems.directory", "systems.people");
    let renamed = renamed.replace("\"crm\"", "\"org\"").replace("\"directory\"", "\"people\"");
    renamed.replace(&format!("connections.{CONNECTION}"), "connections.org-people")
}

fn set_access(admin: &Admin, field: &str, access: Access) {
    let access = BTreeMap::from([(format!("User.{field}"), access)]);
    admin.configure_salesforce(SalesforceEdit { access, ..SalesforceEdit::default() }).unwrap();
}

/// R6, R16: a mapped field that the login cannot read is named, and blocks its connection before anything is read or
/// written; the other one runs. `status` says so, and when it is mended, the next sync goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_connection_blocks_no_other() {
    let (well, broken) = (sandbox().await, sandbox().await);
    set_access(&broken.admin(), "Title", Access::Hidden);
    let attributes =
        "[connections.crm-directory.attributes]\nuserName = {}\nemails = {}\n\"name.familyName\" = {}\ntitle = {}";
    let tables = crm(&well) + &directory(&well.scim_url()) + &connection("") + &other(&broken, attributes);
    let mut muster = Installation::on(Mode::File, &tables, "lease = \"3s\"\nrequest_timeout = \"1s\"").await;
    let checked = muster.muster(&["check"]).await;
    assert_eq!(checked.status, 1, "{checked:?}");
    let problem = "org: read access to User.Title: it is mapped, and the run-as user cannot read it: give read access";
    assert!(checked.stdout.contains(&format!("WRONG {problem}")), "{checked:?}");
    assert!(checked.stdout.contains(&format!("WRONG connection org-people: blocked: {problem}")), "{checked:?}");
    assert!(checked.stdout.contains("ok    connection crm-directory\n"), "{checked:?}");

    muster.start_run().await;
    assert_eq!(muster.sync(&[]).await.commands("applied"), active_users(&well.admin()).len() as i64);
    let blocked = muster.muster(&["sync", "org-people", "--wait"]).await;
    assert_eq!(blocked.status, 1, "{blocked:?}");
    assert!(blocked.stdout.contains(&format!("blocked: {problem}")), "{blocked:?}");
    let status = muster.muster(&["status"]).await;
    assert_eq!(status.status, 3, "{status:?}");
    assert!(status.stdout.contains("blocked: org: read access to User.Title"), "{status:?}");
    let queries = |admin: &Admin| admin.requests().iter().filter(|request| request.path.contains("/query")).count();
    assert_eq!((queries(&broken.admin()), written(&broken.admin()).len()), (0, 0), "nothing was read or written");

    set_access(&broken.admin(), "Title", Access::ReadWrite);
    let mended = muster.muster(&["sync", "org-people", "--wait"]).await;
    assert_eq!(mended.status, 0, "{mended:?}");
    assert_eq!(written(&broken.admin()).len(), active_users(&broken.admin()).len());
    assert_eq!(muster.muster(&["status"]).await.status, 0);
}

/// R60, R44: what a side must allow depends on the direction: a field that can only be read is enough for the side that is
/// read.
#[tokio::test(flavor = "multi_thread")]
async fn rights_are_asked_for_by_direction() {
    let sandbox = sandbox().await;
    set_access(&sandbox.admin(), "Title", Access::ReadOnly);
    let attributes = "[connections.crm-directory.attributes]\nuserName = {}\ntitle = {}";
    let tables = |direction: &str| {
        let connection = connection(attributes).replace("direction = \"a_to_b\"", direction);
        let connection = connection.replace("create = \"automatic\"", "create = \"manual\"");
        let end = "a = { system = \"crm\", partner_field = \"Partner_Id__c\" }";
        let connection = connection.replace("a = \"crm\"", end);
        crm(&sandbox) + &directory(&sandbox.scim_url()) + &connection
    };
    let muster = Installation::on(Mode::File, &tables("direction = \"a_to_b\""), "").await;
    let read = muster.muster(&["check"]).await;
    assert_eq!(read.status, 0, "{read:?}");
    assert!(!read.stdout.contains("write access"), "{read:?}");
    assert!(read.stdout.contains("page layout of User: no call shows it"), "{read:?}");
    muster.configure(&tables("direction = \"b_to_a\"")).await;
    let write = muster.muster(&["check"]).await;
    assert_eq!(write.status, 1, "{write:?}");
    assert!(
        write.stdout.contains("WRONG connection crm-directory: blocked: crm: write access to User.Title"),
        "{write:?}"
    );
    assert_eq!(sandbox.admin().accounts(System::Scim).len(), 0);
}
