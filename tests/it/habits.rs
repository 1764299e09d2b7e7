//! Targets that keep something else than what they were told come to rest: what they keep is taken for what they hold.

use muster::sandbox::{Dialect, Quirk, Sandbox, SandboxSettings, System};
use serde_json::json;

use super::processes::{Installation, active_users, connection, crm, directory, written};

/// Syncs into a directory with these habits, edits some users, and syncs until nothing more is emitted.
async fn comes_to_rest(habits: impl IntoIterator<Item = Quirk>, title: &str, kept: &str) {
    let dialect = habits.into_iter().collect::<Dialect>();
    let settings = SandboxSettings { users: 200, dialect, ..SandboxSettings::default() };
    let sandbox = Sandbox::start(settings).await.unwrap();
    let admin = sandbox.admin();
    // Each write is counted as applied, so each answer has to come in time: one that is late on a crowded machine leaves
    // an account that the next attempt finds, and counts as already true.
    let systems = crm(&sandbox) + &directory(&sandbox.scim_url()) + &connection("");
    let mut muster = Installation::patient(&systems).await;
    muster.start().await;

    let users = active_users(&admin);
    // As people type it, before the first load and after.
    let ids: Vec<_> = users.iter().skip(1).map(|user| user["Id"].as_str().unwrap()).collect();
    for id in &ids[..5] {
        admin.edit(System::Salesforce, id, &json!({"Title": title})).unwrap();
    }
    let first = muster.sync(&[]).await;
    assert_eq!(first.commands("applied"), users.len() as i64);
    for id in &ids[5..15] {
        admin.edit(System::Salesforce, id, &json!({"Title": title})).unwrap();
    }
    let edits = muster.sync(&[]).await;
    assert_eq!(edits.commands("applied"), 10, "{edits:?}");
    let writes = written(&admin).len();
    assert_eq!(writes, users.len() + 10);
    for more in [&[][..], &["--full"], &["--full"]] {
        let rest = muster.sync(more).await;
        assert_eq!((rest.emitted, rest.failed), (0, None), "{more:?}");
    }
    assert_eq!(written(&admin).len(), writes);
    let accounts = admin.accounts(System::Scim);
    assert_eq!(accounts.iter().filter(|account| account["title"] == kept).count(), 15);
    assert_eq!(muster.letters().await.len(), 0);
}

/// B2: a target that cuts texts after 40 characters and answers a PATCH with 204 and no values is read back, and what
/// it kept is no edit.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_truncates_and_answers_without_values_comes_to_rest() {
    let long = "Head of the Department for Keeping Everything in Step Everywhere";
    comes_to_rest([Quirk::TruncateAt(40), Quirk::PatchNoContent], long, &long[..40]).await;
}

/// R13, B2: so does one that trims texts and keeps user names in small letters.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_trims_and_lower_cases_comes_to_rest() {
    comes_to_rest([Quirk::ValuesTrimmed, Quirk::UserNameLowerCased, Quirk::PhonesReformatted], "  Agent ", "Agent")
        .await;
}
