--[[
  Purpose: move `used` without a reservation, by signed amounts, at most once per id.
  KEYS: books reservations forget hours days
  ARGV: now from until id fingerprint keep_ms reason hour day
    then for each line: delta, then for each of its counters: name kind start limit
  Reply: adjusted replayed | mismatch state | below counter used
    | clock now | lost | invalid amount | damaged field
]]
local books, reservations, forget, hours, days = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local given, from, till, id, fingerprint = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local keep_ms, reason, hour, day = ARGV[6], ARGV[7], ARGV[8], ARGV[9]
-- include: time
-- include: charge

local at = 10
while ARGV[at] do
  local delta = ARGV[at]
  if not is_amount(string.match(delta, '^%-?(.*)$')) then return {'invalid', delta} end
  at = add_line(at + 1, tonumber(delta))
end
local record = redis.call('HGET', reservations, id)
local got = redis.call('HMGET', books, unpack(fields))
if not got[1] then return {'lost'} end
if not is_amount(got[2]) then return {'damaged', 'now'} end
local now = time(given, got[2])
if now < tonumber(from) or now >= tonumber(till) then return {'clock', now} end
if record then
  local state, print = string.match(record, '^(%u) %d+ %d+ (%S+) ')
  if state ~= 'A' or print ~= fingerprint then return {'mismatch', state} end
  return {'adjusted', 1}
end
local refused = take(got)
if refused then return refused end
redis.call('ZSCORE', forget, id)
record = table.concat({'A', digits(now), keep_ms, fingerprint, reason, '-'}, ' ')
-- After this point it must succeed. HDEL goes first: then a full store lets the rest pass, too.
redis.call('HDEL', reservations, id)
write(now)
redis.call('HSET', reservations, id, record)
redis.call('ZADD', forget, digits(now + tonumber(keep_ms)), id)
return {'adjusted', 0}
