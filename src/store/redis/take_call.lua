-- Takes a call, if every window has room for it.
-- KEYS: 1 the calls taken, by their time
-- ARGV: 1 the longest window in milliseconds, then of each window: calls, milliseconds
-- Answers 0, or the milliseconds to wait.
local now = now_ms()
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', whole(now - tonumber(ARGV[1])))
local wait = 0
for place = 2, #ARGV, 2 do
  local calls, within = tonumber(ARGV[place]), tonumber(ARGV[place + 1])
  local since = '(' .. whole(now - within)
  local recent = redis.call('ZCOUNT', KEYS[1], since, '+inf')
  if recent >= calls then
    -- Of the calls in the window, so many have to leave it first that one more fits.
    local last = redis.call('ZRANGEBYSCORE', KEYS[1], since, '+inf', 'WITHSCORES', 'LIMIT', recent - calls, 1)
    local leaves = (tonumber(last[2]) or now) + within
    wait = math.max(wait, leaves - now)
  end
end
if wait > 0 then return wait end
-- A number of its own for each, since several calls may be taken in one millisecond.
local number = redis.call('ZCARD', KEYS[1])
while redis.call('ZADD', KEYS[1], 'NX', whole(now), whole(now) .. '-' .. number) == 0 do number = number + 1 end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 0
