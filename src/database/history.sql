-- Changes with what was decided of them, so that they can be decided again under other rules.
CREATE TABLE history (
  id INTEGER PRIMARY KEY,
  connection INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  entry TEXT NOT NULL  -- JSON, see src/store/history.rs
) STRICT;
CREATE INDEX history_of_connection ON history (connection, id);
CREATE INDEX history_by_expiry ON history (expires_at);
