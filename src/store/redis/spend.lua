-- Gives writes their places in a budget, one after the other.
-- KEYS: 1 the places taken, by their time; 2 the accounts of the side
-- ARGV: 1 share of the accounts in percent, 2 how many may pass at least, 3 the window in milliseconds; then the writes
-- Answer: 1 for each that has a place, else 0.
local now, window = now_ms(), tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', whole(now - window))
local limit = math.max(math.floor(redis.call('HLEN', KEYS[2]) * tonumber(ARGV[1]) / 100), tonumber(ARGV[2]))
local spent = redis.call('ZCARD', KEYS[1])
local answers = {}
for at = 4, #ARGV do
  local has_place = redis.call('ZSCORE', KEYS[1], ARGV[at])
  if has_place or spent < limit then
    redis.call('ZADD', KEYS[1], whole(now), ARGV[at])
    if not has_place then spent = spent + 1 end
    answers[#answers + 1] = 1
  else
    answers[#answers + 1] = 0
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return answers
