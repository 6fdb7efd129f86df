--[[
  Purpose: move `used` without a reservation, by signed amounts, at most once per id.
  KEYS: books reservations forget subjects
    then those of the hours and days of earlier moves, as a `stale` reply asks
  ARGV: numbers stamp shape floors
    then the names of all counters
    then: given id fingerprint keep_ms reason, then for each line: delta
  Numbers, packed: from till lines count, then what is of no concern here
  Reply: adjusted replayed | mismatch state | below counter used
    | clock now | stale hours | lost | invalid amount | damaged what
]]
local books, reservations, forget, subjects = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local numbers, stamp, shape, floors = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local from, till, lines, count = struct.unpack('<dddd', numbers)
local first, fixed, deltas = 5, 3, #ARGV - lines + 1
local given, id, fingerprint, keep_ms, reason = unpack(ARGV, deltas - 5, deltas - 1)
-- include: time
-- include: counter
local set, size = {'now', nil, nil, nil, nil, nil, nil, nil}, 2
local starts, past, newcomer, charged_to
local stale = {'stale'}

local record = redis.call('HGET', reservations, id)
local got = redis.call('HMGET', books, 'now', unpack(ARGV, first, first + count - 1))
if not got[1] then return {'lost'} end
local now = time(given, got[1])
if not now then return {'damaged', 'now'} end
if now < from or now >= till then return {'clock', now} end
if record then
  local state, print = string.match(record, '^(%u) %d+ %d+ ([^ ]+) ')
  if not state then return {'damaged', 'reservation ' .. id} end
  if state ~= 'A' or print ~= fingerprint then return {'mismatch', state} end
  return {'adjusted', 1}
end
local spans, c = shape ~= '' and listed(shape), 0
for line = 1, lines do
  local delta, last = ARGV[deltas + line - 1], c + (spans and spans[line] or 1)
  if not amount_of(string.match(delta, '^%-?(.*)$')) then return {'invalid', delta} end
  while c < last do
    c = c + 1
    local name, value, at, amount, give = ARGV[first + c - 1], got[c + 1], c, tonumber(delta), nil
    -- include: move
  end
end
if stale[2] then return stale end
redis.call('ZCARD', forget)
record = 'A ' .. digits(now) .. ' ' .. keep_ms .. ' ' .. fingerprint .. ' ' .. reason .. ' -'
-- After this point it must succeed. HDEL goes first: then a full store lets the rest pass, too.
redis.call('HDEL', reservations, id)
set[2] = digits(now)
redis.call('HSET', books, unpack(set, 1, size))
redis.call('HSET', reservations, id, record)
redis.call('ZADD', forget, digits(now + keep_ms), id)
-- include: index
-- include: buckets
return {'adjusted', 0}
