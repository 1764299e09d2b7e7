-- Replaces what is remembered of how a connection runs, under its lease.
-- KEYS: 1 watch, 2 lease
-- ARGV: 1 token, 2 watch
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
