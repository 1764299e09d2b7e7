-- Trims what was kept long enough, also where nothing is added any more.
-- KEYS: 1 history, 2 journal
-- ARGV: 1 how long the journal is kept, in milliseconds
local function trim(key, from)
  if from > 0 then redis.call('XTRIM', key, 'MINID', whole(from)) end
end
-- How long the history is kept, its expiry tells: that was set when the last entry was added.
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local left = redis.call('PTTL', KEYS[1])
if newest and left >= 0 then trim(KEYS[1], tonumber(string.match(newest[1], '^%d+')) - left) end
trim(KEYS[2], now_ms() - tonumber(ARGV[1]))
