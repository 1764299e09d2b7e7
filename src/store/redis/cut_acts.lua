-- Forgets the beginning of the log of acts.
-- KEYS: 1 lines, 2 ends
-- ARGV: 1 the place that becomes the anchor, 2 its chain and a colon, 3 its number
-- Answer: 1, or 0 if there is an anchor at it or behind it, or the log does not reach it
local function number(place)
  return place and string.sub(place, 1, #ARGV[2]) == ARGV[2] and tonumber(string.match(place, ':(%d+):'))
end
local ends = redis.call('HMGET', KEYS[2], 'last', 'anchor')
local last, anchor = number(ends[1]), number(ends[2])
local cut = tonumber(ARGV[3])
if not last or last < cut or (ends[2] and not anchor) or (anchor and anchor >= cut) then return 0 end
redis.call('XTRIM', KEYS[1], 'MINID', whole(cut + 1) .. '-0')
redis.call('HSET', KEYS[2], 'anchor', ARGV[1])
return 1
