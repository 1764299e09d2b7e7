-- Notes that nobody writes for a connection, unless that is noted already.
-- KEYS: 1 the pauses
-- ARGV: 1 the connection, '*' for all of them; 2 who says so, as JSON
return redis.call('HSETNX', KEYS[1], ARGV[1], '{"since":' .. whole(now_ms()) .. ',"by":' .. ARGV[2] .. '}')
