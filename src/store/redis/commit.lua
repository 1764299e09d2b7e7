-- Atomic steps, one after the other: each happens whole or not at all. The first write may be refused (no memory,
-- read-only, disk error), and Redis refuses no later one of the same script.
-- KEYS: 1 epoch, 2 links, 3 accounts:a, 4 accounts:b, 5 keys:a, 6 keys:b, 7 letters, 8 rereads:a, 9 rereads:b,
--       10 journal, 11 held, 12 deferred, 13 index and 14 groups of the letters, then of each run that is counted in: run, bits
-- ARGV: 1-4 see guard; 5 entries and 6 milliseconds that the journal keeps; then for each step: link id ('' for no
--       link), and with a link the revision that was read, the link with its next revision, since when something
--       of it waits for a person and since when for its account to be free ('' for nothing); link that ends ('' for
--       none), and with one the revision that was read; then lists, each headed by its length: claims to take, claims to
--       release, claims of the link that ends (number of the key, text), letters to open (id, place, last
--       failure, letter), letters to close
--       (id), accounts to read again (number of the key, account), journal entries; then the count: '',
--       or 'change', number of the run's key, number, outcome, 1 or 0 for a command to a and to b, or
--       'command', number of the run's key, number, outcome, side (1 is a, 2 is b)
-- Answer: status and tick, see guard; then for each step: the commands that are owed (1 to a, 2 to b, 3 to both), or
--         'moved', or index of the claim that is taken and its holder
local status, tick = guard()
if status ~= 'ok' then return {status} end
tick = redis.call('HINCRBY', KEYS[1], 'tick', 1)

local at = 6
local function take()
  at = at + 1
  return ARGV[at]
end
local function take_list(width)
  local list = {}
  for item = 1, tonumber(take()) do
    if width == 1 then
      list[item] = take()
    else
      list[item] = {}
      for part = 1, width do list[item][part] = take() end
    end
  end
  return list
end

-- Whether a link is no longer as it was read.
local function moved(id, revision)
  local stored = redis.call('HGET', KEYS[2], id)
  if revision == '0' then return stored end
  return not stored or string.sub(stored, 1, #revision + 1) ~= revision .. ':'
end

-- Which of the claims are free, or which one is taken, and by whom. What the link that ends has claimed is free.
local function look_at(claims, link, ended)
  local free = {}
  for index, claim in ipairs(claims) do
    local holder = redis.call('HGET', KEYS[tonumber(claim[1])], claim[2])
    if not holder or holder == ended then
      free[#free + 1] = claim
    elseif holder ~= link then
      return nil, {index - 1, holder}
    end
  end
  return free
end

-- Gives up what a link holds. Given up and taken in one step, a claim stays.
local function release(link, claims, taken)
  local stays = {}
  for _, claim in ipairs(taken) do stays[claim[1] .. claim[2]] = true end
  for _, claim in ipairs(claims) do
    local key = KEYS[tonumber(claim[1])]
    if not stays[claim[1] .. claim[2]] and redis.call('HGET', key, claim[2]) == link then
      redis.call('HDEL', key, claim[2])
    end
  end
end

local function read_again(reread)
  local key = KEYS[tonumber(reread[1])]
  -- Asked for again within the millisecond, it must still differ from what a reader may be reading now.
  local earlier = redis.call('ZSCORE', key, reread[2])
  local asked_at = now_ms()
  if earlier and tonumber(earlier) >= asked_at then asked_at = tonumber(earlier) + 1 end
  redis.call('ZADD', key, whole(asked_at), reread[2])
end

-- What is added to the counts of each run, by its key. Written once, at the end.
local added = {}
local read = {}
local function add(key, field)
  local fields = added[key] or {}
  added[key] = fields
  fields[field] = (fields[field] or 0) + 1
end

-- A change's five bits, the first the highest: outcome of the change; command to a and to b emitted; outcome of each.
local OUTCOME, EMITTED, SETTLED = 16, {8, 4}, {2, 1}
local function has(bits, bit)
  return math.floor(bits / bit) % 2 == 1
end

-- Counts an outcome once, and tells which commands are owed.
local function count(kind)
  local key, number, outcome = tonumber(take()), tonumber(take()), take()
  local emits = kind == 'change' and {take() == '1', take() == '1'}
  local command_to = kind == 'command' and tonumber(take())
  if read[key] == nil then read[key] = tonumber(redis.call('HGET', KEYS[key], 'read') or -1) end
  -- A run that is unknown, or never gave out this number, was lost: there is nothing to add up to.
  if number >= read[key] then return 0 end
  local offset = whole(number * 5)
  local before = redis.call('BITFIELD', KEYS[key + 1], 'GET', 'u5', offset)[1]
  local bits, owed = before, 0
  local function mark(bit, field)
    if not has(bits, bit) then
      bits = bits + bit
      add(key, field)
    end
  end
  if kind == 'change' then
    mark(OUTCOME, 'change:' .. outcome)
    for side = 1, 2 do
      if has(bits, EMITTED[side]) and not has(bits, SETTLED[side]) then owed = owed + side end
      if emits[side] then mark(EMITTED[side], 'emitted') end
    end
  else
    mark(SETTLED[command_to], 'command:' .. outcome)
    mark(EMITTED[command_to], 'emitted')
  end
  if bits ~= before then redis.call('BITFIELD', KEYS[key + 1], 'SET', 'u5', offset, bits) end
  return owed
end

-- Notes since when a link waits for something, or that it does not.
local function note_wait(key, since, link)
  if since == '' then redis.call('ZREM', key, link) else redis.call('ZADD', key, since, link) end
end

-- Reads a step to its end and makes it.
local noted = 0
local function make()
  local link, revision, document, held_since, deferred_since = take(), nil, nil, nil, nil
  if link ~= '' then revision, document, held_since, deferred_since = take(), take(), take(), take() end
  local ended, ended_revision = take(), nil
  if ended ~= '' then ended_revision = take() end
  local claims, releases, released, opened, closed = take_list(2), take_list(2), take_list(2), take_list(4), take_list(1)
  local rereads, journal, kind = take_list(2), take_list(1), take()
  local free, refused
  if (link ~= '' and moved(link, revision)) or (ended ~= '' and moved(ended, ended_revision)) then
    refused = 'moved'
  else
    free, refused = look_at(claims, link, ended)
  end
  if refused then
    at = at + (kind == 'change' and 5 or kind == 'command' and 4 or 0)
    return refused
  end
  if ended ~= '' then
    redis.call('HDEL', KEYS[2], ended)
    redis.call('ZREM', KEYS[11], ended)
    redis.call('ZREM', KEYS[12], ended)
    release(ended, released, {})
  end
  if link ~= '' then
    redis.call('HSET', KEYS[2], link, document)
    note_wait(KEYS[11], held_since, link)
    note_wait(KEYS[12], deferred_since, link)
    release(link, releases, claims)
    for _, claim in ipairs(free) do redis.call('HSET', KEYS[tonumber(claim[1])], claim[2], link) end
  end
  for _, letter in ipairs(opened) do
    open_letter(KEYS[7], KEYS[13], KEYS[14], letter[1], letter[2], letter[3], letter[4])
  end
  for _, id in ipairs(closed) do close_letter(KEYS[7], KEYS[13], KEYS[14], id) end
  for _, reread in ipairs(rereads) do read_again(reread) end
  for _, entry in ipairs(journal) do redis.call('XADD', KEYS[10], 'MAXLEN', '~', ARGV[5], '*', 'e', entry) end
  noted = noted + #journal
  if kind == '' then return 0 end
  return count(kind)
end

local answers = {status, tick}
while at < #ARGV do answers[#answers + 1] = make() end
if noted > 0 then
  redis.call('XTRIM', KEYS[10], 'MINID', '~', whole(now_ms() - tonumber(ARGV[6])))
  redis.call('PEXPIRE', KEYS[10], ARGV[6])
end
for key, fields in pairs(added) do
  for field, more in pairs(fields) do redis.call('HINCRBY', KEYS[key], field, more) end
end
return answers
