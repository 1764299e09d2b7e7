//! What the file promises whoever writes into it.
