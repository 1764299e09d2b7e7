-- By which timetable each connection runs, and how it stands.
CREATE TABLE schedules (
  connection INTEGER PRIMARY KEY,
  -- The three of a timetable; NULL before the first clerk looked.
  rule TEXT,
  since INTEGER,
  served INTEGER,
  watch TEXT  -- NULL: nothing is remembered
) STRICT;
