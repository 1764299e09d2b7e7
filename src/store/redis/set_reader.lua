-- Replaces a reader's state under its lease.
-- KEYS: 1 epoch, 2 reader, 3 lease
-- ARGV: 1-4 see guard; 5 token, 6 state
-- Answer: status, tick, 1 or 0
local status, tick = guard()
if status ~= 'ok' then return {status} end
if redis.call('GET', KEYS[3]) ~= ARGV[5] then return {status, tick, 0} end
redis.call('HSET', KEYS[2], 'epoch', ARGV[1], 'state', ARGV[6])
redis.call('HDEL', KEYS[2], 'reserved')
return {status, tick, 1}
