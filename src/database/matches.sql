-- What is noted of the last match of the two systems' accounts: one JSON document a connection.
CREATE TABLE matches (
  connection INTEGER PRIMARY KEY,
  note TEXT NOT NULL
) STRICT;
