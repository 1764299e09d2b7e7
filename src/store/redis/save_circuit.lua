-- Puts a system's circuit in the place of the one before.
-- KEYS: 1 system
-- ARGV: 1 revision before (0: there is none), 2 revision, 3 circuit
local revision = redis.call('HGET', KEYS[1], 'circuit_revision') or '0'
if revision ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'circuit_revision', ARGV[2], 'circuit', ARGV[3])
return 1
