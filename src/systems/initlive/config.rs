//! What the configuration says of an organisation at InitLive, and how its connector is set up from it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use super::attributes::{ADDRESS, EXTERNAL_ID, USERNAME};
use super::{DEFAULT_PAGE_SIZE, InitLive, InitLiveSettings, WINDOWS};
use crate::config::endpoint::{Secret, ca_file, system_url};
use crate::config::shape::{Pairs, Plain, Text, Whole};
use crate::config::system::{is_field_name, request_timeout};
use crate::config::table::Table;
use crate::domain::rules::Departure;
use crate::domain::{SystemName, Value};
use crate::systems::SharedSystem;
use crate::systems::budget::CallBudget;
use crate::systems::http::SetupError;
use crate::systems::kind::{Fingerprint, Kind, SetUp};

/// An organisation at InitLive.
#[derive(Debug, Clone)]
pub struct InitLiveConfig {
    /// The address below which `v4` is.
    pub url: Url,
    /// The organisation's id.
    pub organization: u32,
    /// The key of the API.
    pub api_key: SecretString,
    /// What new users get in members that the mapping does not fill, by the names of the API.
    pub defaults: BTreeMap<String, Value>,
    /// Users in one page of a list.
    pub page_size: u32,
    /// Requests at once.
    pub concurrency: u32,
    /// How long a request may take, where nothing else limits it.
    pub request_timeout: Duration,
    /// Certificates to trust instead of the platform's.
    pub ca_file: Option<PathBuf>,
}

impl Kind for InitLiveConfig {
    fn word(&self) -> &'static str {
        "initlive"
    }

    fn id_headers(&self, _object: &str) -> &'static [&'static str] {
        &["InitLive ID", "Staff ID"]
    }

    fn departs(&self, _object: &str, how: Departure) -> Result<(), &'static str> {
        match how {
            Departure::Detach | Departure::Remove => Ok(()),
            Departure::Delete => Err(
                "a person may be in other organisations, and is never deleted: \"remove\" ends the membership in this one",
            ),
        }
    }

    fn fingerprint(&self, of: &mut Fingerprint) {
        let Self {
            url,
            organization,
            api_key: _,
            defaults,
            page_size: _,
            concurrency: _,
            request_timeout: _,
            ca_file: _,
        } = self;
        of.line("initlive", url);
        of.line("organization", organization);
        for (name, value) in defaults {
            let value = serde_json::to_string(value).expect("a value is JSON");
            of.line("default", format_args!("{name} {value}"));
        }
    }

    fn set_up(&self, _name: &SystemName, calls: Arc<dyn CallBudget>) -> Result<Box<dyn SetUp>, SetupError> {
        let initlive = InitLive::new(InitLiveSettings {
            url: self.url.clone(),
            organization: self.organization.into(),
            api_key: self.api_key.clone(),
            defaults: self.defaults.clone(),
            page_size: usize::try_from(self.page_size).unwrap_or(DEFAULT_PAGE_SIZE),
            concurrency: usize::try_from(self.concurrency).unwrap_or(usize::MAX),
            request_timeout: self.request_timeout,
            ca_file: self.ca_file.clone(),
            windows: WINDOWS.to_vec(),
            calls,
        })?;
        let initlive: SharedSystem = Arc::new(initlive);
        Ok(Box::new(initlive))
    }
}

/// Reads the table of an organisation.
pub(in crate::systems) fn read(table: &mut Table<'_, '_>) -> Option<Arc<dyn Kind>> {
    let url = system_url(table, "https://volunteer.bloomerang.co/api", "Address of the API, without /v4.");
    let organization = table.required("organization", Whole(1..=u32::MAX), "The organisation's id, a number.");
    let doc = "The key of Data Tools > API Access: { env = \"INITLIVE_KEY\" }";
    let api_key = table.required("api_key", Secret { variable: "INITLIVE_KEY" }, doc);
    let defaults = table.default(
        "defaults",
        Pairs { name: DEFAULT, value: Plain },
        BTreeMap::new(),
        "What new users get in members that the mapping does not fill, by the API's names: { langPref = \"eng_can\" }.",
    );
    // With the last user of the page before, never more than 500.
    let page_size = table.default("page_size", Whole(1..=499_u32), 100, "Users in one page of a list.");
    let concurrency = table.default("concurrency", Whole(1..=16_u32), 4, "Requests to it at once, of one process.");
    let request_timeout = request_timeout(table);
    let ca_file = ca_file(table);
    Some(Arc::new(InitLiveConfig {
        url: url?,
        organization: organization?,
        api_key: api_key?,
        defaults: defaults?,
        page_size: page_size?,
        concurrency: concurrency?,
        request_timeout: request_timeout?,
        ca_file: ca_file?,
    }))
}

const DEFAULT: Text<String> = Text {
    what: "a member that can have a default",
    rule: "a default belongs to a member of new users by the API's name, such as langPref; the e-mail address, the external \
           id and the address have none",
    parse: |text| {
        let taken = ["id", USERNAME, EXTERNAL_ID, ADDRESS];
        (is_field_name(text) && !taken.contains(&text)).then(|| text.to_owned())
    },
};
