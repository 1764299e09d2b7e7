-- Puts a timetable in the place of another.
-- KEYS: 1 timetable
-- ARGV: the one before: 1 rule ('' for none), 2 since, 3 served; the new one: 4 rule, 5 since, 6 served
local stored = redis.call('HMGET', KEYS[1], 'rule', 'since', 'served')
if (stored[1] or '') ~= ARGV[1] or (stored[2] or '') ~= ARGV[2] or (stored[3] or '') ~= ARGV[3] then return 0 end
redis.call('HSET', KEYS[1], 'rule', ARGV[4], 'since', ARGV[5], 'served', ARGV[6])
return 1
