-- The links of the embedded store, and what belongs to them. Ids of links, epochs and tokens are 64 bits, here as signed
-- numbers: printf('%016x', id) shows a link's id as everything else does. Times are milliseconds since 1970.

CREATE TABLE connections (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  epoch INTEGER,    -- NULL: none has begun yet, or the last one was lost
  began_at INTEGER  -- stays when the epoch is lost
) STRICT;

-- A table with row numbers: only there does a row of a kilobyte lie in one piece on its page.
CREATE TABLE links (
  place INTEGER PRIMARY KEY,
  connection INTEGER NOT NULL,
  id INTEGER NOT NULL,
  packed TEXT NOT NULL,  -- revision, colon, document: see src/store/packed.rs
  UNIQUE (connection, id)
) STRICT;

CREATE TABLE claims (
  connection INTEGER NOT NULL,
  kind INTEGER NOT NULL,  -- account of a, account of b, key of a, key of b
  claim TEXT NOT NULL,
  link INTEGER NOT NULL,  -- its place
  PRIMARY KEY (connection, kind, claim)
) STRICT, WITHOUT ROWID;

-- Values that lost.
CREATE TABLE journal (
  id INTEGER PRIMARY KEY,
  connection INTEGER NOT NULL,
  link INTEGER NOT NULL,
  noted_at INTEGER NOT NULL,
  entry TEXT NOT NULL
) STRICT;
CREATE INDEX journal_of_link ON journal (link, connection);
CREATE INDEX journal_of_connection ON journal (connection);

-- Open letters. `connection` is a name: there are letters of none, and of some that are not configured any more.
CREATE TABLE open_letters (
  id TEXT PRIMARY KEY,
  connection TEXT,
  first_at INTEGER NOT NULL,
  letter TEXT NOT NULL
) STRICT;
CREATE INDEX open_letters_by_time ON open_letters (connection, first_at, id);

CREATE TABLE leases (
  connection INTEGER NOT NULL,
  name TEXT NOT NULL,
  token INTEGER NOT NULL,
  until INTEGER NOT NULL,
  PRIMARY KEY (connection, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE readers (
  connection INTEGER NOT NULL,
  side TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  state TEXT NOT NULL,
  PRIMARY KEY (connection, side)
) STRICT;

CREATE TABLE rereads (
  connection INTEGER NOT NULL,
  side TEXT NOT NULL,
  account TEXT NOT NULL,
  asked_at INTEGER NOT NULL,
  PRIMARY KEY (connection, side, account)
) STRICT, WITHOUT ROWID;
CREATE INDEX rereads_by_time ON rereads (connection, side, asked_at, account);

CREATE TABLE runs (
  place INTEGER PRIMARY KEY,
  connection INTEGER NOT NULL,
  id TEXT NOT NULL,
  about TEXT NOT NULL,  -- the run as it began
  began_at INTEGER NOT NULL,
  kept_ms INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  reading_a INTEGER NOT NULL,
  reading_b INTEGER NOT NULL,
  read INTEGER NOT NULL DEFAULT 0,
  emitted INTEGER NOT NULL DEFAULT 0,
  expected INTEGER,
  failed TEXT,
  UNIQUE (connection, id)
) STRICT;
CREATE INDEX runs_by_time ON runs (connection, began_at, id);
CREATE INDEX runs_by_expiry ON runs (expires_at);

CREATE TABLE run_outcomes (
  run INTEGER NOT NULL,  -- its place
  kind TEXT NOT NULL,    -- change or command
  outcome TEXT NOT NULL,
  count INTEGER NOT NULL,
  PRIMARY KEY (run, kind, outcome)
) STRICT, WITHOUT ROWID;

-- What was counted already: a byte a change, see src/store/embedded/books.rs.
CREATE TABLE run_marks (
  run INTEGER NOT NULL,  -- its place
  block INTEGER NOT NULL,
  marks BLOB NOT NULL,
  PRIMARY KEY (run, block)
) STRICT, WITHOUT ROWID;

CREATE TABLE requests (
  connection INTEGER NOT NULL,
  run TEXT NOT NULL,
  asked_at INTEGER NOT NULL,
  request TEXT NOT NULL,
  PRIMARY KEY (connection, run)
) STRICT, WITHOUT ROWID;

CREATE TABLE systems (
  name TEXT PRIMARY KEY,
  not_before INTEGER,
  reason TEXT,
  used INTEGER,
  allowed INTEGER
) STRICT, WITHOUT ROWID;

-- Calls taken lately, so that the windows of a system hold over a restart.
CREATE TABLE calls (
  system TEXT NOT NULL,
  bucket TEXT NOT NULL,
  at INTEGER NOT NULL
) STRICT;
CREATE INDEX calls_by_time ON calls (system, bucket, at);

CREATE TABLE instances (
  role TEXT NOT NULL,
  name TEXT NOT NULL,
  version TEXT NOT NULL,
  seen_at INTEGER NOT NULL,
  PRIMARY KEY (role, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE suspects (
  message TEXT PRIMARY KEY,
  begun INTEGER NOT NULL,
  last_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
