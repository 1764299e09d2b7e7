//! Writing one user: the same call whether they are there or not.

use reqwest::RequestBuilder;
use reqwest::header::{HeaderName, HeaderValue};
use secrecy::ExposeSecret;
use serde_json::Value as Json;
use tokio::time::Instant;

use super::SalesScreen;
use super::errors::{Refusal, classify};
use super::user;
use crate::domain::{Attributes, Code, Failure, FailureClass, Snapshot, Value, Version};
use crate::systems::http::{Answer, Call, below};
use crate::systems::{Action, Write, Written, not_offered};

/// The header of the key. Names of headers have no letter case; the vendor writes `apiKey`.
const API_KEY: HeaderName = HeaderName::from_static("apikey");

impl SalesScreen {
    /// Writes one account, see [`System::write`](crate::systems::System::write).
    pub(super) async fn write_one(&self, write: &Write, deadline: Instant) -> Written {
        let written = match &write.action {
            Action::Create { .. } | Action::Update { .. } => self.upsert(write, &write.values, deadline).await,
            Action::Remove { .. } => self.remove(write, deadline).await,
            Action::Delete { .. } => Err(not_offered()),
        };
        written.unwrap_or_else(Written::Failed)
    }

    /// Moves a user to the team of those who left. No call takes anybody out of a team, or ends an account.
    async fn remove(&self, write: &Write, deadline: Instant) -> Result<Written, Failure> {
        let mut values = write.values.clone();
        values.insert(user::team(), Some(Value::from(self.leavers_team.as_deref().ok_or_else(not_offered)?)));
        match self.upsert(write, &values, deadline).await? {
            Written::Done(_) => Ok(Written::Ended),
            other => Ok(other),
        }
    }

    async fn upsert(&self, write: &Write, values: &Attributes, deadline: Instant) -> Result<Written, Failure> {
        let (operation, account, partner) = match &write.action {
            Action::Create { partner } => ("create", partner, Some(partner)),
            // Nothing shows what the user holds, so nothing shows whether they were changed since.
            Action::Update { account, .. } => ("update", account, None),
            Action::Remove { account, .. } | Action::Delete { account, .. } => ("remove", account, None),
        };
        let body = user::body(account, values, &self.teams)?;
        let answer = self.call(Call::write(operation, deadline).urgent(write.urgent), &body).await?;
        if !answer.status.is_success() {
            return match classify(&answer) {
                Refusal::Taken(attribute) => Ok(Written::Exists { attribute: Some(attribute) }),
                Refusal::Failed(failure) => Err(failure),
            };
        }
        // The body of a success says nothing, but a web page in its place says that it was none.
        if answer.is_html() {
            return Err(answer.unreadable("the answer does not come from SalesScreen"));
        }
        if user::lacks_team(values) {
            tracing::debug!(%account, "Wrote {account}, who is sent without a team: nothing of them is shown before they have one");
        }
        Ok(Written::Done(Snapshot {
            account: account.clone(),
            version: Version { modified_at: None, read_at: answer.answered_at, tag: None },
            attributes: values.clone(),
            partner: partner.cloned(),
        }))
    }

    /// Calls `User/Add`.
    pub(super) async fn call(&self, call: Call, body: &Json) -> Result<Answer, Failure> {
        let url = below(&self.url, &["api", "v1", "User", "Add"])?;
        let request = self.http.client().post(url).json(body);
        self.http.send(call, self.with_key(request)?).await
    }

    fn with_key(&self, request: RequestBuilder) -> Result<RequestBuilder, Failure> {
        let mut key = HeaderValue::from_str(self.api_key.expose_secret()).map_err(|_| {
            let text = "the key has characters that no key has";
            Failure::new(FailureClass::Unauthorised, Code::known("unauthorised"), text)
        })?;
        key.set_sensitive(true);
        Ok(request.header(API_KEY, key))
    }
}
