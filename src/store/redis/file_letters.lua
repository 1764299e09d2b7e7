-- Opens and closes letters outside any connection's books.
-- KEYS: 1 letters, 2 their index, 3 their groups
-- ARGV: 1 how many are opened; for each of them id, place, last failure and letter; then the ids of those that are closed
local at = 1
for _ = 1, tonumber(ARGV[1]) do
  open_letter(KEYS[1], KEYS[2], KEYS[3], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4])
  at = at + 4
end
for closed = at + 1, #ARGV do close_letter(KEYS[1], KEYS[2], KEYS[3], ARGV[closed]) end
return 1
