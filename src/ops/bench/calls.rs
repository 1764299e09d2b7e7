//! What a roster costs of Salesforce's API budget: the real connector, against the sandbox's imitation of an org, counted
//! by the imitation.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, anyhow, bail, ensure};
use serde::Serialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::broker::Broker as _;
use crate::config::Config;
use crate::domain::{CommandOutcome, ConnectionName};
use crate::ops::connect::{self, Embedded, Opened};
use crate::ops::output::Form;
use crate::ops::sync;
use crate::ops::worker::{self, Role};
use crate::sandbox::{Admin, DEFAULT_CLIENT_SECRET, DEFAULT_SCIM_TOKEN, Sandbox, SandboxSettings, System};
use crate::store::RunKind;
use crate::telemetry::metrics::Metrics;

const CONNECTION: &str = "crm-directory";

/// The configuration, without what says which way it goes.
const SYSTEMS: &str = include_str!("calls.toml");

/// The org leads.
const FROM_THE_ORG: &str = "a = \"crm\"\nb = \"directory\"\ndirection = \"a_to_b\"\ncreate = \"automatic\"\n";

/// The directory leads, and the org keeps its ids.
const INTO_THE_ORG: &str = "a = { system = \"crm\", object = \"User\", partner_field = \"Partner_Id__c\" }\n\
                            b = \"directory\"\ndirection = \"b_to_a\"\ncreate = \"automatic\"\n\
                            leavers = \"deactivate\"\n";

/// Calls of Salesforce's API per 1,000 accounts, all of them counted: logging in, describing, reading and writing.
#[derive(Debug, Clone, Serialize)]
pub struct Calls {
    /// Accounts in each of the three.
    pub accounts: u64,
    /// Reading a roster of users.
    pub read: PerThousand,
    /// Creating users.
    pub created: PerThousand,
    /// Changing users.
    pub updated: PerThousand,
}

/// Calls for 1,000 accounts.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PerThousand {
    /// All of them.
    pub calls: f64,
    /// By what they asked for.
    pub by_operation: BTreeMap<&'static str, f64>,
}

/// Counts them for a roster of this size. `folder`: where the embedded mode keeps its file meanwhile.
pub async fn count(accounts: usize, folder: &Path) -> anyhow::Result<Calls> {
    let read = {
        let office = Office::open(FROM_THE_ORG, accounts, folder).await?;
        office.sync(RunKind::Sync, None).await?;
        let read = office.calls(office.admin().accounts(System::Salesforce).len());
        office.close().await?;
        read
    };
    let office = Office::open(INTO_THE_ORG, 0, folder).await?;
    let admin = office.admin();
    admin.seed(System::Scim, accounts, 3).map_err(anyhow::Error::msg)?;
    let people: Vec<String> =
        admin.accounts(System::Scim).iter().filter(|one| one["active"] != false).map(id).collect();
    admin.clear_log();
    office.sync(RunKind::Sync, Some(people.len())).await?;
    let created = office.calls(people.len());
    // What is edited now was created a while ago, so that stamps of one second tell the two apart.
    admin.set_clock(System::Scim, 60_000);
    admin.set_clock(System::Salesforce, 60_000);
    for person in &people {
        admin.edit(System::Scim, person, &json!({ "title": "Agent of the year" })).map_err(anyhow::Error::msg)?;
    }
    admin.clear_log();
    office.sync(RunKind::Sync, Some(people.len())).await?;
    let updated = office.calls(people.len());
    office.close().await?;
    Ok(Calls { accounts: people.len() as u64, read, created, updated })
}

fn id(account: &Value) -> String {
    account["id"].as_str().unwrap_or_default().to_owned()
}

/// Both systems, and Muster between them.
struct Office {
    sandbox: Sandbox,
    pipeline: Embedded,
    stop: CancellationToken,
    working: tokio::task::JoinHandle<anyhow::Result<()>>,
    _folder: tempfile::TempDir,
}

impl Office {
    async fn open(connection: &str, users: usize, folder: &Path) -> anyhow::Result<Self> {
        let sandbox = Sandbox::start(SandboxSettings { users, ..SandboxSettings::default() }).await?;
        let admin = sandbox.admin();
        // What is there is older than what happens now.
        admin.set_clock(System::Salesforce, 10_000);
        admin.set_clock(System::Scim, 10_000);
        let profiles = admin.records(System::Salesforce, "Profile");
        let profile = profiles.get(1).and_then(|profile| profile["Id"].as_str()).context("the org has no profile")?;
        let folder = tempfile::tempdir_in(folder)?;
        let path = folder.path().join("muster.toml");
        let text = SYSTEMS
            .replace("{crm}", &sandbox.salesforce_url())
            .replace("{client_id}", sandbox.client_id())
            .replace("{directory}", &sandbox.scim_url())
            .replace("{profile}", profile)
            .replace("{connection}", connection);
        let variables = [("CRM_SECRET", DEFAULT_CLIENT_SECRET), ("DIRECTORY_TOKEN", DEFAULT_SCIM_TOKEN)];
        let variables: BTreeMap<_, _> = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let config = Config::parse(&text, &path.display().to_string(), &variables)
            .map_err(|errors| anyhow!("the configuration of the count: {errors}"))?;
        let Opened::Embedded(pipeline, database) = connect::open(&config, std::sync::Arc::new(Metrics::new())).await?
        else {
            bail!("the configuration of the count names servers");
        };
        database.lead().await?;
        let stop = CancellationToken::new();
        let working = tokio::spawn({
            let (pipeline, stop) = (pipeline.clone(), stop.clone());
            async move { worker::stages(&Role::ALL, &pipeline, &stop).await }
        });
        Ok(Self { sandbox, pipeline, stop, working, _folder: folder })
    }

    fn admin(&self) -> Admin {
        self.sandbox.admin()
    }

    /// Calls of the org since the log was cleared, for 1,000 of these accounts.
    fn calls(&self, accounts: usize) -> PerThousand {
        let mut found = PerThousand::default();
        for ((system, operation, _), count) in self.admin().request_counts() {
            if system == System::Salesforce {
                let calls = count as f64 * 1_000.0 / accounts.max(1) as f64;
                found.calls += calls;
                *found.by_operation.entry(operation).or_default() += calls;
            }
        }
        found
    }

    async fn sync(&self, kind: RunKind, expected: Option<usize>) -> anyhow::Result<()> {
        let name: ConnectionName = CONNECTION.parse()?;
        let (run, _) = sync::follow_new(&self.pipeline, &name, kind, Form::Json).await?;
        // What a creation shows besides what was written is mapped before the command counts as done.
        let done = run.commands(CommandOutcome::Applied) + run.commands(CommandOutcome::AlreadyTrue);
        ensure!(
            expected.is_none_or(|expected| expected == done as usize),
            "{done} accounts were written where {expected:?} were to be"
        );
        Ok(())
    }

    async fn close(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.working.await??;
        self.pipeline.broker.close().await;
        self.sandbox.shutdown().await
    }
}
