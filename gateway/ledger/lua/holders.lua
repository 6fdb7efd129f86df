--[[
  Purpose: list open reservations, those whose lease ends first before the others.
  KEYS: books reservations leases
  ARGV: given count
  Reply: holders, then for each: id lease_end record | lost | damaged what
]]
local books, reservations, leases = KEYS[1], KEYS[2], KEYS[3]
local given, count = ARGV[1], ARGV[2]
-- include: time

local seen = redis.call('HGET', books, 'now')
if not seen then return {'lost'} end
local now = time(given, seen)
if not now then return {'damaged', 'now'} end
local after = '(' .. digits(now)
local open = redis.call('ZRANGEBYSCORE', leases, after, '+inf', 'WITHSCORES', 'LIMIT', '0', count)
local reply = {'holders'}
for i = 1, #open, 2 do
  local record = redis.call('HGET', reservations, open[i])
  if not record then return {'damaged', 'reservation ' .. open[i]} end
  reply[#reply + 1] = open[i]
  reply[#reply + 1] = tonumber(open[i + 1])
  reply[#reply + 1] = record
end
return reply
