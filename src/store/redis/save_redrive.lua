-- Puts a retry of many letters in the place of the one before.
-- KEYS: 1 redrives
-- ARGV: 1 id, 2 revision before (0: there is none), 3 redrive, 4 how many are kept, 5 how many that are not done;
--       6 revision, 7 time when it was saved
local stored = redis.call('HGET', KEYS[1], ARGV[1])
local revision = stored and string.match(stored, '^%d+') or '0'
if revision ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[6] .. ' ' .. ARGV[7] .. ' ' .. ARGV[3])
local count = redis.call('HLEN', KEYS[1])
if count > tonumber(ARGV[4]) then
  -- The one saved longest ago, of those that are done and of all.
  local all, done, any = redis.call('HGETALL', KEYS[1]), {}, {}
  for at = 1, #all, 2 do
    local when = tonumber(string.match(all[at + 1], '^%d+ (%d+)'))
    if all[at] ~= ARGV[1] then
      if not any.id or when < any.at then any = { id = all[at], at = when } end
      -- A quote within a text of the JSON has a backslash before it.
      local is_done = string.find(all[at + 1], '"phase":"done"', 1, true)
      if is_done and (not done.id or when < done.at) then done = { id = all[at], at = when } end
    end
  end
  local oldest = done.id
  if not oldest and count > tonumber(ARGV[5]) then oldest = any.id end
  if oldest then redis.call('HDEL', KEYS[1], oldest) end
end
return 1
