//! Where the demo plays: both systems imitated in this process, and an embedded pipeline between them in a folder that
//! goes away with it.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};

use crate::config::Config;
use crate::database::Database;
use crate::domain::ConnectionName;
use crate::ops::connect::{self, Embedded, Opened};
use crate::sandbox::{DEFAULT_CLIENT_SECRET, DEFAULT_SCIM_TOKEN, Sandbox, SandboxSettings};
use crate::telemetry::logs;
use crate::telemetry::metrics::Metrics;

/// The connection of the demo.
pub const CONNECTION: &str = "crm-directory";

/// The configuration of the demo.
const CONFIGURATION: &str = include_str!("muster.toml");

/// See the module.
pub struct Scene {
    /// Both systems.
    pub sandbox: Sandbox,
    /// What works between them.
    pub pipeline: Embedded,
    /// Its file.
    pub database: Database,
    /// The connection between them.
    pub connection: ConnectionName,
    folder: Folder,
}

impl Scene {
    /// Starts the systems, with so many people in the CRM and nobody in the directory, and opens the pipeline.
    pub async fn set(users: usize) -> anyhow::Result<Self> {
        let sandbox = Sandbox::start(SandboxSettings { users, ..SandboxSettings::default() }).await?;
        let folder = Folder::make()?;
        let text = CONFIGURATION
            .replace("{crm}", &sandbox.salesforce_url())
            .replace("{client_id}", sandbox.client_id())
            .replace("{directory}", &sandbox.scim_url());
        let path = folder.0.join("muster.toml");
        std::fs::write(&path, &text).with_context(|| format!("writing {}", path.display()))?;
        let config = Config::parse(&text, &path.display().to_string(), &Self::environment())
            .context("reading the configuration of the demo")?;
        logs::init_quiet(&config.telemetry)?;
        let Opened::Embedded(pipeline, database) = connect::open(&config, Arc::new(Metrics::new())).await? else {
            bail!("the configuration of the demo names servers");
        };
        Ok(Self { sandbox, pipeline, database, connection: CONNECTION.parse()?, folder })
    }

    /// The variables that the configuration reads its credentials from.
    pub fn environment() -> BTreeMap<String, String> {
        let variables = [("CRM_SECRET", DEFAULT_CLIENT_SECRET), ("DIRECTORY_TOKEN", DEFAULT_SCIM_TOKEN)];
        variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder.0.join("muster.toml")
    }

    /// Where the administrator's pages of both systems are.
    pub fn admin_url(&self) -> String {
        format!("{}/_admin", self.sandbox.url())
    }
}

/// A folder for this process alone, which is removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn make() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("muster-demo-{}", uuid::Uuid::new_v4().simple()));
        std::fs::DirBuilder::new().mode(0o700).create(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let path: &Path = &self.0;
        if let Err(error) = std::fs::remove_dir_all(path) {
            tracing::warn!("{} stays behind: {error}", path.display());
        }
    }
}
