//! Writing one account: create, or change what differs unless the account moved on.

use reqwest::{Method, StatusCode};
use tokio::time::Instant;

use super::Scim;
use super::attributes::attribute;
use super::client::{Current, Fetched, not_scim};
use super::edit;
use super::errors::{Subject, classify, says_absent, says_taken};
use super::resource::{id_of, value_of};
use crate::domain::{AccountId, Attributes, Code, Failure, FailureClass, Timestamp, Version};
use crate::systems::http::Answer;
use crate::systems::{Action, Write, Written};

impl Scim {
    /// Writes one account, see [`System::write`](crate::systems::System::write).
    pub(super) async fn write_one(&self, write: &Write, deadline: Instant) -> Written {
        let result = match &write.action {
            Action::Create { partner } => self.create(partner, &write.values, deadline).await,
            Action::Update { account, unless_changed_since } => {
                self.update(account, &write.values, unless_changed_since, deadline).await
            }
        };
        result.unwrap_or_else(Written::Failed)
    }

    async fn create(&self, partner: &AccountId, values: &Attributes, deadline: Instant) -> Result<Written, Failure> {
        let body = edit::create(values, partner)?;
        let answer = self.client.create(&body, deadline).await?;
        if answer.status.is_success() {
            return self.created(&answer, deadline).await;
        }
        if let Some(attribute) = says_taken(&answer, true) {
            return Ok(Written::Exists { attribute });
        }
        Err(classify(&answer, Subject::Roster))
    }

    /// What a successful create left behind. Without an id in the answer it is unknown who was created: the search by
    /// the partner's id will find it.
    async fn created(&self, answer: &Answer, deadline: Instant) -> Result<Written, Failure> {
        let in_body = serde_json::from_str(&answer.body).ok().as_ref().and_then(id_of);
        let account = in_body.or_else(|| {
            let location = answer.header("location")?;
            let last = location.trim_end_matches('/').rsplit_once("/Users/")?.1;
            last.parse().ok()
        });
        match account {
            Some(account) => self.holds_now(answer, &account, deadline).await,
            None => Err(answer.unreadable("the answer to the create does not name the account")),
        }
    }

    async fn update(
        &self,
        account: &AccountId,
        values: &Attributes,
        decided_on: &Version,
        deadline: Instant,
    ) -> Result<Written, Failure> {
        let profile = self.client.profile(Some(deadline)).await?;
        let patches = self.client.patches(&profile);
        let guarded = profile.etag && decided_on.tag.is_some();
        let blind = guarded && patches && !values.is_empty() && !edit::needs_current(values);
        if !blind {
            return self.update_current(account, values, decided_on, deadline).await;
        }
        let body = edit::patch(values, &serde_json::Value::Null)?;
        let answer = self.client.change(Method::PATCH, account, &body, decided_on.tag.as_deref(), deadline).await?;
        match answer.status {
            // It says that it moved on. If its stamps say that it did not, the tag had another form than the server
            // wants: the account is read, and the tag of that very answer used.
            StatusCode::PRECONDITION_FAILED => self.update_current(account, values, decided_on, deadline).await,
            status if refuses_patch(status) && !answer.is_html() => {
                self.client.note_no_patch();
                self.update_current(account, values, decided_on, deadline).await
            }
            _ => self.changed(&answer, account, values, deadline).await,
        }
    }

    /// Reads the account, and changes it if it is still in the state that the write was decided on. Between the two, the
    /// tag of what was read guards it, if the server has tags; else an edit within this one call is lost unseen.
    async fn update_current(
        &self,
        account: &AccountId,
        values: &Attributes,
        decided_on: &Version,
        deadline: Instant,
    ) -> Result<Written, Failure> {
        let profile = self.client.profile(Some(deadline)).await?;
        let current = match self.client.fetch("get", account, Some(deadline)).await? {
            Fetched::Found(current) => *current,
            Fetched::Absent(asked_at) => return self.gone(asked_at, deadline).await,
            Fetched::Unreadable { code, attribute } => return Err(unusable(code, attribute)),
        };
        if moved(&current.snapshot.version, decided_on, profile.etag) {
            return Ok(Written::Moved(current.snapshot));
        }
        if holds(&current, values) {
            return Ok(Written::Done(current.snapshot));
        }
        let tag = current.etag.as_deref().or(current.snapshot.version.tag.as_deref());
        if self.client.patches(&profile) {
            let body = edit::patch(values, &current.resource)?;
            let answer = self.client.change(Method::PATCH, account, &body, tag, deadline).await?;
            if !refuses_patch(answer.status) || answer.is_html() {
                return self.changed_or_moved(&answer, account, values, deadline).await;
            }
            self.client.note_no_patch();
        }
        let mut body = current.resource.clone();
        edit::merge(&mut body, values)?;
        // The server's own, and refused or ignored in a request.
        if let Some(members) = body.as_object_mut() {
            members.retain(|name, _| !name.eq_ignore_ascii_case("meta") && !name.eq_ignore_ascii_case("groups"));
        }
        let answer = self.client.change(Method::PUT, account, &body, tag, deadline).await?;
        self.changed_or_moved(&answer, account, values, deadline).await
    }

    /// The outcome of a change that was guarded by a fresh tag: refused, the account moved on this very moment.
    async fn changed_or_moved(
        &self,
        answer: &Answer,
        account: &AccountId,
        values: &Attributes,
        deadline: Instant,
    ) -> Result<Written, Failure> {
        if answer.status != StatusCode::PRECONDITION_FAILED {
            return self.changed(answer, account, values, deadline).await;
        }
        match self.client.fetch("get", account, Some(deadline)).await? {
            Fetched::Found(current) => Ok(Written::Moved(current.snapshot)),
            Fetched::Absent(asked_at) => self.gone(asked_at, deadline).await,
            Fetched::Unreadable { code, attribute } => Err(unusable(code, attribute)),
        }
    }

    /// The outcome of a change, from any other answer.
    async fn changed(
        &self,
        answer: &Answer,
        account: &AccountId,
        values: &Attributes,
        deadline: Instant,
    ) -> Result<Written, Failure> {
        if answer.status.is_success() {
            return self.holds_now(answer, account, deadline).await;
        }
        if says_absent(answer) {
            return self.gone(answer.answered_at, deadline).await;
        }
        if answer.status == StatusCode::NOT_FOUND {
            return Err(not_scim(answer));
        }
        if let Some(attribute) = says_taken(answer, sends_unique(values)) {
            return Ok(Written::Exists { attribute });
        }
        Err(classify(answer, Subject::Account))
    }

    /// What an account holds after a write was carried out: from its answer, else read back. If neither can be had, the
    /// write is in doubt, since nobody knows what it put there.
    async fn holds_now(&self, answer: &Answer, account: &AccountId, deadline: Instant) -> Result<Written, Failure> {
        if answer.is_html() {
            return Err(answer.unreadable("the answer to the write does not come from a SCIM server"));
        }
        let shows_values = |current: &Current| super::resource::member(&current.resource, "userName").is_some();
        if !answer.body.trim().is_empty()
            && let Ok(Fetched::Found(current)) = self.client.current(answer, account, answer.answered_at)
            && shows_values(&current)
        {
            return Ok(Written::Done(current.snapshot));
        }
        match self.client.fetch("read_back", account, Some(deadline)).await {
            Ok(Fetched::Found(current)) => Ok(Written::Done(current.snapshot)),
            Ok(Fetched::Absent(asked_at)) => self.gone(asked_at, deadline).await.map_err(Failure::in_doubt),
            Ok(Fetched::Unreadable { code, attribute }) => Err(unusable(code, attribute).in_doubt()),
            Err(failure) => {
                let text = format!("the write was carried out but could not be read back: {}", failure.message);
                Err(Failure { code: Code::known("read_back"), message: text.into(), ..failure }.in_doubt())
            }
        }
    }

    /// There is no such account, if a SCIM server says so and not a gateway.
    async fn gone(&self, asked_at: Timestamp, deadline: Instant) -> Result<Written, Failure> {
        self.client.prove_endpoint(Some(deadline)).await?;
        Ok(Written::Gone(asked_at))
    }
}

/// Whether the server does not know PATCH at all.
fn refuses_patch(status: StatusCode) -> bool {
    matches!(status, StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED)
}

/// Whether an account is in another state than the one that a write was decided on: by the tags if the server keeps
/// them, else by the stamps, else by tags that it sends without a promise. With none of these, nobody can tell.
fn moved(now: &Version, decided_on: &Version, tags_count: bool) -> bool {
    let by_tag = now.tag.as_ref().zip(decided_on.tag.as_ref()).map(|(now, then)| now != then);
    let by_stamp = now.modified_at.zip(decided_on.modified_at).map(|(now, then)| now != then);
    let order = if tags_count { [by_tag, by_stamp] } else { [by_stamp, by_tag] };
    order.into_iter().flatten().next().unwrap_or(false)
}

/// Whether the account has all these values already.
fn holds(current: &Current, values: &Attributes) -> bool {
    values.iter().all(|(path, value)| {
        attribute(path).is_some_and(|attribute| {
            // Byte for byte: a value that differs in letter case only is still written, since somebody asked for it.
            value_of(&current.resource, attribute).is_ok_and(|found| found == *value)
        })
    })
}

/// Whether a write has values that may have to be unique.
fn sends_unique(values: &Attributes) -> bool {
    values.keys().any(|path| matches!(path.as_str(), "userName" | "emails"))
}

fn unusable(code: Code, attribute: Option<crate::domain::AttributePath>) -> Failure {
    let mut failure = Failure::new(FailureClass::Permanent, code, "the account cannot be used as it is");
    failure.attribute = attribute;
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_moved_if_its_tag_or_else_its_stamp_did() {
        let version = |stamp: Option<i64>, tag: Option<&str>| Version {
            modified_at: stamp.map(Timestamp),
            read_at: Timestamp(0),
            tag: tag.map(Box::from),
        };
        for (now, then, tags_count, expected) in [
            (version(Some(1), Some("a")), version(Some(1), Some("b")), true, true),
            (version(Some(2), Some("a")), version(Some(1), Some("a")), true, false),
            // Tags without a promise: the stamp counts first.
            (version(Some(1), Some("a")), version(Some(1), Some("b")), false, false),
            (version(Some(2), Some("a")), version(Some(1), Some("a")), false, true),
            (version(None, Some("a")), version(None, Some("b")), false, true),
            (version(None, None), version(None, Some("b")), true, false),
            (version(Some(1), None), version(None, None), true, false),
        ] {
            assert_eq!(moved(&now, &then, tags_count), expected, "{now:?} {then:?} {tags_count}");
        }
    }
}
