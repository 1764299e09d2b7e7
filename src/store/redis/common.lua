-- Heads every script.

-- The store's clock, in milliseconds.
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- A whole number as text: Lua itself would write large ones with an exponent.
local function whole(number)
  return string.format('%.0f', number)
end

-- Whether the memory of the connection, KEYS[1], is the one that the caller knows: 'ok', or 'changed', or 'restarted'
-- when the server was another one, so that the caller must look closer. ARGV: 1 epoch, 2 the highest tick that the
-- caller knew when it asked, 3 the run id that came with it, 4 the run id of this server.
local function guard()
  local known = redis.call('HMGET', KEYS[1], 'id', 'tick', 'run_id')
  if not known[1] or known[1] ~= ARGV[1] then return 'changed', 0 end
  if known[3] ~= ARGV[4] or known[3] ~= ARGV[3] then return 'restarted', 0 end
  if tonumber(known[2]) < tonumber(ARGV[2]) then return 'changed', 0 end
  return 'ok', tonumber(known[2])
end

-- The fingerprint that heads a letter's place in the index: four words.
local function group_of(place)
  return string.match(place, '^[^ ]* [^ ]* [^ ]* [^ ]*')
end

-- Takes a letter out, if it is there. A group of which nothing is left is forgotten.
local function close_letter(letters, index, groups, id)
  local stored = redis.call('HGET', letters, id)
  if not stored then return end
  local place = string.match(stored, '^[^\n]*')
  redis.call('HDEL', letters, id)
  redis.call('ZREM', index, place)
  local group = group_of(place)
  -- The character after a space.
  if group and redis.call('ZLEXCOUNT', index, '[' .. group .. ' ', '(' .. group .. '!') == 0 then
    redis.call('HDEL', groups, group)
  end
end

-- Opens a letter, or replaces the one of its id.
local function open_letter(letters, index, groups, id, place, last_at, letter)
  local stored = redis.call('HGET', letters, id)
  if stored and string.match(stored, '^[^\n]*') ~= place then close_letter(letters, index, groups, id) end
  redis.call('HSET', letters, id, place .. '\n' .. letter)
  redis.call('ZADD', index, 0, place)
  local group = group_of(place)
  local failed_at = redis.call('HGET', groups, group)
  if not failed_at or tonumber(failed_at) < tonumber(last_at) then redis.call('HSET', groups, group, last_at) end
end

