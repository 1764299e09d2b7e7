-- Atomic steps, one after the other: each happens whole or not at all. The first write may be refused (no memory,
-- read-only, disk error), and Redis refuses no later one of the same script.
-- KEYS: 1 epoch, 2 links, 3 accounts:a, 4 accounts:b, 5 keys:a, 6 keys:b, 7 letters, 8 rereads:a, 9 rereads:b,
--       10 journal, 11 held, 12 deferred, 13 index and 14 groups of the letters, then of each run that is
--       counted in or written for: run, bits, undo
-- ARGV: 1-4 see guard; 5 entries and 6 milliseconds that the journal keeps; a list, headed by its length, of the links that
--       the steps are about; then for each step: link id ('' for no
--       link), and with a link the revision that was read, the link with its next revision, since when something
--       of it waits for a person and since when for its account to be free ('' for nothing); link that ends ('' for
--       none), and with one the revision that was read; then lists, each headed by its length: claims to take, claims to
--       release, claims of the link that ends (number of the key, text), letters to open (id, place, last
--       failure, letter), letters to close
--       (id), accounts to read again (number of the key, account), journal entries; then what a write overwrites: '', or
--       number of the key, milliseconds that it keeps, entry; then the count: '',
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
-- What most steps have: nothing may be added to it.
local NONE = {}
local function take_list(width)
  local length = take()
  if length == '0' then return NONE end
  local list = {}
  for item = 1, tonumber(length) do
    if width == 1 then
      list[item] = take()
    else
      list[item] = {}
      for part = 1, width do list[item][part] = take() end
    end
  end
  return list
end

-- The links that the steps are about, as they are at each step: read in one call, and written in one at the end.
local links, changed = {}, {}
local ids = take_list(1)
if #ids > 0 then
  local stored = redis.call('HMGET', KEYS[2], unpack(ids))
  for index, id in ipairs(ids) do links[id] = stored[index] end
end

-- Whether something is in a key, which few steps would find anything in: asked once.
local filled = {}
local function is_filled(key)
  if filled[key] == nil then filled[key] = redis.call('EXISTS', KEYS[key]) == 1 end
  return filled[key]
end

-- Whether a link is no longer as it was read.
local function moved(id, revision)
  local stored = links[id]
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

-- What is counted in each run, by the number of its key: counted all at once, at the end.
local counted = {}

-- A change's five bits, the first the highest: outcome of the change; command to a and to b emitted; outcome of each.
local OUTCOME, EMITTED, SETTLED = 16, {8, 4}, {2, 1}
local function has(bits, bit)
  return bits % (2 * bit) >= bit
end

-- Reads what a step counts, and notes it for the end.
local function note_count(kind, answer)
  local key, number, field = tonumber(take()), tonumber(take()), kind .. ':' .. take()
  local count = {answer = answer, number = number, field = field}
  if kind == 'change' then
    count.emits = take() + 2 * take()
    -- What is there if nothing of the change was counted yet, and what it is then.
    count.expected, count.marks = 0, OUTCOME + (count.emits % 2) * EMITTED[1] + (count.emits >= 2 and EMITTED[2] or 0)
  else
    count.side = tonumber(take())
    count.expected = OUTCOME + EMITTED[count.side]
    count.marks = count.expected + SETTLED[count.side]
  end
  local counts = counted[key]
  if not counts then
    -- A run that is unknown, or never gave out a number, was lost: there is nothing to add up to.
    counts = {read = tonumber(redis.call('HGET', KEYS[key], 'read') or -1), added = {}}
    counted[key] = counts
  end
  if number < counts.read then counts[#counts + 1] = count end
end

-- Counts each outcome of a run once, and tells which commands are owed.
local function count_all(key, counts, answers)
  if #counts == 0 then return end
  -- Nearly always it is the first time, so that writing and looking what was there before are one call.
  local sets = {}
  for _, count in ipairs(counts) do
    local at = #sets
    sets[at + 1], sets[at + 2], sets[at + 3], sets[at + 4] = 'SET', 'u5', whole(count.number * 5), count.marks
  end
  local before = redis.call('BITFIELD', KEYS[key + 1], unpack(sets))
  local added, now, left = counts.added, {}, {}
  for index, count in ipairs(counts) do
    local bits, owed = now[count.number] or before[index], 0
    local function mark(bit, field)
      if not has(bits, bit) then
        bits = bits + bit
        added[field] = (added[field] or 0) + 1
      end
    end
    if count.side then
      mark(SETTLED[count.side], count.field)
      mark(EMITTED[count.side], 'emitted')
    else
      mark(OUTCOME, count.field)
      for side = 1, 2 do
        if has(bits, EMITTED[side]) and not has(bits, SETTLED[side]) then owed = owed + side end
        if has(count.emits, side) then mark(EMITTED[side], 'emitted') end
      end
    end
    now[count.number], left[count.number] = bits, count.marks
    answers[count.answer] = owed
  end
  for number, bits in pairs(now) do
    if bits ~= left[number] then redis.call('BITFIELD', KEYS[key + 1], 'SET', 'u5', whole(number * 5), bits) end
  end
  for field, more in pairs(added) do redis.call('HINCRBY', KEYS[key], field, more) end
end

-- Notes since when a link waits for something, or that it does not.
local function note_wait(key, since, link)
  if since ~= '' then
    redis.call('ZADD', KEYS[key], since, link)
    filled[key] = true
  elseif is_filled(key) then
    redis.call('ZREM', KEYS[key], link)
  end
end

-- Reads a step to its end and makes it.
local noted, undone = 0, {}
local function make(answer)
  local link, revision, document, held_since, deferred_since = take(), nil, nil, nil, nil
  if link ~= '' then revision, document, held_since, deferred_since = take(), take(), take(), take() end
  local ended, ended_revision = take(), nil
  if ended ~= '' then ended_revision = take() end
  local claims, releases, released, opened, closed = take_list(2), take_list(2), take_list(2), take_list(4), take_list(1)
  local rereads, journal, undo = take_list(2), take_list(1), take()
  local undo_ms, overwritten
  if undo ~= '' then undo_ms, overwritten = take(), take() end
  local kind = take()
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
    links[ended], changed[ended] = false, nil
    note_wait(11, '', ended)
    note_wait(12, '', ended)
    release(ended, released, {})
  end
  if link ~= '' then
    links[link], changed[link] = document, true
    note_wait(11, held_since, link)
    note_wait(12, deferred_since, link)
    release(link, releases, claims)
    for _, claim in ipairs(free) do redis.call('HSET', KEYS[tonumber(claim[1])], claim[2], link) end
  end
  for _, letter in ipairs(opened) do
    open_letter(KEYS[7], KEYS[13], KEYS[14], letter[1], letter[2], letter[3], letter[4])
    filled[7] = true
  end
  if #closed > 0 and is_filled(7) then
    for _, id in ipairs(closed) do close_letter(KEYS[7], KEYS[13], KEYS[14], id) end
  end
  for _, reread in ipairs(rereads) do read_again(reread) end
  for _, entry in ipairs(journal) do redis.call('XADD', KEYS[10], 'MAXLEN', '~', ARGV[5], '*', 'e', entry) end
  noted = noted + #journal
  if undo ~= '' then
    redis.call('RPUSH', KEYS[tonumber(undo)], overwritten)
    undone[undo] = undo_ms
  end
  if kind ~= '' then note_count(kind, answer) end
  return 0
end

local answers = {status, tick}
while at < #ARGV do answers[#answers + 1] = make(#answers + 1) end
local documents = {}
for id in pairs(changed) do
  documents[#documents + 1] = id
  documents[#documents + 1] = links[id]
end
if #documents > 0 then redis.call('HSET', KEYS[2], unpack(documents)) end
if noted > 0 then
  redis.call('XTRIM', KEYS[10], 'MINID', '~', whole(now_ms() - tonumber(ARGV[6])))
  redis.call('PEXPIRE', KEYS[10], ARGV[6])
end
for key, ms in pairs(undone) do redis.call('PEXPIRE', KEYS[tonumber(key)], ms) end
for key, counts in pairs(counted) do count_all(key, counts, answers) end
return answers
