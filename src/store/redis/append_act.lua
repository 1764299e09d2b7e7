-- Appends to the log of acts.
-- KEYS: 1 lines, 2 ends
-- ARGV: 1 the place that must be the last one ('': there is none), 2 the place of this one, 3 its number, 4 the line
-- Answer: 1, or 0 if another one is the last by now
local last = redis.call('HGET', KEYS[2], 'last')
if (last or '') ~= ARGV[1] then return 0 end
redis.call('XADD', KEYS[1], ARGV[3] .. '-1', 'e', ARGV[4])
redis.call('HSET', KEYS[2], 'last', ARGV[2])
return 1
