-- Loads links by id. Reads only.
-- KEYS: 1 epoch, 2 links
-- ARGV: 1-4 see guard; then link ids, at least one
-- Answer: status, tick, now, and the links ('' for none)
local status, tick = guard()
if status ~= 'ok' then return {status} end

local links = {}
for at = 5, #ARGV do links[#links + 1] = redis.call('HGET', KEYS[2], ARGV[at]) or '' end
return {status, tick, now_ms(), links}
