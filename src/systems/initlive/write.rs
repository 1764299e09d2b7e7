//! Writing one user: create or attach, or change what differs unless the user moved on.

use reqwest::StatusCode;
use serde_json::{Value as Json, json};
use tokio::time::Instant;

use super::InitLive;
use super::attributes::EXTERNAL_ID;
use super::client::{Current, Fetched};
use super::errors::{OWNED_ELSEWHERE, Subject, classify, says_absent, says_taken};
use super::user::{change, creation, holds, id_of, moved, partner_of, username_of};
use crate::domain::{AccountId, AttributePath, Attributes, Code, Failure, FailureClass, Timestamp, Value, Version};
use crate::systems::http::{Answer, Call};
use crate::systems::{Action, SearchKey, Write, Written, not_offered};

impl InitLive {
    /// Writes one account, see [`System::write`](crate::systems::System::write).
    pub(super) async fn write_one(&self, write: &Write, deadline: Instant) -> Written {
        let result = match &write.action {
            Action::Create { partner } => self.create(partner, write, deadline).await,
            Action::Update { account, unless_changed_since } => {
                self.update(account, write, unless_changed_since, deadline).await
            }
            Action::Remove { account, unless_changed_since } => {
                self.remove(account, write, unless_changed_since, deadline).await
            }
            Action::Delete { .. } => Err(not_offered()),
        };
        result.unwrap_or_else(Written::Failed)
    }

    async fn create(&self, partner: &AccountId, write: &Write, deadline: Instant) -> Result<Written, Failure> {
        let body = creation(partner, &write.values, &self.defaults)?;
        let key_path: AttributePath = "emails".parse().expect("a constant path");
        let Some(address) = username_of(&body) else {
            let text = "each user has an e-mail address";
            let failure = Failure::new(FailureClass::Permanent, Code::known("cannot_be_cleared"), text);
            return Err(failure.at(key_path));
        };
        // A member who has the address is somebody's account already. The creation would look like a success there.
        let key = SearchKey::Attribute(key_path.clone(), address.to_owned());
        let members = self.with_keys(std::slice::from_ref(&key), Some(deadline)).await?;
        let account = match members.into_iter().flatten().next() {
            // Ours: the answer to its creation was lost.
            Some(member) if member.partner.as_ref() == Some(partner) => member.account,
            Some(_) => return Ok(Written::Exists { attribute: Some(key_path) }),
            None => {
                let call = Call::write("create", deadline).urgent(write.urgent);
                let answer = self.client.write(call, None, &body).await?;
                if !answer.status.is_success() {
                    return match says_taken(&answer) {
                        Some(attribute) => Ok(Written::Exists { attribute: Some(attribute) }),
                        None => Err(classify(&answer, Subject::Roster)),
                    };
                }
                created(&answer, address)?
            }
        };
        self.complete(partner, &account, write, deadline).await
    }

    /// Brings a user who was just created, or attached, to what was asked for.
    async fn complete(
        &self,
        partner: &AccountId,
        account: &AccountId,
        write: &Write,
        deadline: Instant,
    ) -> Result<Written, Failure> {
        // Read back always: the person may have had an account, and then nothing of what was sent is in it.
        let current = self.read_back(account, deadline).await?;
        let given = write.values.iter().filter(|(_, value)| value.is_some());
        let differs: Attributes = given
            .map(|(path, value)| (path.clone(), value.clone()))
            .filter(|(path, value)| !holds(&current.user, &Attributes::from([(path.clone(), value.clone())])))
            .collect();
        let is_marked = partner_of(&current.user).as_ref() == Some(partner);
        if differs.is_empty() && is_marked {
            return Ok(Written::Done(current.snapshot));
        }
        let mut body = change(&differs, &current.user).map_err(Failure::in_doubt)?;
        body.insert(EXTERNAL_ID.to_owned(), json!(partner.as_str()));
        match self.set(account, &Json::Object(body), write, deadline).await {
            Ok(set) => Ok(Written::Done(set.snapshot)),
            Err(failure) if failure.code.as_str() == OWNED_ELSEWHERE => {
                if differs.is_empty() {
                    // Only the partner's id is missing, which nobody but us needs.
                    return Ok(Written::Done(current.snapshot));
                }
                let text = format!(
                    "the person had an account, was added to the organisation as user {account}, and keeps a profile with \
                     other values"
                );
                Err(Failure { message: text.into(), ..failure }.in_doubt())
            }
            // The person is a member by now, whatever became of the change.
            Err(failure) => Err(failure.in_doubt()),
        }
    }

    async fn update(
        &self,
        account: &AccountId,
        write: &Write,
        decided_on: &Version,
        deadline: Instant,
    ) -> Result<Written, Failure> {
        // What must not be sent is refused before any call.
        change(&write.values, &Json::Null)?;
        let current = match self.client.fetch("get", account, Some(deadline)).await? {
            Fetched::Found(current) => *current,
            Fetched::Absent(asked_at) => return self.gone(asked_at, deadline).await,
            Fetched::Unreadable { code, attribute } => {
                let text = "the user cannot be used as they are";
                return Err(Failure { attribute, ..Failure::new(FailureClass::Permanent, code, text) });
            }
        };
        if moved(&current.snapshot, decided_on) {
            return Ok(Written::Moved(current.snapshot));
        }
        if holds(&current.user, &write.values) {
            return Ok(Written::Done(current.snapshot));
        }
        let body = Json::Object(change(&write.values, &current.user)?);
        let call = Call::write("update", deadline).urgent(write.urgent);
        let answer = self.client.write(call, Some(account), &body).await?;
        if answer.status.is_success() {
            return Ok(Written::Done(self.holds_now(&answer, account, deadline).await?.snapshot));
        }
        if says_absent(&answer) {
            return self.gone(answer.answered_at, deadline).await;
        }
        match says_taken(&answer) {
            Some(attribute) => Ok(Written::Exists { attribute: Some(attribute) }),
            None => Err(self.refusal(&answer, deadline).await),
        }
    }

    /// Ends a membership. The person stays, and so do their other organisations.
    async fn remove(
        &self,
        account: &AccountId,
        write: &Write,
        decided_on: &Version,
        deadline: Instant,
    ) -> Result<Written, Failure> {
        let current = match self.client.fetch("get", account, Some(deadline)).await? {
            Fetched::Found(current) => *current,
            Fetched::Absent(asked_at) => return self.gone(asked_at, deadline).await,
            Fetched::Unreadable { code, attribute } => {
                let text = "the user cannot be used as they are";
                return Err(Failure { attribute, ..Failure::new(FailureClass::Permanent, code, text) });
            }
        };
        if moved(&current.snapshot, decided_on) {
            return Ok(Written::Moved(current.snapshot));
        }
        let answer = self.client.remove(Call::write("remove", deadline).urgent(write.urgent), account).await?;
        if answer.status.is_success() && !answer.is_html() {
            return Ok(Written::Ended);
        }
        match says_absent(&answer) {
            true => self.gone(answer.answered_at, deadline).await,
            false => Err(self.refusal(&answer, deadline).await),
        }
    }

    /// Changes a user; what they hold then.
    async fn set(
        &self,
        account: &AccountId,
        body: &Json,
        write: &Write,
        deadline: Instant,
    ) -> Result<Current, Failure> {
        let call = Call::write("update", deadline).urgent(write.urgent);
        let answer = self.client.write(call, Some(account), body).await?;
        match answer.status.is_success() {
            true => self.holds_now(&answer, account, deadline).await,
            false => Err(self.refusal(&answer, deadline).await),
        }
    }

    /// What a refused change means. One person's profile, or a key that may change nobody: a creation that cannot be
    /// carried out tells the two apart.
    async fn refusal(&self, answer: &Answer, deadline: Instant) -> Failure {
        let failure = classify(answer, Subject::User);
        if failure.code.as_str() != OWNED_ELSEWHERE {
            return failure;
        }
        match self.client.try_to_create(Some(deadline)).await {
            Ok(tried) if tried.status == StatusCode::FORBIDDEN => classify(answer, Subject::Roster),
            _ => failure,
        }
    }

    /// What a user holds after a change was carried out: from its answer, else read back.
    async fn holds_now(&self, answer: &Answer, account: &AccountId, deadline: Instant) -> Result<Current, Failure> {
        if answer.is_html() {
            return Err(answer.unreadable("the answer to the write does not come from InitLive"));
        }
        match self.client.shown(answer, account, answer.answered_at) {
            Ok(Fetched::Found(current)) if username_of(&current.user).is_some() => Ok(*current),
            _ => self.read_back(account, deadline).await,
        }
    }

    /// Reads a user who was written. If that fails the write is in doubt, since nobody knows what it left.
    async fn read_back(&self, account: &AccountId, deadline: Instant) -> Result<Current, Failure> {
        let failed = |failure: Failure| {
            let text = format!("the write was carried out but could not be read back: {}", failure.message);
            Failure { code: Code::known("read_back"), message: text.into(), ..failure }.in_doubt()
        };
        match self.client.fetch("read_back", account, Some(deadline)).await.map_err(failed)? {
            Fetched::Found(current) => Ok(*current),
            Fetched::Absent(_) => {
                let text = "the user who was written is not there";
                Err(failed(Failure::new(FailureClass::Transient, Code::known("read_back"), text)))
            }
            Fetched::Unreadable { code, attribute } => {
                let text = "the user cannot be used as they are";
                Err(Failure { attribute, ..Failure::new(FailureClass::Permanent, code, text) }.in_doubt())
            }
        }
    }

    /// There is no such user, if the organisation can be seen at all.
    async fn gone(&self, asked_at: Timestamp, deadline: Instant) -> Result<Written, Failure> {
        self.client.prove_roster(Some(deadline)).await?;
        Ok(Written::Gone(asked_at))
    }
}

/// The user that a creation answered with: of an array the one with the address, else the only one.
fn created(answer: &Answer, address: &str) -> Result<AccountId, Failure> {
    let users = match answer.json()? {
        Json::Array(users) => users,
        user => vec![user],
    };
    let same = |user: &&Json| {
        let comparison = super::attributes::ATTRIBUTES[0].comparison;
        let found = username_of(user).map(Value::from);
        comparison.equal(found.as_ref(), Some(&Value::from(address)))
    };
    let only = || users.first().filter(|_| users.len() == 1);
    let user = users.iter().find(same).or_else(only);
    user.and_then(id_of).ok_or_else(|| {
        // Who was created is unknown: the search by the address will find them.
        answer.unreadable("the answer to the creation does not name the user")
    })
}
