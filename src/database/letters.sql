-- Open letters by fingerprint. `shelf` is their connection, but null for letters about messages, whatever theirs.
ALTER TABLE open_letters ADD COLUMN shelf TEXT;
ALTER TABLE open_letters ADD COLUMN fingerprint TEXT NOT NULL DEFAULT '';
ALTER TABLE open_letters ADD COLUMN last_at INTEGER NOT NULL DEFAULT 0;
UPDATE open_letters SET
  shelf = iif(id GLOB 'message/*', NULL, connection),
  fingerprint = ifnull(letter ->> '$.fingerprint.target', '') || ' ' || (letter ->> '$.fingerprint.class') || ' '
    || (letter ->> '$.fingerprint.code') || ' ' || ifnull(letter ->> '$.fingerprint.attribute', ''),
  last_at = letter ->> '$.last_at';
CREATE INDEX open_letters_by_fingerprint ON open_letters (shelf, fingerprint, first_at, id, last_at);

-- Retries of many letters.
CREATE TABLE redrives (
  id TEXT PRIMARY KEY,
  revision INTEGER NOT NULL,
  saved_at INTEGER NOT NULL,
  redrive TEXT NOT NULL
) STRICT, WITHOUT ROWID;
