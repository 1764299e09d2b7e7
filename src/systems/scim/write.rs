//! Writing one account: create, or change what differs unless the account moved on.

use reqwest::StatusCode;
use serde_json::Value as Json;
use tokio::time::Instant;

use super::Scim;
use super::attributes::attribute;
use super::client::{Current, Fetched, Request, not_scim};
use super::edit;
use super::errors::{Subject, classify, gives_no_reason, objects_to_form, says_absent, says_taken};
use super::profile::{Guard, Seen};
use super::resource::{contents_tag, id_of, server_tag, value_of};
use super::style::{Style, Uses};
use crate::domain::{
    AccountId, AttributePath, Attributes, Code, Failure, FailureClass, Snapshot, Timestamp, Value, Version,
};
use crate::systems::http::Answer;
use crate::systems::{Action, SearchKey, Write, Written, not_offered};

impl Scim {
    /// Writes one account, see [`System::write`](crate::systems::System::write).
    pub(super) async fn write_one(&self, write: &Write, deadline: Instant) -> Written {
        let result = match &write.action {
            Action::Create { partner } => self.create(partner, &write.values, deadline).await,
            Action::Update { account, unless_changed_since } => {
                self.update(account, &write.values, unless_changed_since, deadline).await
            }
            Action::Delete { account, unless_changed_since } => {
                self.delete(account, unless_changed_since, deadline).await
            }
            Action::Remove { .. } => Err(not_offered()),
        };
        result.unwrap_or_else(Written::Failed)
    }

    async fn create(&self, partner: &AccountId, values: &Attributes, deadline: Instant) -> Result<Written, Failure> {
        let body = edit::create(values, partner)?;
        let uses = Uses::of(&body);
        let worded = |style: Style| {
            let mut body = body.clone();
            style.word(&mut body);
            Ok(body)
        };
        let answer = self.in_words(Request::Create, uses, &worded, deadline).await?;
        if answer.status.is_success() {
            let written = self.created(&answer, deadline).await?;
            if let Written::Done(snapshot) = &written
                && snapshot.partner.as_ref() != Some(partner)
                && !self.client.known_profile().forgets_external_id
            {
                self.client.learn(Seen::ExternalIdForgotten);
                tracing::warn!(
                    "The SCIM server drops externalId: an account whose creation is cut off is found by its user name \
                     only, and counts as one that was there before"
                );
            }
            return Ok(written);
        }
        if let Some(attribute) = self.taken(&answer, values, None, deadline).await? {
            return Ok(Written::Exists { attribute });
        }
        Err(classify(&answer, Subject::Roster))
    }

    /// Sends a write in each wording that may be the server's, until one is understood. The answer is that, or the
    /// first refusal: what the server says of the wording that it is most likely to know.
    async fn in_words(
        &self,
        request: Request<'_>,
        uses: Uses,
        worded: &(dyn Fn(Style) -> Result<Json, Failure> + Send + Sync),
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        let mut refused = None;
        for style in self.client.known_profile().styles.candidates(uses) {
            let answer = self.client.write(request, Some(&worded(style)?), deadline).await?;
            let Some(depth) = objects_to_form(&answer) else {
                if answer.status.is_success() {
                    self.client.learn(Seen::Understood(style, uses));
                }
                return Ok(answer);
            };
            self.client.learn(Seen::Misunderstood { style, uses, depth });
            refused.get_or_insert(answer);
        }
        Ok(refused.expect("there is always a wording to try"))
    }

    /// Whether an answer says that a unique value is taken. Of a 400 without a reason nobody can tell, so the account
    /// that would have the user name is looked for.
    async fn taken(
        &self,
        answer: &Answer,
        values: &Attributes,
        own: Option<&AccountId>,
        deadline: Instant,
    ) -> Result<Option<Option<AttributePath>>, Failure> {
        if let Some(attribute) = says_taken(answer, sends_unique(values)) {
            return Ok(Some(attribute));
        }
        let name = values.iter().find(|(path, _)| path.as_str() == "userName");
        if let Some((path, Some(Value::Text(name)))) = name
            && gives_no_reason(answer)
        {
            let key = SearchKey::Attribute(path.clone(), name.clone());
            let holders = self.with_keys(std::slice::from_ref(&key), Some(deadline)).await?;
            if holders.iter().flatten().any(|holder| Some(&holder.account) != own) {
                return Ok(Some(Some(path.clone())));
            }
        }
        Ok(None)
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
        let tag = server_tag(decided_on).filter(|_| profile.guard == Guard::Heeded && profile.patches());
        // An entry of a list can only be told from the others by looking at them.
        if let Some(tag) = tag
            && !values.is_empty()
            && !edit::needs_current(values)
            && let Some(answer) = self.patch(account, values, &Json::Null, Some(tag), deadline).await?
            // It says that it moved on. If its stamps say that it did not, the tag had another form than the server
            // wants: the account is read, and the tag of that very answer used.
            && answer.status != StatusCode::PRECONDITION_FAILED
        {
            return self.changed(&answer, account, values, deadline).await;
        }
        self.update_current(account, values, decided_on, deadline).await
    }

    /// Reads the account, and changes it if it is still in the state that the write was decided on. Between the two, the
    /// tag of what was read guards it, if the server heeds tags; else an edit within this one call is lost unseen.
    async fn update_current(
        &self,
        account: &AccountId,
        values: &Attributes,
        decided_on: &Version,
        deadline: Instant,
    ) -> Result<Written, Failure> {
        let current = match self.client.fetch("get", account, Some(deadline)).await? {
            Fetched::Found(current) => *current,
            Fetched::Absent(asked_at) => return self.gone(asked_at, deadline).await,
            Fetched::Unreadable { code, attribute } => return Err(unusable(code, attribute)),
        };
        let profile = self.client.profile(Some(deadline)).await?;
        if moved(&current.snapshot, decided_on, profile.tags_count()) {
            return Ok(Written::Moved(current.snapshot));
        }
        if holds(&current, values) {
            return Ok(Written::Done(current.snapshot));
        }
        let tag = current.tag().filter(|_| profile.sends_tags());
        // The others of a batch do not wait for the one that shows what tags are good for: they have just read too.
        let mut unclear = false;
        if let Some(tag) = tag
            && profile.guard == Guard::Unproven
            && let Ok(_proving) = self.proving.try_lock()
        {
            // Sent with a tag that is wrong: refused, tags are heeded. Carried out, they are not, and what was wanted
            // is done, no less safely than at any server without them.
            let answer = self.change(account, values, &current, Some(&another_tag(tag)), deadline).await?;
            match answer.status {
                StatusCode::PRECONDITION_FAILED => self.client.learn(Seen::TagHeeded),
                // It may be the tag that it objects to.
                StatusCode::BAD_REQUEST => unclear = true,
                status => {
                    if status.is_success() {
                        self.client.learn(Seen::TagIgnored);
                    }
                    return self.changed(&answer, account, values, deadline).await;
                }
            }
        }
        let answer = self.change(account, values, &current, tag, deadline).await?;
        if answer.status != StatusCode::PRECONDITION_FAILED {
            if unclear && answer.status.is_success() {
                self.client.learn(Seen::TagIgnored);
            }
            return self.changed(&answer, account, values, deadline).await;
        }
        // Its own tag was refused: the account moved on this very moment, or no tag ever matches.
        match self.client.fetch("get", account, Some(deadline)).await? {
            Fetched::Found(now) if tag.is_none() || moved(&now.snapshot, &current.snapshot.version, true) => {
                Ok(Written::Moved(now.snapshot))
            }
            Fetched::Found(_) => {
                self.client.learn(Seen::TagNeverMatches);
                let answer = self.change(account, values, &current, None, deadline).await?;
                self.changed(&answer, account, values, deadline).await
            }
            Fetched::Absent(asked_at) => self.gone(asked_at, deadline).await,
            Fetched::Unreadable { code, attribute } => Err(unusable(code, attribute)),
        }
    }

    /// Changes an account: by PATCH, or by replacing it whole where the server has no PATCH.
    async fn change(
        &self,
        account: &AccountId,
        values: &Attributes,
        current: &Current,
        tag: Option<&str>,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        if self.client.known_profile().patches()
            && let Some(answer) = self.patch(account, values, &current.resource, tag, deadline).await?
        {
            return Ok(answer);
        }
        let mut body = current.resource.clone();
        edit::merge(&mut body, values)?;
        // The server's own, and refused or ignored in a request.
        if let Some(members) = body.as_object_mut() {
            members.retain(|name, _| !name.eq_ignore_ascii_case("meta") && !name.eq_ignore_ascii_case("groups"));
        }
        Style::default().word(&mut body);
        let uses = Uses::of(&body);
        let worded = |style: Style| {
            let mut body = body.clone();
            style.word(&mut body);
            Ok(body)
        };
        self.in_words(Request::Replace(account, tag), uses, &worded, deadline).await
    }

    /// Changes an account by PATCH; `None` if the server has none.
    async fn patch(
        &self,
        account: &AccountId,
        values: &Attributes,
        current: &Json,
        tag: Option<&str>,
        deadline: Instant,
    ) -> Result<Option<Answer>, Failure> {
        let uses = Uses::of(&edit::patch(values, current, false)?);
        let worded = |style: Style| {
            let mut body = edit::patch(values, current, style.whole_lists)?;
            style.word(&mut body);
            Ok(body)
        };
        let answer = self.in_words(Request::Patch(account, tag), uses, &worded, deadline).await?;
        if refuses_patch(answer.status) && !answer.is_html() {
            self.client.learn(Seen::PatchRefused);
            return Ok(None);
        }
        Ok(Some(answer))
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
        if let Some(attribute) = self.taken(answer, values, Some(account), deadline).await? {
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

    /// Deletes an account that is still in the state that this was decided on. Servers that only hide what they delete
    /// answer alike.
    async fn delete(&self, account: &AccountId, decided_on: &Version, deadline: Instant) -> Result<Written, Failure> {
        let current = match self.client.fetch("get", account, Some(deadline)).await? {
            Fetched::Found(current) => *current,
            Fetched::Absent(asked_at) => return self.gone(asked_at, deadline).await,
            Fetched::Unreadable { code, attribute } => return Err(unusable(code, attribute)),
        };
        let profile = self.client.profile(Some(deadline)).await?;
        if moved(&current.snapshot, decided_on, profile.tags_count()) {
            return Ok(Written::Moved(current.snapshot));
        }
        let tag = current.tag().filter(|_| profile.guard == Guard::Heeded);
        let answer = self.client.write(Request::Delete(account, tag), None, deadline).await?;
        if answer.status.is_success() && !answer.is_html() {
            return Ok(Written::Ended);
        }
        if says_absent(&answer) {
            return self.gone(answer.answered_at, deadline).await;
        }
        match answer.status {
            StatusCode::PRECONDITION_FAILED => match self.client.fetch("get", account, Some(deadline)).await? {
                Fetched::Found(now) => Ok(Written::Moved(now.snapshot)),
                Fetched::Absent(asked_at) => self.gone(asked_at, deadline).await,
                Fetched::Unreadable { code, attribute } => Err(unusable(code, attribute)),
            },
            StatusCode::NOT_FOUND => Err(not_scim(&answer)),
            _ => Err(classify(&answer, Subject::Account)),
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
/// them, else by the stamps, else by tags that it sends without a promise, or by what the account holds.
fn moved(now: &Snapshot, decided_on: &Version, tags_count: bool) -> bool {
    let own_tag = decided_on.tag.as_deref().filter(|_| server_tag(decided_on).is_none());
    let by_contents = own_tag.map(|then| *contents_tag(&now.attributes) != *then);
    let by_tag = server_tag(&now.version).zip(server_tag(decided_on)).map(|(now, then)| now != then);
    let by_stamp = now.version.modified_at.zip(decided_on.modified_at).map(|(now, then)| now != then);
    let order = if tags_count { [by_tag, by_stamp, by_contents] } else { [by_stamp, by_tag, by_contents] };
    order.into_iter().flatten().next().unwrap_or(false)
}

/// A tag in the form of this one that is no account's: nobody gave it out.
fn another_tag(tag: &str) -> String {
    match tag.strip_suffix('"') {
        Some(open) => format!("{open}0\""),
        None => format!("{tag}0"),
    }
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

fn unusable(code: Code, attribute: Option<AttributePath>) -> Failure {
    let mut failure = Failure::new(FailureClass::Permanent, code, "the account cannot be used as it is");
    failure.attribute = attribute;
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_moved_if_its_tag_or_else_its_stamp_or_else_its_contents_did() {
        let version = |stamp: Option<i64>, tag: Option<&str>| Version {
            modified_at: stamp.map(Timestamp),
            read_at: Timestamp(0),
            tag: tag.map(Box::from),
        };
        let attributes: Attributes = [("title".parse().unwrap(), Some(Value::from("Lead")))].into();
        let contents = contents_tag(&attributes);
        for (now, then, tags_count, expected) in [
            (version(Some(1), Some("a")), version(Some(1), Some("b")), true, true),
            (version(Some(2), Some("a")), version(Some(1), Some("a")), true, false),
            // Tags without a promise: the stamp counts first.
            (version(Some(1), Some("a")), version(Some(1), Some("b")), false, false),
            (version(Some(2), Some("a")), version(Some(1), Some("a")), false, true),
            (version(None, Some("a")), version(None, Some("b")), false, true),
            (version(None, None), version(None, Some("b")), true, false),
            (version(Some(1), None), version(None, None), true, false),
            (version(None, Some(&contents)), version(None, Some(&contents)), false, false),
            (version(None, Some(&contents)), version(None, Some("~0")), false, true),
            // A tag of ours is compared with what the account holds, whatever the server sends this time.
            (version(None, Some("a")), version(None, Some(&contents)), true, false),
        ] {
            let account = "1".parse().unwrap();
            let now = Snapshot { account, version: now, attributes: attributes.clone(), partner: None };
            assert_eq!(moved(&now, &then, tags_count), expected, "{now:?} {then:?} {tags_count}");
        }
    }

    #[test]
    fn another_tag_has_the_form_of_the_first() {
        for (tag, expected) in [("W/\"17\"", "W/\"170\""), ("\"ab\"", "\"ab0\""), ("17", "170")] {
            assert_eq!(another_tag(tag), expected);
        }
    }
}
