-- Loads links by id. Reads only.
-- KEYS: 1 epoch, 2 links
-- ARGV: 1-4 see guard; then link ids
-- Answer: status, tick, now, and the links ('' for none)
local status, tick = guard()
if status ~= 'ok' then return {status} end

local links = #ARGV > 4 and redis.call('HMGET', KEYS[2], unpack(ARGV, 5)) or {}
for at = 1, #links do links[at] = links[at] or '' end
return {status, tick, now_ms(), links}
