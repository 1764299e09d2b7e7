-- By how many milliseconds the clock of a system is ahead of this machine's, and when that was measured.
ALTER TABLE systems ADD COLUMN ahead_ms INTEGER;
ALTER TABLE systems ADD COLUMN ahead_at INTEGER;
