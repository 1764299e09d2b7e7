-- Notes a member with the store's time, and forgets those that were not heard of for long.
-- KEYS: 1 sorted set
-- ARGV: 1 member, 2 'NX' to keep an earlier time, else 'CH'; 3 milliseconds after which a member goes
local now = now_ms()
redis.call('ZADD', KEYS[1], ARGV[2], whole(now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. whole(now - tonumber(ARGV[3])))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
