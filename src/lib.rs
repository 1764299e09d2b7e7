//! Muster keeps the user rosters of several systems in step.
//!
//! ```text
//!  system ──read──▶ producer ──Change──▶ mapper ──Command──▶ writer ──write──▶ system
//!                      │ cursor            │ link               │ link
//!                      └──────────────── store ─────────────────┘
//! ```
//!
//! Three stages, two hand-overs through a message broker, one store. Messages are hints and links are the truth: what a
//! side lacks is computed from the link, so a message may be repeated, reordered or late and the outcome is the same.
//!
//! The map, in reading order:
//!
//! - [`domain`]: every decision, as pure functions. Begin here.
//! - [`broker`], [`store`], [`systems`]: the three edges, each a trait and its implementations.
//! - [`database`]: the one file that is both broker and store of the embedded mode.
//! - [`stages`]: producer, mapper, writer: read from the edges, ask the domain, write to the edges.
//! - [`alerts`]: how people are told that a connection does not run as it should.
//! - [`expression`]: conditions that people write about accounts.
//! - [`config`]: one TOML file, parsed whole into validated types.
//! - [`ops`]: what the command line does, a file per subject.
//! - [`console`]: the same for programs over HTTP, and for people in a browser.
//! - [`telemetry`]: metrics, logs, health pages.
//! - [`sandbox`]: imitations of the systems, with faults on demand. It knows nothing of the rest.
//! - [`clock`]: what time it is for the stages, also where time is simulated.
//! - [`simulation`]: the real stages in a small world where everything goes wrong, and a judge at its end.
//!
//! Dependencies point one way: `bins → console → ops → stages → {broker, store, systems} → domain`.

pub mod alerts;
pub mod broker;
pub mod clock;
pub mod config;
pub mod console;
pub mod database;
pub mod domain;
pub mod expression;
pub mod failpoint;
pub mod ops;
pub mod sandbox;
pub mod simulation;
pub mod stages;
pub mod store;
pub mod systems;
pub mod telemetry;
