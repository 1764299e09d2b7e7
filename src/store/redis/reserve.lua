-- Gives out numbers of a run, under a reader's lease if one is named. Losing this would give numbers out twice, so it
-- counts as a tick.
-- KEYS: 1 epoch, 2 run, 3 bits; only with a reader: 4 reader, 5 lease
-- ARGV: 1-4 see guard; 5 how many, 6 how many a run has; with a reader: 7 token, 8 state; without one, 7 if any: as many are
--       meant as the run has given out in the end
-- Answer: status, tick, first number (-1 if there is no such run or lease, -2 if the run has no more)
local status, tick = guard()
if status ~= 'ok' then return {status} end
if KEYS[4] and redis.call('GET', KEYS[5]) ~= ARGV[7] then return {status, tick, -1} end
local run = redis.call('HMGET', KEYS[2], 'read', 'ttl')
if not run[1] then return {status, tick, -1} end
local first, count = tonumber(run[1]), tonumber(ARGV[5])
if ARGV[7] and not KEYS[4] then count = math.max(count - first, 0) end
if first + count > tonumber(ARGV[6]) then return {status, tick, -2} end

tick = redis.call('HINCRBY', KEYS[1], 'tick', 1)
redis.call('HINCRBY', KEYS[2], 'read', count)
-- Makes the bitmap long enough, so that it exists and expires with its run.
redis.call('SETBIT', KEYS[3], whole((first + count) * 5), 0)
redis.call('PEXPIRE', KEYS[2], run[2])
redis.call('PEXPIRE', KEYS[3], run[2])
if KEYS[4] then
  redis.call('HSET', KEYS[4], 'epoch', ARGV[1], 'state', ARGV[8], 'reserved', whole(first) .. ' ' .. whole(count))
end
return {status, tick, first}
