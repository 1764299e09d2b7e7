//! The check before the first run: the credential, the roster, the filter, and how accounts are changed.

use super::Scim;
use super::errors::remedy;
use crate::domain::Failure;
use crate::systems::Finding;

fn finding(subject: &str, result: Result<(), Failure>) -> Finding {
    let problem = result.err().map(|failure| {
        let what = failure.to_string();
        remedy(&failure.code).map_or(what.clone(), |remedy| format!("{what}. {remedy}"))
    });
    Finding { subject: subject.to_owned(), problem }
}

impl Scim {
    /// See [`System::preflight`](crate::systems::System::preflight).
    pub(super) async fn findings(&self) -> Vec<Finding> {
        let profile = match self.client.profile(None).await {
            Ok(profile) => profile,
            Err(failure) => return vec![finding("service provider config", Err(failure))],
        };
        let mut findings = vec![finding("service provider config", Ok(()))];
        let roster = self.client.prove_endpoint(None).await;
        let reachable = roster.is_ok();
        findings.push(finding("list users", roster));
        if reachable && profile.filter {
            for name in ["userName", "externalId"] {
                let query = [("filter", format!("{name} eq \"muster-preflight\"")), ("count", "1".to_owned())];
                let result = self.client.list("preflight", &query, None).await.map(drop);
                findings.push(finding(&format!("filter {name}"), result));
            }
        }
        findings
    }
}
