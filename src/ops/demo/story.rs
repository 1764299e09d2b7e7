//! What happens in the demo, act by act. Everything is done by the real stages; people are played by the administrator's
//! view of the imitated systems, and numbers are what those systems and the store counted.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use serde_json::{Value, json};

use super::evidence::{Check, Evidence, Letter, Outage};
use super::scene::{CONNECTION, Scene};
use super::teller::Teller;
use crate::domain::{CommandOutcome, DeadLetter};
use crate::ops::output::{self, Form};
use crate::ops::{dead, sync};
use crate::sandbox::{Actor, Admin, Effect, Fault, FaultBody, Matcher, RetryAfter, System, Write};
use crate::store::{Run, RunKind, Store as _};

/// The edits of the outage, at most.
const EDITS: usize = 40;

/// The `Retry-After` of the directory, in seconds.
const RETRY_AFTER: u64 = 2;

/// How many requests it throttles before it fails altogether.
const THROTTLED: u64 = 2;

/// When waiting for what must come has become pointless.
const PATIENCE: Duration = Duration::from_secs(120);

/// The runs that are looked at: all that a demo makes, by far.
const RUNS: usize = 1000;

/// See the module.
pub struct Story<'s> {
    scene: &'s Scene,
    teller: &'s mut Teller,
    form: Form,
    admin: Admin,
    /// What was seen so far.
    pub evidence: Evidence,
}

impl<'s> Story<'s> {
    /// The story before its beginning.
    pub fn new(scene: &'s Scene, teller: &'s mut Teller, form: Form) -> Self {
        Self { scene, teller, form, admin: scene.sandbox.admin(), evidence: Evidence::default() }
    }

    /// Plays all acts; what is so of the claims.
    pub async fn play(&mut self) -> anyhow::Result<Vec<Check>> {
        self.two_systems();
        self.first_sync().await?;
        self.everyday().await?;
        self.outage().await?;
        self.refusal().await?;
        self.idle().await?;
        self.verdict().await
    }

    fn two_systems(&mut self) {
        self.teller.begin("Two systems", "A Salesforce org leads and a SCIM 2.0 directory follows.");
        let (people, accounts) = (self.admin.accounts(System::Salesforce), self.admin.accounts(System::Scim));
        let active = self.active();
        self.teller.end(
            &format!(
                "{} in the CRM, {} of them active; {} in the directory.",
                people.len(),
                active.len(),
                accounts.len()
            ),
            &["muster init", "muster check"],
        );
    }

    async fn first_sync(&mut self) -> anyhow::Result<()> {
        self.teller.begin("First sync", "Everybody who is active in the CRM gets an account in the directory.");
        let (run, took) = self.sync(RunKind::Sync).await?;
        let applied = run.commands(CommandOutcome::Applied);
        let rate = f64::from(applied) / took.as_secs_f64().max(0.001);
        self.teller.end(
            &format!("{applied} accounts created in {}, {rate:.0} a second.", output::duration(took)),
            &[&format!("muster sync {CONNECTION} --wait")],
        );
        Ok(())
    }

    async fn everyday(&mut self) -> anyhow::Result<()> {
        self.teller.begin("An ordinary day", "Three people get a new title, one leaves, and one begins.");
        let active = self.active();
        for person in active.iter().take(3) {
            self.edit(id(person), &json!({ "Title": "Head of Department" }))?;
        }
        let leaver = active.get(3).context("there are too few people")?;
        self.admin.deactivate(System::Salesforce, id(leaver)).map_err(refused)?;
        self.evidence.leavers.insert(id(leaver).to_owned());
        self.newcomer(&active, "ada.newcomer", "Ada", "Newcomer")?;
        let before = self.admin.write_count();
        let (run, took) = self.sync(RunKind::Sync).await?;
        let writes = self.written(before);
        let created = writes.iter().filter(|write| write.created).count();
        let deactivated = writes.iter().filter(|write| deactivates(write)).count();
        self.teller.end(
            &format!(
                "{} written in {}: {} changed, {created} created, {deactivated} deactivated.",
                run.commands(CommandOutcome::Applied),
                output::duration(took),
                writes.len() - created - deactivated,
            ),
            &["muster run    # keeps both in step until it is stopped"],
        );
        Ok(())
    }

    async fn outage(&mut self) -> anyhow::Result<()> {
        let active = self.active();
        let edited: Vec<String> = active.iter().rev().take(EDITS.min(active.len() / 2)).map(owned_id).collect();
        self.teller.begin(
            "The directory breaks",
            &format!(
                "It answers writes with 429 and `Retry-After: {RETRY_AFTER}`, then with 503, while {} people are edited.",
                edited.len()
            ),
        );
        let after = self.admin.write_count();
        let before = self.refusals();
        let retry_after = RetryAfter::Seconds(RETRY_AFTER);
        self.admin.inject(on_writes(Some(THROTTLED), Effect::TooManyRequests { retry_after }));
        let broken = self.admin.inject(on_writes(None, Effect::Status { status: 503, body: FaultBody::Html }));
        for person in &edited {
            self.edit(person, &json!({ "Department": "Continuity" }))?;
        }
        // It heals once half as many writes were refused as there are edits: the longer an outage, the longer the waits.
        let enough = edited.len().div_ceil(2) as u64;
        let heal = async {
            let refused = self.admin.wait_until(|admin| refusals(admin).0 - before.0 >= enough);
            let waited = tokio::time::timeout(PATIENCE, refused).await;
            waited.map_err(|_| anyhow!("the directory was not asked again within {PATIENCE:?}"))?;
            self.admin.end_fault(broken);
            Ok(refusals(&self.admin).0 - before.0)
        };
        let ((run, took), mended) = tokio::try_join!(self.sync(RunKind::Sync), heal)?;
        self.teller.happened(&format!("The directory was mended when it had refused {mended} writes with 503."));
        self.admin.end_faults();
        let (unavailable, throttled) = self.refusals();
        let (unavailable, throttled) = (unavailable - before.0, throttled - before.1);
        let arrived = run.commands(CommandOutcome::Applied);
        self.teller.end(
            &format!(
                "{unavailable} times 503, {throttled} times 429; all was tried again, and {arrived} of {} edits arrived in {}.",
                edited.len(),
                output::duration(took)
            ),
            &["muster status    # shows which system is paused, until when and why"],
        );
        let between = (after, self.admin.write_count());
        self.evidence.outage = Outage { edits: edited.len(), edited, unavailable, throttled, between };
        Ok(())
    }

    async fn refusal(&mut self) -> anyhow::Result<()> {
        self.teller.begin(
            "One account needs a person",
            "Somebody begins in the CRM whose user name belongs to an account that was made by hand in the directory.",
        );
        let active = self.active();
        let user_name = self.newcomer(&active, "grace.twofold", "Grace", "Twofold")?;
        let by_hand = self.admin.create(System::Scim, &json!({ "userName": user_name })).map_err(refused)?;
        self.sync(RunKind::Sync).await?;
        let letter = self.letters().await?.pop().context("there is no dead letter")?;
        let remedy = dead::remedy(&self.scene.pipeline, &letter.fingerprint);
        self.teller.happened(&format!("A dead letter: {}.", letter.message));
        self.teller.happened(&format!("What to do: {remedy}"));
        self.admin.delete(System::Scim, &by_hand).map_err(refused)?;
        let before = self.admin.write_count();
        let said = dead::retry_by_id(&self.scene.pipeline, &letter.id).await?;
        self.teller.happened(&format!("The account made by hand is removed; then `dead retry`: {said}."));
        self.await_no_letters().await?;
        let created = self.written(before).iter().filter(|write| write.created).count();
        self.teller.end(
            &format!(
                "1 letter ({}), its cause removed, sent again: {created} account created, the letter is closed.",
                letter.fingerprint.code
            ),
            &["muster dead list", "muster dead show <letter>", "muster dead retry <letter>"],
        );
        self.evidence.letter =
            Some(Letter { id: letter.id.to_string(), code: letter.fingerprint.code.to_string(), remedy: Some(remedy) });
        Ok(())
    }

    async fn idle(&mut self) -> anyhow::Result<()> {
        self.teller.begin("Nothing to do", "Every account of both sides is read again and compared.");
        let before = self.admin.write_count();
        let (run, took) = self.sync(RunKind::Reconcile).await?;
        self.evidence.idle_writes = self.written(before).len();
        self.teller.end(
            &format!("{} read in {}, {} written.", run.read, output::duration(took), self.evidence.idle_writes),
            &[&format!("muster sync {CONNECTION} --full --wait")],
        );
        Ok(())
    }

    async fn verdict(&mut self) -> anyhow::Result<Vec<Check>> {
        self.teller.begin("Is it so?", "What was shown, checked against what both systems hold and logged.");
        self.evidence.people = self.admin.accounts(System::Salesforce);
        self.evidence.accounts = self.admin.accounts(System::Scim);
        self.evidence.writes = self.written(0);
        self.evidence.open_letters = self.letters().await?.len();
        self.evidence.runs = self.scene.pipeline.store.runs(&self.scene.connection, RUNS).await?;
        self.evidence.runs.retain(|run| run.read > 0 || run.kind != RunKind::Live);
        Ok(self.evidence.check())
    }

    async fn sync(&self, kind: RunKind) -> anyhow::Result<(Run, Duration)> {
        sync::follow_new(&self.scene.pipeline, &self.scene.connection, kind, self.form).await
    }

    async fn letters(&self) -> anyhow::Result<Vec<DeadLetter>> {
        Ok(self.scene.pipeline.store.letters(Some(&self.scene.connection)).await?)
    }

    /// Waits until no letter is open and every run is over.
    async fn await_no_letters(&self) -> anyhow::Result<()> {
        let store = &self.scene.pipeline.store;
        let look = async {
            loop {
                let runs = store.runs(&self.scene.connection, RUNS).await?;
                if self.letters().await?.is_empty() && runs.iter().all(Run::is_over) {
                    return anyhow::Ok(());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, look).await.map_err(|_| anyhow!("the letter was not closed"))?
    }

    /// The users of the CRM that may be used, in the order of their ids.
    fn active(&self) -> Vec<Value> {
        let mut people = self.admin.accounts(System::Salesforce);
        people.retain(|person| person["IsActive"] == true);
        people
    }

    fn edit(&self, person: &str, fields: &Value) -> anyhow::Result<()> {
        self.admin.edit(System::Salesforce, person, fields).map_err(refused)
    }

    /// Somebody new in the CRM, of the kind of those who are there; the user name.
    fn newcomer(&self, active: &[Value], name: &str, given: &str, family: &str) -> anyhow::Result<String> {
        let model =
            active.iter().find(|person| person["UserType"] == "Standard").context("there are too few people")?;
        let user_name = format!("{name}@demo.example");
        let mut fields = json!({
            "Username": user_name, "Email": user_name, "FirstName": given, "LastName": family, "Alias": "new",
            "Title": "Newcomer",
        });
        for field in ["ProfileId", "TimeZoneSidKey", "LocaleSidKey", "LanguageLocaleKey", "EmailEncodingKey"] {
            fields[field] = model[field].clone();
        }
        self.admin.create(System::Salesforce, &fields).map_err(refused)?;
        Ok(user_name)
    }

    /// What the pipeline wrote to the directory after this write.
    fn written(&self, after: u64) -> Vec<Write> {
        let mut writes = self.admin.writes(after);
        writes.retain(|write| write.system == System::Scim && write.actor == Actor::Client);
        writes
    }

    fn refusals(&self) -> (u64, u64) {
        refusals(&self.admin)
    }
}

/// Requests that the directory answered with 503, and with 429, so far.
fn refusals(admin: &Admin) -> (u64, u64) {
    let counts = admin.request_counts();
    let of = |wanted| {
        let with = counts.iter().filter(|((system, _, status), _)| *system == System::Scim && *status == wanted);
        with.map(|(_, count)| count).sum()
    };
    (of(503), of(429))
}

/// A fault of the directory's writes to accounts that are there.
fn on_writes(times: Option<u64>, effect: Effect) -> Fault {
    let on = Matcher { system: Some(System::Scim), method: Some("PATCH".to_owned()), times, ..Matcher::default() };
    Fault { on, effect }
}

fn deactivates(write: &Write) -> bool {
    let active = |state: &Option<Value>| state.as_ref().is_some_and(|account| account["active"] == true);
    active(&write.before) && !active(&write.after)
}

fn id(person: &Value) -> &str {
    person["Id"].as_str().unwrap_or_default()
}

fn owned_id(person: &Value) -> String {
    id(person).to_owned()
}

/// An imitated system refused what the story asks of it.
fn refused(reason: String) -> anyhow::Error {
    anyhow!(reason).context("an imitated system refused")
}
