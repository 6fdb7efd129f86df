--[[
  Purpose: how an account stands on all its counters at one instant, due leases ended first.
  KEYS: books reservations leases forget
  ARGV: given from till
    then the names of all counters
  Reply: snapshot now open_count next_lease_end, the counters
    | clock now | again | lost | damaged what
]]
local books, reservations, leases, forget = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local given, from, till = ARGV[1], ARGV[2], ARGV[3]
-- include: time
-- include: counter
-- include: sweep

local seen = redis.call('HMGET', books, 'now', 'due')
if not seen[1] then return {'lost'} end
local now = time(given, seen[1])
if not now then return {'damaged', 'now'} end
local due = tonumber(seen[2] or 0) or 0
if now < tonumber(from) or now >= tonumber(till) then return {'clock', now} end
local rounds = 0
repeat
  local ended = 0
  if now >= due then
    ended, due = sweep(now, 16)
    if not ended then return {'damaged', due} end
    due = tonumber(due)
  end
  rounds = rounds + 1
  if rounds > 64 then return {'again'} end
until ended < 16
local ahead = redis.call('ZRANGE', leases, 0, 0, 'WITHSCORES')
local reply = {'snapshot', now, redis.call('ZCARD', leases), tonumber(ahead[2] or -1)}
for i = 4, #ARGV, 64 do
  local got = redis.call('HMGET', books, unpack(ARGV, i, math.min(i + 63, #ARGV)))
  for n = 1, #got do
    local value = got[n] or NONE
    if not counter_of(value) or not rest_of(value) then return {'damaged', ARGV[i + n - 1]} end
    reply[#reply + 1] = value
  end
end
return reply
