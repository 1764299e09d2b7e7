//! The check before the first run: the login and its rights, the tables, the defaults, the presence. Nothing is written.

use std::time::Duration;

use tokio::time::Instant;

use super::graphql::told;
use super::rules::{check, exceeds_advice};
use super::transport::{Fetched, Haste};
use super::values::{body, id_of};
use super::{Iadvize, Presence};
use crate::domain::{FailureClass, Value};
use crate::systems::{Finding, Rights};

/// How long the look at somebody's presence may take.
const PATIENCE: Duration = Duration::from_secs(30);

fn well(subject: impl Into<String>) -> Finding {
    Finding::well(subject)
}

fn wrong(subject: impl Into<String>, problem: impl Into<String>) -> Finding {
    Finding::wrong(subject, problem)
}

impl Iadvize {
    /// See [`System::preflight`](crate::systems::System::preflight).
    pub(super) async fn findings(&self) -> Vec<Finding> {
        let mut findings = self.transport.prove().await;
        if findings.iter().any(|finding| finding.problem.is_some()) {
            return findings;
        }
        findings.push(self.presence_finding().await);
        findings
    }

    /// Whether the presence of somebody can be told.
    async fn presence_finding(&self) -> Finding {
        if self.presence == Presence::Ignore {
            return well("presence: ignored, so an operator who is logged in is thrown out by an update");
        }
        let listed = match self.transport.page(None, 1).await {
            Ok(listed) => listed,
            Err(failure) => return Finding::failed("presence", &failure, told(&failure)),
        };
        let Some(somebody) = listed.users.first().and_then(id_of) else { return well("presence: nobody to look at") };
        let deadline = Instant::now() + PATIENCE;
        let haste = Haste { deadline, urgent: false };
        match self.transport.is_connected(&somebody, haste).await {
            Ok(_) => well("presence"),
            // Deleted between the two calls.
            Err(failure)
                if failure.class == FailureClass::Permanent
                    && matches!(self.transport.fetch("preflight", &somebody, None).await, Ok(Fetched::Absent(_))) =>
            {
                well("presence: nobody to look at")
            }
            Err(failure) => Finding::failed("presence", &failure, told(&failure)),
        }
    }

    /// See [`System::prove_rights`](crate::systems::System::prove_rights).
    pub(super) async fn rights_findings(&self, rights: &Rights) -> Vec<Finding> {
        let mut findings = Vec::new();
        if rights.attributes.iter().any(|path| path.as_str() == "roles") {
            findings.push(well("roles: mapped, so a change in the other system can make somebody an administrator"));
        }
        if rights.attributes.iter().any(|path| path.as_str() == "native.group") {
            findings.push(well("native.group: mapped, so joining a group hides the others' statistics from somebody"));
        }
        if !rights.creates {
            return findings;
        }
        // What a creation would send of the defaults.
        let problem = match self.tables(None, None).await {
            Ok(tables) => {
                let wire = self.transport.wire();
                check(wire, &self.defaults).and_then(|()| body(wire, &self.defaults, None, &tables)).err()
            }
            Err(failure) => Some(failure),
        };
        match problem {
            Some(failure) => findings.push(Finding::failed("defaults", &failure, told(&failure))),
            None => findings.push(well("defaults")),
        }
        let set_of = |name: &str| self.defaults.iter().find(|(path, _)| path.as_str() == name).map(|(_, value)| value);
        let has_projects = matches!(set_of("native.projects"), Some(Some(Value::Set(_))))
            || rights.attributes.iter().any(|path| path.as_str() == "native.projects");
        if !has_projects {
            findings.push(wrong(
                "projects of new operators",
                "new operators would belong to no project: add defaults = { \"native.projects\" = [\"...\"] }, or map it",
            ));
        }
        if exceeds_advice(&self.defaults) {
            findings.push(well("defaults: more chats at once than the 4 that iAdvize advises"));
        }
        findings.push(well("creations: iAdvize mails each new operator a link for choosing a password"));
        findings
    }
}
