//! The table of endpoints.

use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Answer, Endpoint, Nothing, act, ask, look};
use crate::config::Role::{Admin, Approver, Operator, Viewer};
use crate::console::accounts::{AccountAsk, Explained, Found};
use crate::console::act::{Act, GiveBack, HeldMeant, ImportLinks, Outcome, SyncNow};
use crate::console::approvals::{Approval, ApprovalPage};
use crate::console::audit::ActView;
use crate::console::conflicts::{ConflictAsk, ConflictList, ConflictPage};
use crate::console::held::{HeldAsk, HeldList};
use crate::console::letters::{Cause, LetterAsk, LetterList, LetterPage, LettersMeant, PageAsk, Preview, filter};
use crate::console::links::{Imported, Missing};
use crate::console::overview::{ConnectionView, Overview, RunView};
use crate::console::problem::Problem;
use crate::console::retries::Retry;
use crate::domain::ConnectionName;
use crate::domain::dead_letter::DiscardReason;
use crate::domain::hold::Verdict;

/// Letters of one preview, where nobody says how many, and at most.
const PREVIEWED: (u32, u32) = (20, 200);

/// Acts of one answer at most.
const ACTS_TOLD: usize = 500;

/// Accounts of one answer at most.
const MISSING_TOLD: usize = 1_000;

impl Answer for Overview {}
impl Answer for LetterList {}
impl Answer for LetterPage {}
impl Answer for Preview {}
impl Answer for HeldList {}
impl Answer for ConflictList {}
impl Answer for ConflictPage {}
impl Answer for Missing {}
impl Answer for Imported {}
impl Answer for Retry {}
impl Answer for ApprovalPage {}
impl Answer for Me {}
impl<T: Serialize + JsonSchema + Send + 'static> Answer for List<T> {}

impl Answer for Outcome {
    fn status(&self) -> StatusCode {
        if self.waits() { StatusCode::ACCEPTED } else { StatusCode::OK }
    }
}

/// A list.
#[derive(Debug, Serialize, JsonSchema)]
struct List<T> {
    /// What is in it.
    items: Vec<T>,
}

/// Who asks.
#[derive(Debug, Serialize, JsonSchema)]
struct Me {
    /// The person.
    name: String,
    /// `viewer`, `operator`, `approver` or `admin`.
    role: String,
}

/// Something by its id.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Named {
    /// Its id.
    id: String,
}

/// A letter.
#[derive(Debug, Deserialize, JsonSchema)]
struct LetterNamed {
    /// Its id, with each `/` written as `%2F`.
    id: String,
    /// Ask both systems what they hold now.
    #[serde(default)]
    live: bool,
}

/// Which letters, and which page of them.
#[derive(Debug, Deserialize, JsonSchema)]
struct LetterQuery {
    #[serde(flatten)]
    ask: LetterAsk,
    #[serde(flatten)]
    page: PageAsk,
}

/// Letters to look at.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PreviewAsk {
    /// Which.
    #[serde(flatten)]
    meant: LettersMeantFlat,
    /// Letters to look at, at most: 20, or up to 200.
    #[serde(default)]
    limit: Option<u32>,
}

/// Letters to send again.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RetryAsk {
    /// Which.
    #[serde(flatten)]
    meant: LettersMeantFlat,
    /// Send so many first, wait for what comes of them, and stop if one fails again.
    #[serde(default)]
    canary: u32,
    /// Letters a second at most, 1 to 100000.
    #[serde(default)]
    rate: Option<u32>,
}

/// Letters to close.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DiscardAsk {
    /// Which.
    #[serde(flatten)]
    meant: LettersMeantFlat,
    /// Why: `accepted`, `fixed-elsewhere`, `not-wanted` or `obsolete`.
    #[schemars(with = "String")]
    reason: DiscardReason,
    /// What else there is to say, at most 1000 characters.
    #[serde(default)]
    text: Option<String>,
}

/// Which letters, beside other fields.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct LettersMeantFlat {
    /// Their ids.
    letters: Vec<String>,
    /// A filter.
    #[serde(deserialize_with = "filter")]
    filter: LetterAsk,
    /// All open letters.
    all: bool,
}

impl From<LettersMeantFlat> for LettersMeant {
    fn from(LettersMeantFlat { letters, filter, all }: LettersMeantFlat) -> Self {
        Self { letters, filter, all }
    }
}

/// A connection, or all of them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OfConnection {
    /// The connection; all of them if none is named.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    connection: Option<ConnectionName>,
}

/// One connection.
#[derive(Debug, Deserialize, JsonSchema)]
struct OneConnection {
    /// The connection.
    #[schemars(with = "String")]
    connection: ConnectionName,
}

/// Every endpoint, in the order in which the description shows them.
pub(super) fn all() -> Vec<Endpoint> {
    let mut all = looks();
    all.extend(letters());
    all.extend(decisions());
    all
}

fn looks() -> Vec<Endpoint> {
    vec![
        look("/me", Viewer, "Who asks", async |_, person, _: Nothing| {
            Ok(Me { name: person.name, role: person.role.to_string() })
        }),
        look("/status", Viewer, "How everything stands", async |console: super::Shared, _, _: Nothing| {
            Ok(console.operations.overview().await?)
        }),
        look(
            "/connections",
            Viewer,
            "Connections, how fresh they are and what waits",
            async |console: super::Shared, _, _: Nothing| {
                Ok(List::<ConnectionView> { items: console.operations.overview().await?.connections })
            },
        ),
        look(
            "/runs",
            Viewer,
            "The latest runs of all connections, with their progress",
            async |console: super::Shared, _, _: Nothing| {
                let connections = console.operations.overview().await?.connections;
                Ok(List::<RunView> { items: connections.into_iter().flat_map(|connection| connection.runs).collect() })
            },
        ),
        look("/accounts", Viewer, "Find an account", async |console: super::Shared, _, ask: AccountAsk| {
            Ok(List::<Found> { items: console.operations.accounts(&ask).await.map_err(Problem::named)? })
        }),
        look("/audit", Admin, "Who did what, the latest first", async |console: super::Shared, _, _: Nothing| {
            Ok(List::<ActView> { items: console.operations.audit(ACTS_TOLD).await? })
        }),
        look(
            "/accounts/explain",
            Viewer,
            "Why an account is as it is",
            async |console: super::Shared, person, ask: AccountAsk| {
                let explained = console.operations.explain(&ask, person.values()).await.map_err(Problem::named)?;
                Ok(List::<Explained> { items: explained })
            },
        ),
    ]
}

fn letters() -> Vec<Endpoint> {
    vec![
        look("/letters/groups", Viewer, "Open letters by cause", async |console: super::Shared, _, ask: LetterAsk| {
            Ok(List::<Cause> { items: console.operations.causes(&ask).await? })
        }),
        look(
            "/letters",
            Viewer,
            "Open letters, oldest first, page by page",
            async |console: super::Shared, _, query: LetterQuery| {
                Ok(console.operations.letters(&query.ask, &query.page).await?)
            },
        ),
        look(
            "/letters/{id}",
            Viewer,
            "One letter whole",
            async |console: super::Shared, person, named: LetterNamed| {
                console.operations.letter(&named.id, named.live, person.values()).await.map_err(Problem::named)
            },
        ),
        ask(
            "/letters/preview",
            Viewer,
            "What would come of sending letters again; nothing is written",
            async |console: super::Shared, person, ask: PreviewAsk| {
                let limit = ask.limit.unwrap_or(PREVIEWED.0).clamp(1, PREVIEWED.1) as usize;
                Ok(console.operations.preview(&ask.meant.into(), limit, person.values()).await?)
            },
        ),
        act("/letters/retry", Operator, "Send letters again", async |console: super::Shared, person, ask: RetryAsk| {
            let RetryAsk { meant, canary, rate } = ask;
            console.act(&person, Act::Retry { meant: meant.into(), canary, rate }).await
        }),
        act(
            "/letters/discard",
            Operator,
            "Close letters for good",
            async |console: super::Shared, person, ask: DiscardAsk| {
                let DiscardAsk { meant, reason, text } = ask;
                console.act(&person, Act::Discard { meant: meant.into(), reason, text }).await
            },
        ),
        look(
            "/retries",
            Viewer,
            "Retries of letters and how far they are",
            async |console: super::Shared, _, _: Nothing| {
                Ok(List::<Retry> { items: console.operations.retries().await? })
            },
        ),
        look("/retries/{id}", Viewer, "One retry", async |console: super::Shared, _, named: Named| {
            console.retry(&named.id).await
        }),
        act(
            "/retries/{id}/stop",
            Operator,
            "Stop a retry; it can be carried on",
            async |console: super::Shared, person, named: Named| {
                console.act(&person, Act::StopRetry { id: named.id }).await
            },
        ),
        act(
            "/retries/{id}/resume",
            Operator,
            "Carry a stopped retry on",
            async |console: super::Shared, person, named: Named| {
                console.act(&person, Act::ResumeRetry { id: named.id }).await
            },
        ),
    ]
}

fn decisions() -> Vec<Endpoint> {
    vec![
        look(
            "/held",
            Viewer,
            "Writes that a guard has stopped",
            async |console: super::Shared, person, ask: HeldAsk| {
                Ok(console.operations.held(&ask, person.values()).await?)
            },
        ),
        act(
            "/held/approve",
            Operator,
            "Let held writes pass",
            async |console: super::Shared, person, meant: HeldMeant| {
                console.act(&person, Act::DecideHeld { meant, verdict: Verdict::Approved }).await
            },
        ),
        act(
            "/held/reject",
            Operator,
            "Refuse held writes",
            async |console: super::Shared, person, meant: HeldMeant| {
                console.act(&person, Act::DecideHeld { meant, verdict: Verdict::Rejected }).await
            },
        ),
        look(
            "/conflicts",
            Viewer,
            "Values that lost a conflict, newest first",
            async |console: super::Shared, person, ask: ConflictAsk| {
                Ok(console.operations.conflicts(&ask, person.values()).await?)
            },
        ),
        look(
            "/conflicts/{id}",
            Viewer,
            "One of them, with what both sides hold now",
            async |console: super::Shared, person, named: Named| {
                console.operations.conflict(&named.id, person.values()).await.map_err(Problem::named)
            },
        ),
        act(
            "/conflicts/give-back",
            Operator,
            "Give values back, and pin them if asked to",
            async |console: super::Shared, person, ask: GiveBack| console.act(&person, Act::GiveBack { ask }).await,
        ),
        look(
            "/links/missing",
            Operator,
            "Who is on one side only; both systems are read, or were some minutes ago: `as_of` says when",
            async |console: super::Shared, person, of: OneConnection| {
                Ok(console.operations.missing(&of.connection, MISSING_TOLD, person.values()).await?)
            },
        ),
        ask(
            "/links/import/preview",
            Operator,
            "What would come of an import; nothing is linked",
            async |console: super::Shared, _, ask: ImportLinks| Ok(console.operations.preview_import(&ask).await?),
        ),
        act(
            "/links/import",
            Operator,
            "Link the pairs of a CSV file",
            async |console: super::Shared, person, ask: ImportLinks| {
                console.act(&person, Act::ImportLinks { ask }).await
            },
        ),
        act(
            "/pause",
            Operator,
            "Stop every write of a connection, or of all",
            async |console: super::Shared, person, of: OfConnection| {
                console.act(&person, Act::Pause { connection: of.connection }).await
            },
        ),
        act(
            "/resume",
            Operator,
            "Let the writes of a connection go on, or of all",
            async |console: super::Shared, person, of: OfConnection| {
                console.act(&person, Act::Resume { connection: of.connection }).await
            },
        ),
        act("/sync", Operator, "Ask for a run", async |console: super::Shared, person, ask: SyncNow| {
            console.act(&person, Act::Sync { ask }).await
        }),
        look(
            "/approvals",
            Viewer,
            "Acts that wait for a second person, and those that were decided",
            async |console: super::Shared, _, _: Nothing| {
                Ok(List::<Approval> { items: console.approvals.list(crate::console::now()) })
            },
        ),
        look(
            "/approvals/{id}",
            Operator,
            "One of them, with everything that it is about",
            async |console: super::Shared, person, named: Named| console.approval(&person, &named.id).await,
        ),
        act(
            "/approvals/{id}/approve",
            Approver,
            "Approve an act that another person asked for, and have it done",
            async |console: super::Shared, person, named: Named| console.approve(&person, &named.id).await,
        ),
        act(
            "/approvals/{id}/reject",
            Operator,
            "Refuse an act that waits, or take back one's own",
            async |console: super::Shared, person, named: Named| console.reject(&person, &named.id),
        ),
    ]
}
