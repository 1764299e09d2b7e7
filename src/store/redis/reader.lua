-- Where a reader stands in this epoch. Reads only.
-- KEYS: 1 epoch, 2 reader
-- ARGV: 1-4 see guard
-- Answer: status, tick, state ('' for none), reserved ('' for none), whether they are of this epoch. Of another one only
-- numbers that were reserved are of use, with the run that they belong to.
local status, tick = guard()
if status ~= 'ok' then return {status} end
local reader = redis.call('HMGET', KEYS[2], 'epoch', 'state', 'reserved')
if reader[1] ~= ARGV[1] then
  return {status, tick, reader[3] and reader[2] or '', reader[3] or '', 0}
end
return {status, tick, reader[2] or '', reader[3] or '', 1}
