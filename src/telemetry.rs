//! What a process shows of its work: metrics, logs, health pages.
