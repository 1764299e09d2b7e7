-- Counts numbers without an outcome as stale.
-- KEYS: 1 run, 2 bits
-- ARGV: 1 first number, 2 how many
local read = tonumber(redis.call('HGET', KEYS[1], 'read') or 0)
local first, stale = tonumber(ARGV[1]), 0
for number = first, math.min(first + tonumber(ARGV[2]), read) - 1 do
  if redis.call('SETBIT', KEYS[2], whole(number * 5), 1) == 0 then stale = stale + 1 end
end
if stale > 0 then redis.call('HINCRBY', KEYS[1], 'change:stale', stale) end
return stale
