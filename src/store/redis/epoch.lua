-- Looks at the memory of a connection, and begins a new one where it may have lost something.
-- KEYS: 1 epoch
-- ARGV: 1 run id of this server; what the caller remembers: 2 epoch ('' for nothing), 3 tick, 4 run id, 5 began_at;
--       6 the id for a new epoch ('': begin none)
-- Answer: 'kept', 'begun' or 'lost'; id, tick, run id, began_at, now
local server, known, fresh = ARGV[1], ARGV[2], ARGV[6]
local now = now_ms()
local stored = redis.call('HMGET', KEYS[1], 'id', 'tick', 'run_id', 'since', 'began_at')
local id, run_id = stored[1], stored[3]
local tick, since, began_at = tonumber(stored[2] or 0), tonumber(stored[4] or 0), tonumber(stored[5] or 0)

local lost
if not id then
  lost = true
elseif id == known then
  -- What we remember is gone: from the tail, or before another process took the restarted server over.
  lost = tick < tonumber(ARGV[3]) or (run_id ~= ARGV[4] and since < tonumber(ARGV[3]))
else
  -- Nobody here vouches for a memory that went through a restart, and an epoch older than ours was restored.
  lost = run_id ~= server or began_at < tonumber(ARGV[5])
end

if lost then
  if fresh == '' then return {'lost', '', 0, '', 0, now} end
  redis.call('HSET', KEYS[1], 'id', fresh, 'tick', 0, 'run_id', server, 'since', 0, 'began_at', whole(now))
  return {'begun', fresh, 0, server, now, now}
end
if run_id ~= server then
  redis.call('HSET', KEYS[1], 'run_id', server, 'since', whole(tick))
end
return {'kept', id, tick, server, began_at, now}
