-- Begins a run, unless there is one of this id, or its slot was served.
-- KEYS: 1 run, 2 runs, 3 timetable
-- ARGV: 1 id, 2 began_at, 3 milliseconds that it lives, 4 how many runs are listed, 5 slot ('' for none); then fields and
--       values in turn
-- Answer: 1 if it begins
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
if ARGV[5] ~= '' then
  local served = redis.call('HGET', KEYS[3], 'served')
  if not served or tonumber(served) >= tonumber(ARGV[5]) then return 0 end
  redis.call('HSET', KEYS[3], 'served', ARGV[5])
end
redis.call('HSET', KEYS[1], 'ttl', ARGV[3], unpack(ARGV, 6))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -tonumber(ARGV[4]) - 1)
return 1
