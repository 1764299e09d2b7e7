//! What the configuration says of a SalesScreen account, and how its connector is set up from it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::{SalesScreen, SalesScreenSettings, WINDOWS};
use crate::config::endpoint::{Secret, ca_file, system_url};
use crate::config::shape::{Flag, Pairs, Text, Whole};
use crate::config::system::request_timeout;
use crate::config::table::Table;
use crate::domain::SystemName;
use crate::domain::rules::Departure;
use crate::systems::SharedSystem;
use crate::systems::budget::CallBudget;
use crate::systems::http::SetupError;
use crate::systems::kind::{Fingerprint, Kind, SetUp};

/// A SalesScreen account.
#[derive(Debug, Clone)]
pub struct SalesScreenConfig {
    /// The address below which `api/v1` is.
    pub url: Url,
    /// The key of the API.
    pub api_key: SecretString,
    /// Keys and names of the teams that users may join.
    pub teams: BTreeMap<String, String>,
    /// The team that those who left are moved to, where the file names one.
    pub leavers_team: Option<String>,
    /// Whether the product's own automatic sync is off: nothing but a person can see that.
    pub automatic_sync_off: bool,
    /// Requests at once.
    pub concurrency: u32,
    /// How long a request may take, where nothing else limits it.
    pub request_timeout: Duration,
    /// Certificates to trust instead of the platform's.
    pub ca_file: Option<PathBuf>,
}

impl Kind for SalesScreenConfig {
    fn word(&self) -> &'static str {
        "salesscreen"
    }

    fn id_headers(&self, _object: &str) -> &'static [&'static str] {
        &["External ID"]
    }

    fn takes_partner_ids(&self) -> bool {
        true
    }

    fn departs(&self, _object: &str, how: Departure) -> Result<(), &'static str> {
        match (how, &self.leavers_team) {
            (Departure::Detach, _) | (Departure::Remove, Some(_)) => Ok(()),
            (Departure::Remove, None) => Err("name the team that leavers are moved to: leavers_team of the system"),
            (Departure::Delete, _) => {
                Err("SalesScreen has no call that ends an account: say \"remove\", \"detach\" or \"report\"")
            }
        }
    }

    fn fingerprint(&self, of: &mut Fingerprint) {
        let Self { url, api_key: _, teams, leavers_team, .. } = self;
        of.line("salesscreen", url);
        for (key, name) in teams {
            of.line("team", format_args!("{key:?} {name:?}"));
        }
        if let Some(team) = leavers_team {
            of.line("leavers_team", team);
        }
    }

    fn set_up(&self, _name: &SystemName, calls: Arc<dyn CallBudget>) -> Result<Box<dyn SetUp>, SetupError> {
        let salesscreen = SalesScreen::new(SalesScreenSettings {
            url: self.url.clone(),
            api_key: self.api_key.clone(),
            teams: self.teams.clone(),
            leavers_team: self.leavers_team.clone(),
            automatic_sync_off: self.automatic_sync_off,
            concurrency: usize::try_from(self.concurrency).unwrap_or(usize::MAX),
            request_timeout: self.request_timeout,
            ca_file: self.ca_file.clone(),
            windows: WINDOWS.to_vec(),
            calls,
        })?;
        let salesscreen: SharedSystem = Arc::new(salesscreen);
        Ok(Box::new(salesscreen))
    }
}

/// Reads the table of an account.
pub(in crate::systems) fn read(table: &mut Table<'_, '_>) -> Option<Arc<dyn Kind>> {
    let url = system_url(table, "https://connect.salesscreen.com", "Address of the API, without /api/v1.");
    let doc = "The key of Settings > Api Keys: { env = \"SALESSCREEN_KEY\" }";
    let api_key = table.required("api_key", Secret { variable: "SALESSCREEN_KEY" }, doc);
    let teams = table.default(
        "teams",
        Pairs { name: TEAM_KEY, value: TEAM_NAME },
        BTreeMap::new(),
        "The teams that users may join: their keys as Settings > Mappings shows them, and their names. SalesScreen makes \
         a second team of a key that it does not know, so no other key is ever sent.",
    );
    let leavers_team = table.optional(
        "leavers_team",
        TEAM_KEY,
        "The team, one of `teams`, that those who left are moved to where a connection has leavers = \"remove\": no call \
         takes anybody out of a team.",
    );
    let automatic_sync_off = table.default(
        "automatic_sync_off",
        Flag,
        false,
        "Whether `Automatically sync users` is off in SalesScreen. No call shows it, so that somebody has to say it.",
    );
    // Two calls a second is what a minute's limit leaves; more at once only wait.
    let concurrency = table.default("concurrency", Whole(1..=15_u32), 4, "Requests to it at once, of one process.");
    let request_timeout = request_timeout(table);
    let ca_file = ca_file(table);
    let api_key = api_key?;
    if HeaderValue::from_str(api_key.expose_secret()).is_err() {
        table.mistake("api_key", "the key has characters that no key has", "copy it again from Settings > Api Keys");
        return None;
    }
    let (teams, leavers_team) = (teams?, leavers_team?);
    if let Some(team) = leavers_team.as_ref().filter(|team| !teams.contains_key(*team)) {
        table.mistake("leavers_team", format!("{team} is not among the teams"), "add it to `teams` with its name");
        return None;
    }
    Some(Arc::new(SalesScreenConfig {
        url: url?,
        api_key,
        teams,
        leavers_team,
        automatic_sync_off: automatic_sync_off?,
        concurrency: concurrency?,
        request_timeout: request_timeout?,
        ca_file: ca_file?,
    }))
}

fn label(text: &str) -> Option<String> {
    let valid = (1..=200).contains(&text.chars().count()) && text.trim() == text && !text.contains(char::is_control);
    valid.then(|| text.to_owned())
}

const TEAM_KEY: Text<String> = Text {
    what: "the key of a team",
    rule: "the key of a team has 1 to 200 characters, as Settings > Mappings shows it",
    parse: label,
};

const TEAM_NAME: Text<String> = Text {
    what: "the name of a team",
    rule: "the name of a team has 1 to 200 characters, as SalesScreen shows it",
    parse: label,
};
