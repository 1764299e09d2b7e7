//! Systems that refuse, fail or do not answer.

use muster::sandbox::{Effect, RetryAfter, System};

use super::{CONNECTION, Mode, Office, section, status};

/// R78: a right is missing in the directory; then the org cannot be read.
pub(super) async fn a_refusal_and_a_run_that_fails() {
    let mut office = Office::start(Mode::File, 6, "").await;
    office.fail(System::Scim, Some("PATCH"), status(403));
    office.edit_all("Refused");
    office.run_ends_with(3).await;
    let letters = office.desk.muster.letters().await;
    office.desk.fill_in("ACCOUNT", office.somebody());
    let mut permanent = section("Permanent");
    permanent.next(&office.desk, 3, &["forbidden", "permanent"]).await;
    permanent.next(&office.desk, 3, &["forbidden"]).await;

    office.desk.fill_in("CODE", "forbidden");
    office.desk.fill_in("LETTER", letters[0]["id"].as_str().unwrap());
    let mut alert = section("Alert `letters`");
    alert.next(&office.desk, 3, &["forbidden", "grant it in the system"]).await;
    alert.next(&office.desk, 3, &["forbidden", "muster dead show"]).await;
    alert.next(&office.desk, 0, &["HTTP status    403", "directory, account", "holds now"]).await;
    alert.next(&office.desk, 0, &[]).await;
    office.admin.end_faults();
    alert.next(&office.desk, 0, &["Nothing was written"]).await;
    alert.next(&office.desk, 0, &["applied"]).await;
    assert_eq!(office.desk.carry_out("muster dead list").await.status, 0, "none is open");

    office.fail(System::Salesforce, Some("GET"), status(403));
    office.edit_all("Unread");
    office.run_ends_with(1).await;
    let mut alert = section("Alert `failing`");
    alert.next(&office.desk, 3, &["failing since"]).await;
    alert.next(&office.desk, 1, &["WRONG"]).await;
    office.admin.end_faults();
    alert.next(&office.desk, 0, &["applied"]).await;
}

/// R70: nobody calls a system that is out for everybody, and a person sees why.
pub(super) async fn outages_and_a_system_that_asks_for_fewer_calls() {
    let mut office = Office::start(Mode::File, 6, "").await;
    office.fail(System::Scim, None, Effect::Cut);
    office.edit_all_and_ask("Cut").await;
    office.desk.until("muster status", "does not answer").await;
    let mut transient = section("Transient");
    transient.next(&office.desk, 3, &["directory does not answer", "a single call is tried", "To do:"]).await;
    transient.next(&office.desk, 0, &["No open letters"]).await;
    office.admin.end_faults();
    transient.next(&office.desk, 0, &["directory is called"]).await;
    office.sync().await;

    office.fail(System::Scim, None, status(401));
    office.edit_all_and_ask("Unauthorised").await;
    office.desk.until("muster status", "refuses the credential").await;
    let mut unauthorised = section("Unauthorised");
    unauthorised.next(&office.desk, 1, &["WRONG", "the credential was not accepted"]).await;
    office.admin.end_faults();
    unauthorised.next(&office.desk, 0, &["directory is called again"]).await;
    unauthorised.next(&office.desk, 0, &[CONNECTION]).await;

    let mut secrets = section("Secrets");
    secrets.next(&office.desk, 0, &["ok    configuration"]).await;
    secrets.next(&office.desk, 0, &["ok    directory", "ok    connection crm-directory"]).await;
    secrets.next(&office.desk, 0, &["not shown again", "[api.tokens]", "alice = "]).await;
    secrets.next(&office.desk, 0, &["directory is called as ever"]).await;

    office.fail(System::Scim, None, Effect::TooManyRequests { retry_after: RetryAfter::Seconds(60) });
    office.edit_all_and_ask("Throttled").await;
    office.desk.until("muster status", "throttled").await;
    section("Throttled").next(&office.desk, 0, &["paused until", "throttled", "QUOTA USED"]).await;
    assert_eq!(office.desk.muster.letters().await.len(), 0, "no outage makes letters");
}
