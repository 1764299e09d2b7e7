-- What the writes of each run have overwritten, in order.
CREATE TABLE overwritten (
  id INTEGER PRIMARY KEY,
  connection INTEGER NOT NULL,
  run TEXT NOT NULL,
  expires_at INTEGER NOT NULL,
  entry TEXT NOT NULL  -- see src/store/packed/overwritten.rs
) STRICT;
CREATE INDEX overwritten_by_run ON overwritten (connection, run, id);
CREATE INDEX overwritten_by_expiry ON overwritten (expires_at);
