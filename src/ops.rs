//! What people do with Muster: one file per subject. The command line is a thin layer over it.

pub mod backup;
pub mod bench;
pub mod check;
pub mod cli;
pub mod conflicts;
pub mod connect;
pub mod dead;
pub mod demo;
pub mod exit;
pub mod explain;
pub mod held;
pub mod init;
pub mod links;
pub mod map;
pub mod outage;
pub mod output;
pub mod pause;
pub mod plan;
pub mod replay;
pub mod run;
pub mod simulate;
pub mod status;
pub mod sync;
pub mod topology;
pub mod undo;
pub mod worker;
