//! The check before the first run: the credential, the roster, the filters, and in words how the server behaves. Nothing
//! is written, so what only a write can show is left to the first one.

use serde_json::Value as Json;

use super::Scim;
use super::client::List;
use super::errors::remedy;
use super::profile::{Profile, Schemas, Seen};
use super::resource::{member, partner_of, server_tag};
use crate::domain::Failure;
use crate::systems::{Finding, Record};

fn finding(subject: &str, result: Result<(), Failure>) -> Finding {
    let Err(failure) = result else { return Finding::well(subject) };
    let what = failure.to_string();
    Finding::failed(subject, &failure, remedy(&failure.code).map_or(what.clone(), |remedy| format!("{what}. {remedy}")))
}

/// Something to know that is no fault.
fn note(text: impl Into<String>) -> Finding {
    Finding::well(text)
}

impl Scim {
    /// See [`System::preflight`](crate::systems::System::preflight).
    pub(super) async fn findings(&self) -> Vec<Finding> {
        let profile = match self.client.profile(None).await {
            Ok(profile) => profile,
            Err(failure) => return vec![finding("service provider config", Err(failure))],
        };
        let mut findings = vec![finding("service provider config", Ok(()))];
        let count = [("count", self.count(&profile).to_string())];
        let roster = match self.client.list("preflight", &count, None).await {
            Ok(roster) => roster,
            Err(failure) => {
                findings.push(finding("list users", Err(failure)));
                return findings;
            }
        };
        findings.push(finding("list users", Ok(())));
        findings.extend(self.resource_types().await);
        findings.extend(self.schemas().await);
        findings.extend(self.filters(&profile).await);
        // What the calls above showed is in it.
        let profile = self.client.profile(None).await.unwrap_or(profile);
        findings.extend(habits(&profile, &roster));
        findings
    }

    /// Whether users are where they are looked for.
    async fn resource_types(&self) -> Vec<Finding> {
        let types = match self.client.discover("ResourceTypes").await {
            Ok(types) => types,
            Err(failure) => return vec![finding("resource types", Err(failure))],
        };
        let text = |of: &Json, name: &str| member(of, name).and_then(Json::as_str).map(str::to_owned);
        let user = types.iter().find(|kind| text(kind, "name").is_some_and(|name| name.eq_ignore_ascii_case("User")));
        let elsewhere = user.and_then(|user| text(user, "endpoint")).filter(|endpoint| {
            let last = endpoint.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
            !last.eq_ignore_ascii_case("Users")
        });
        let problem = "the server keeps users at another address than /Users, where Muster writes them";
        elsewhere.map(|_| Finding::wrong("resource types", problem)).into_iter().collect()
    }

    /// What the server's schemas say of the attributes that can be mapped.
    async fn schemas(&self) -> Vec<Finding> {
        let schemas = match self.client.discover("Schemas").await {
            Ok(schemas) => schemas,
            Err(failure) => return vec![finding("schemas", Err(failure))],
        };
        let Some(schemas) = Schemas::parse(&schemas) else {
            return vec![note(
                "schemas: not offered, so a mapped attribute that the server lacks shows at the first write",
            )];
        };
        if schemas.text_booleans {
            self.client.learn(Seen::TextBoolean);
        }
        let mut findings = vec![finding("schemas", Ok(()))];
        if !schemas.missing.is_empty() {
            findings.push(note(format!(
                "schemas: the server does not know {}: mapped to it, they are refused or dropped",
                schemas.missing.join(", ")
            )));
        }
        if !schemas.read_only.is_empty() {
            findings.push(note(format!("schemas: the server lets nobody write {}", schemas.read_only.join(", "))));
        }
        findings
    }

    /// Searches for what nobody has.
    async fn filters(&self, profile: &Profile) -> Vec<Finding> {
        if !profile.declared.filter {
            return vec![note("filters: not offered, so each search reads the whole list of users")];
        }
        let mut findings = Vec::new();
        for (name, consequence) in [("userName", "by user name"), ("externalId", "by the partner's id")] {
            let query = [("filter", format!("{name} eq \"muster-preflight\"")), ("count", "2".to_owned())];
            let subject = format!("filter {name}");
            match self.client.list("preflight", &query, None).await {
                Ok(found) if found.resources.is_empty() => findings.push(finding(&subject, Ok(()))),
                Ok(_) => {
                    self.client.learn(Seen::FilterIgnored);
                    let text = "passed over by the server, so each search reads the whole list of users";
                    findings.push(note(format!("filters: {text}")));
                    return findings;
                }
                Err(failure) if failure.code.as_str() == "invalid_filter" => {
                    self.client.learn(Seen::FilterRefused(name));
                    let text = format!("refused, so each search {consequence} reads the whole list of users");
                    findings.push(note(format!("{subject}: {text}")));
                }
                Err(failure) => findings.push(finding(&subject, Err(failure))),
            }
        }
        findings
    }
}

/// What follows from how the server behaves.
fn habits(profile: &Profile, roster: &List) -> Vec<Finding> {
    let mut notes = Vec::new();
    if !profile.patches() {
        notes.push(
            "changes: PATCH is not offered, so accounts are replaced whole, with everything in them that a read shows; \
             what the server never shows is the server's to keep",
        );
    }
    let shown = roster.resources.iter().map(|resource| super::resource::read(resource, roster.sent_at, None, false));
    let version = shown.filter_map(|record| match record {
        Record::Account(snapshot) => Some(snapshot.version),
        Record::Unreadable { .. } => None,
    });
    let versions: Vec<_> = version.take(1).collect();
    let has_tag = versions.iter().any(|version| server_tag(version).is_some());
    let has_stamp = versions.iter().any(|version| version.modified_at.is_some());
    match (profile.declared.etag || has_tag, versions.is_empty() || has_stamp) {
        (true, _) => notes.push("versions: ETags are offered; whether If-Match is heeded shows at the first change"),
        (false, true) => notes.push(
            "versions: no ETag. An account is read just before each change and left alone if its stamp moved; a \
             person's edit within the moment of the write can be overwritten unseen",
        ),
        (false, false) => notes.push(
            "versions: no ETag and no stamp of the last change. An account is read just before each change and left \
             alone if its values differ; a person's edit within the moment of the write can be overwritten unseen",
        ),
    }
    if profile.styles.preferred().text_booleans {
        notes.push("booleans: answered as texts, and written so");
    }
    if profile.declared.cursor || roster.next_cursor.is_some() {
        notes.push("lists: paged by cursor");
    } else if roster.start_index == Some(0) {
        notes.push("lists: counted from 0");
    }
    if roster.next_cursor.is_none() && roster.total.is_none() {
        notes.push("lists: without totalResults, so that an account that is missing from them is never taken for gone");
    }
    if !roster.resources.is_empty() && roster.resources.iter().all(|resource| partner_of(resource).is_none()) {
        notes.push(
            "externalId: no account listed has one. If the server drops it, an account whose creation was cut off is \
             found by its user name only, and counts as one that was there before (`on_existing`)",
        );
    }
    notes.into_iter().map(note).collect()
}
