--[[
  Purpose: how an account stands on all its counters at one instant, due leases ended first.
  KEYS: books reservations leases forget
  ARGV: now from until
    then for each meter: count, then for each of its counters: name kind start limit
  Reply: snapshot now open_count next_lease_end standings
    | clock now | again | lost | damaged field
]]
local books, reservations, leases, forget = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local given, from, till = ARGV[1], ARGV[2], ARGV[3]
-- include: time
-- include: counters
-- include: sweep

local at = 4
while ARGV[at] do at = add_counters(at) end
local got = redis.call('HMGET', books, unpack(fields))
if not got[1] then return {'lost'} end
if not is_amount(got[2]) then return {'damaged', 'now'} end
local now = time(given, got[2])
if now < tonumber(from) or now >= tonumber(till) then return {'clock', now} end
local total, rounds = 0, 0
while true do
  local ended, what = sweep(now, 16)
  if not ended then return {'damaged', what} end
  total = total + ended
  if ended < 16 then break end
  rounds = rounds + 1
  if rounds == 64 then return {'again'} end
end
if total > 0 then
  redis.call('HSET', books, 'now', digits(now))
  got = redis.call('HMGET', books, unpack(fields))
end
local damaged = take_counters(got)
if damaged then return {'damaged', damaged} end
local ahead = redis.call('ZRANGE', leases, 0, 0, 'WITHSCORES')
local reply = {'snapshot', now, redis.call('ZCARD', leases), tonumber(ahead[2] or -1)}
return add_standings(reply)
