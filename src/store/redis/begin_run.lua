-- Begins a run, unless there is one of this id.
-- KEYS: 1 run, 2 runs
-- ARGV: 1 id, 2 began_at, 3 milliseconds that it lives, 4 how many runs are listed; then fields and values in turn
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('HSET', KEYS[1], 'ttl', ARGV[3], unpack(ARGV, 5))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -tonumber(ARGV[4]) - 1)
return 1
