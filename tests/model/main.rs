//! An explicit-state model of one link, explored by Stateright: two systems with coarse clocks of their own, people who
//! edit either side, reads that come late, twice and out of order, a mapper and two writers that die between any two
//! steps, requests that are left behind, leases that run out, a store that is lost or restored. Every decision of the
//! pipeline is made by the functions of `muster::domain` that the stages call.
//!
//! Read [`setup`] for what varies, [`state`] for what a state is, [`act`] for what can happen, [`judge`] for what must
//! hold, [`bounds`] for what is explored, and [`traces`] for the stories that simpler rules got wrong.
//! `docs/two-way-proof.md` states the bounds; `MUSTER_MODEL=deep` widens them.

mod act;
mod bounds;
mod explore;
mod judge;
mod pipeline;
mod rank;
mod remote;
mod rest;
mod setup;
mod state;
mod traces;
mod writer;
