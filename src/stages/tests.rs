//! The stages over the broker and the store of [`crate::simulation`] and two systems in memory, with a clock that only
//! the test moves. A stage is
//! killed by dropping its future between two polls; everything in memory gives way before and after each effect, so
//! that it may die before it, after it, and before its answer arrives.

mod chaos;
mod counts;
mod faults;
mod guards;
mod leavers;
mod outages;
mod schedules;
mod system;
mod world;
