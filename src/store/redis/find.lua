-- Finds links by their claims. Reads only.
-- KEYS: 1 epoch, 2 links, 3 accounts:a, 4 accounts:b, 5 keys:a, 6 keys:b, 7 letters
-- ARGV: 1-4 see guard; then for each question: letter id ('' for none), number of claims, and for each claim the number
--       of its key and its text
-- Answer: status, tick, now, and for each question: link id ('' for none), link, index of the claim, whether the letter
--         is open
local status, tick = guard()
if status ~= 'ok' then return {status} end

-- Mostly there is none, so that none needs to be looked for.
local letters = redis.call('EXISTS', KEYS[7]) == 1
local at, answers = 5, {}
while ARGV[at] do
  local letter, claims = ARGV[at], tonumber(ARGV[at + 1])
  at = at + 2
  local answer = {'', '', 0, 0}
  for index = 0, claims - 1 do
    local key = KEYS[tonumber(ARGV[at + 2 * index])]
    local id = redis.call('HGET', key, ARGV[at + 2 * index + 1])
    if id then
      answer = {id, redis.call('HGET', KEYS[2], id) or '', index, 0}
      break
    end
  end
  at = at + 2 * claims
  if letters and letter ~= '' then answer[4] = redis.call('HEXISTS', KEYS[7], letter) end
  answers[#answers + 1] = answer
end
return {status, tick, now_ms(), answers}
