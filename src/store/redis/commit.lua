-- One atomic step: everything is checked before the first write. That first write may be refused (no memory, read-only,
-- disk error), and Redis refuses no later one of the same script.
-- KEYS: 1 epoch, 2 links, 3 accounts:a, 4 accounts:b, 5 keys:a, 6 keys:b, 7 letters, 8 rereads:a, 9 rereads:b,
--       10 journal, 11 held; only with a count: 12 run, 13 bits
-- ARGV: 1-4 see guard; 5 link id ('' for no link), 6 revision that was read, 7 the link with its next revision, 8 since when
--       something of it waits for a person ('' for nothing); then lists, each
--       headed by its length: claims to take and claims to release (number of the key, text), letters to open (id,
--       letter), letters to close (id), accounts to read again (number of the key, account), journal entries; then
--       entries and milliseconds that the journal keeps; then the count: '', or
--       'change', number, outcome, 1 or 0 for a command to a and to b, or
--       'command', number, outcome, side (1 is a, 2 is b)
-- Answer: 'done', tick, and whether a command is owed to a and to b; or 'moved'; or 'taken', index of the claim, holder;
--         or what guard says
local status, tick = guard()
if status ~= 'ok' then return {status} end

local at = 8
local function take()
  at = at + 1
  return ARGV[at]
end
local function take_list(width)
  local list = {}
  for item = 1, tonumber(take()) do
    list[item] = {}
    for part = 1, width do list[item][part] = take() end
  end
  return list
end

local link, revision, document = ARGV[5], ARGV[6], ARGV[7]
if link ~= '' then
  local stored = redis.call('HGET', KEYS[2], link)
  if revision == '0' then
    if stored then return {'moved'} end
  elseif not stored or string.sub(stored, 1, #revision + 1) ~= revision .. ':' then
    return {'moved'}
  end
end
local claims = take_list(2)
for index, claim in ipairs(claims) do
  local holder = redis.call('HGET', KEYS[tonumber(claim[1])], claim[2])
  if holder and holder ~= link then return {'taken', index - 1, holder} end
end

tick = redis.call('HINCRBY', KEYS[1], 'tick', 1)
if link ~= '' then
  redis.call('HSET', KEYS[2], link, document)
  if ARGV[8] == '' then redis.call('ZREM', KEYS[11], link) else redis.call('ZADD', KEYS[11], ARGV[8], link) end
end
for _, claim in ipairs(take_list(2)) do
  local key = KEYS[tonumber(claim[1])]
  if redis.call('HGET', key, claim[2]) == link then redis.call('HDEL', key, claim[2]) end
end
for _, claim in ipairs(claims) do redis.call('HSET', KEYS[tonumber(claim[1])], claim[2], link) end
for _, letter in ipairs(take_list(2)) do redis.call('HSET', KEYS[7], letter[1], letter[2]) end
for _, letter in ipairs(take_list(1)) do redis.call('HDEL', KEYS[7], letter[1]) end

for _, reread in ipairs(take_list(2)) do
  local key = KEYS[tonumber(reread[1])]
  -- Asked for again within the millisecond, it must still differ from what a reader may be reading now.
  local earlier = redis.call('ZSCORE', key, reread[2])
  local asked_at = now_ms()
  if earlier and tonumber(earlier) >= asked_at then asked_at = tonumber(earlier) + 1 end
  redis.call('ZADD', key, whole(asked_at), reread[2])
end

local journal = take_list(1)
local entries, ttl_ms = take(), take()
if #journal > 0 then
  for _, entry in ipairs(journal) do redis.call('XADD', KEYS[10], 'MAXLEN', '~', entries, '*', 'e', entry[1]) end
  redis.call('XTRIM', KEYS[10], 'MINID', '~', whole(now_ms() - tonumber(ttl_ms)))
  redis.call('PEXPIRE', KEYS[10], ttl_ms)
end

-- Sets a bit of this change's five, and tells whether it was set before.
local function mark(number, bit)
  return redis.call('SETBIT', KEYS[13], whole(number * 5 + bit), 1) == 1
end
-- Bits: 0 outcome of the change; 1 and 2 command to a and to b emitted; 3 and 4 its outcome.
local owed = {0, 0}
local kind = take()
if kind ~= '' then
  local number, outcome = tonumber(take()), take()
  local read = redis.call('HGET', KEYS[12], 'read')
  -- A run that is unknown, or never gave out this number, was lost: there is nothing to add up to.
  if read and number < tonumber(read) then
    if kind == 'change' then
      if not mark(number, 0) then redis.call('HINCRBY', KEYS[12], 'change:' .. outcome, 1) end
      for side = 1, 2 do
        local emits = take() == '1'
        local emitted = redis.call('GETBIT', KEYS[13], whole(number * 5 + side)) == 1
        local settled = redis.call('GETBIT', KEYS[13], whole(number * 5 + side + 2)) == 1
        if emitted and not settled then owed[side] = 1 end
        if emits and not emitted then
          mark(number, side)
          redis.call('HINCRBY', KEYS[12], 'emitted', 1)
        end
      end
    else
      local side = tonumber(take())
      if not mark(number, side + 2) then
        redis.call('HINCRBY', KEYS[12], 'command:' .. outcome, 1)
        if not mark(number, side) then redis.call('HINCRBY', KEYS[12], 'emitted', 1) end
      end
    end
  end
end
return {'done', tick, owed[1], owed[2]}
