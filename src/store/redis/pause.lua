-- Pauses a system, unless it is paused for longer.
-- KEYS: 1 system
-- ARGV: 1 milliseconds, 2 reason
local until_ms = now_ms() + tonumber(ARGV[1])
local earlier = redis.call('HGET', KEYS[1], 'not_before')
if earlier and tonumber(earlier) >= until_ms then return 0 end
redis.call('HSET', KEYS[1], 'not_before', whole(until_ms), 'reason', ARGV[2])
return 1
