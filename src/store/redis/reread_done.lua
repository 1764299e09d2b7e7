-- Forgets accounts that were read again, unless they were asked for once more since.
-- KEYS: 1 rereads
-- ARGV: account and time, in turn
for at = 1, #ARGV, 2 do
  local asked_at = redis.call('ZSCORE', KEYS[1], ARGV[at])
  if asked_at and tonumber(asked_at) <= tonumber(ARGV[at + 1]) then redis.call('ZREM', KEYS[1], ARGV[at]) end
end
return 1
