-- Links of which a write waits until nobody works with the account, and since when.
CREATE TABLE deferred (
  connection INTEGER NOT NULL,
  link INTEGER NOT NULL,  -- its place
  since INTEGER NOT NULL,
  PRIMARY KEY (connection, link)
) STRICT, WITHOUT ROWID;
CREATE INDEX deferred_by_time ON deferred (connection, since);
