//! The merge table row by row, the traces of faults that simpler rules had, the laws that hold for all inputs, and a
//! small random world with a judge.

mod laws;
mod leavers;
mod made;
mod table;
mod traces;
pub(in crate::domain) mod vocabulary;
mod world;
