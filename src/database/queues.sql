-- The queues of the embedded broker, and what is said about the file as a whole.

-- `restored` = 1: this file is a copy made by `muster backup`. Whoever opens the links clears it, and begins a new epoch.
-- `worked_before` = 1: when this file was made, a process had worked here before, on a file that is gone.
-- `file`: the file itself, as the links knew it when they were opened last; a copy is another one.
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

-- A queue is there once it was declared. Its messages up to the place `taken` are out: in the hands of the one working
-- process, or given back by nobody because that process died. Those above it are ready.
CREATE TABLE queues (
    id    INTEGER PRIMARY KEY,
    name  TEXT NOT NULL UNIQUE,
    taken INTEGER NOT NULL
) STRICT;

-- Messages in the order in which they are taken: a place is the queue's id times 2^40, plus a number that counts up. A
-- message that comes back gets a new place, at the end. So no place above `taken` is ever missing, and taking many is one
-- range to read and one row to write. The place is the row number, since only then a row of some kilobytes lies in one
-- piece.
CREATE TABLE messages (
    place        INTEGER PRIMARY KEY,
    message_id   TEXT NOT NULL,
    attempt      INTEGER NOT NULL,
    traceparent  TEXT,
    redeliveries INTEGER NOT NULL,
    body         BLOB NOT NULL
) STRICT;

-- Each queue with the last place that was given in it. A place is never given twice.
CREATE VIEW queue_ends AS
SELECT id, name, taken, max(taken, ifnull((SELECT max(place) FROM messages WHERE place < (id + 1) << 40), 0)) AS last
FROM queues;

-- Messages that wait for their time: `due_at`, in milliseconds since 1970.
CREATE TABLE delayed (
    number      INTEGER PRIMARY KEY,
    due_at      INTEGER NOT NULL,
    queue       INTEGER NOT NULL REFERENCES queues (id),
    message_id  TEXT NOT NULL,
    attempt     INTEGER NOT NULL,
    traceparent TEXT,
    body        BLOB NOT NULL
) STRICT;
CREATE INDEX delayed_by_time ON delayed (due_at);

-- The log of dead letters. It is only ever added to; which of them are open, the store knows.
CREATE TABLE letter_log (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    message_id TEXT NOT NULL,
    body       BLOB NOT NULL
) STRICT;
