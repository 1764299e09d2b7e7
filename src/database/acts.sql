-- What people did. `number` is that of the entry; the line is checked on its text, see src/domain/audit/chain.rs.
CREATE TABLE acts (
  number INTEGER PRIMARY KEY,
  line TEXT NOT NULL
) STRICT;

-- `last`: the entry that was appended last. `anchor`: the last one that is not kept any more. `place` is
-- `<chain>:<number>:<hash>`.
CREATE TABLE act_ends (
  name TEXT PRIMARY KEY,
  place TEXT NOT NULL
) STRICT, WITHOUT ROWID;
