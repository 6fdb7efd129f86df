--[[
  Purpose: move `used` without a reservation, by signed amounts, at most once per id.
  KEYS: books reservations forget hours days subjects
  ARGV: given from till id fingerprint keep_ms reason hour day count
    then the names of all counters
    then for each line: delta count, then for each of its counters: kind start limit
  Reply: adjusted replayed | mismatch state | below counter used
    | clock now | lost | invalid amount | damaged what
]]
local books, reservations, forget = KEYS[1], KEYS[2], KEYS[3]
local hours, days, subjects = KEYS[4], KEYS[5], KEYS[6]
local given, from, till, id, fingerprint = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local keep_ms, reason, hour, day, count = ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[10]
-- include: time
-- include: charge
-- include: index

local record = redis.call('HGET', reservations, id)
local got = redis.call('HMGET', books, 'now', unpack(ARGV, 11, 10 + count))
if not got[1] then return {'lost'} end
local seen = tonumber(got[1])
if not seen then return {'damaged', 'now'} end
local now = time(given, seen)
if now < tonumber(from) or now >= tonumber(till) then return {'clock', now} end
if record then
  local state, print = string.match(record, '^(%u) %d+ %d+ ([^ ]+) ')
  if not state then return {'damaged', 'reservation ' .. id} end
  if state ~= 'A' or print ~= fingerprint then return {'mismatch', state} end
  return {'adjusted', 1}
end
local at, c = 11 + count, 0
while ARGV[at] do
  local delta, last = ARGV[at], c + ARGV[at + 1]
  if not is_amount(string.match(delta, '^%-?(.*)$')) then return {'invalid', delta} end
  at = at + 2
  while c < last do
    c = c + 1
    local value, refused = move(ARGV[10 + c], got[c + 1], ARGV[at], ARGV[at + 1], delta)
    if not value then return refused end
    at = at + 3
  end
end
redis.call('ZCARD', forget)
record = 'A ' .. digits(now) .. ' ' .. keep_ms .. ' ' .. fingerprint .. ' ' .. reason .. ' -'
-- After this point it must succeed. HDEL goes first: then a full store lets the rest pass, too.
redis.call('HDEL', reservations, id)
write(now)
redis.call('HSET', reservations, id, record)
redis.call('ZADD', forget, digits(now + keep_ms), id)
list_subject(newcomer)
write_history()
return {'adjusted', 0}
