-- Puts a retry of many letters in the place of the one before.
-- KEYS: 1 redrives
-- ARGV: 1 id, 2 revision before (0: there is none), 3 redrive, 4 how many are kept; 5 revision, 6 time when it was saved
local stored = redis.call('HGET', KEYS[1], ARGV[1])
local revision = stored and string.match(stored, '^%d+') or '0'
if revision ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[5] .. ' ' .. ARGV[6] .. ' ' .. ARGV[3])
if redis.call('HLEN', KEYS[1]) > tonumber(ARGV[4]) then
  local all, oldest, saved_at = redis.call('HGETALL', KEYS[1]), nil, nil
  for at = 1, #all, 2 do
    local when = tonumber(string.match(all[at + 1], '^%d+ (%d+)'))
    if all[at] ~= ARGV[1] and (not saved_at or when < saved_at) then oldest, saved_at = all[at], when end
  end
  redis.call('HDEL', KEYS[1], oldest)
end
return 1
