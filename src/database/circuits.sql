-- How the calls of a system fare, and whether it may be called.
ALTER TABLE systems ADD COLUMN circuit_revision INTEGER;
ALTER TABLE systems ADD COLUMN circuit TEXT;  -- JSON, see src/domain/circuit.rs
