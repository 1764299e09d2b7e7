-- Changes fields of a run that exists.
-- KEYS: 1 run, 2 bits
-- ARGV: in turn command (HSET, HSETNX, HINCRBY), field, value
local ttl = redis.call('HGET', KEYS[1], 'ttl')
if not ttl then return 0 end
for at = 1, #ARGV, 3 do redis.call(ARGV[at], KEYS[1], ARGV[at + 1], ARGV[at + 2]) end
redis.call('PEXPIRE', KEYS[1], ttl)
redis.call('PEXPIRE', KEYS[2], ttl)
return 1
