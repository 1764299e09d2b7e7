-- What guards count and hold.

-- Links of which something waits for a person, and since when.
CREATE TABLE held (
  connection INTEGER NOT NULL,
  link INTEGER NOT NULL,  -- its place
  since INTEGER NOT NULL,
  PRIMARY KEY (connection, link)
) STRICT, WITHOUT ROWID;
CREATE INDEX held_by_time ON held (connection, since, link);

-- Places taken in budgets lately.
CREATE TABLE spent (
  connection INTEGER NOT NULL,
  side TEXT NOT NULL,
  risk TEXT NOT NULL,
  act TEXT NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (connection, side, risk, act)
) STRICT, WITHOUT ROWID;
CREATE INDEX spent_by_time ON spent (connection, side, risk, at);

-- Connections that nobody writes for; '*' is all of them.
CREATE TABLE pauses (
  connection TEXT PRIMARY KEY,
  since INTEGER NOT NULL,
  by TEXT NOT NULL
) STRICT, WITHOUT ROWID;
