-- Puts the copy of a stream in its place, if the copy has seen all of it.
-- KEYS: 1 the stream, 2 the copy
-- ARGV: 1 id of the last entry that was copied or left out, 2 how many were copied
-- Answer: 1, or 0 if entries came meanwhile, or -1 if the copy, or a part of it, is not there any more: whoever copied was
-- away for longer than it lives
if redis.call('XLEN', KEYS[2]) ~= tonumber(ARGV[2]) then
  redis.call('DEL', KEYS[2])
  return -1
end
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if newest and newest[1] ~= ARGV[1] then return 0 end
local left = redis.call('PTTL', KEYS[1])
if not newest or redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('DEL', KEYS[1], KEYS[2])
  return 1
end
-- What grew old meanwhile is not brought back.
redis.call('XTRIM', KEYS[2], 'MINID', redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1][1])
if left > 0 then redis.call('PEXPIRE', KEYS[2], left) else redis.call('PERSIST', KEYS[2]) end
redis.call('RENAME', KEYS[2], KEYS[1])
return 1
