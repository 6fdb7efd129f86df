--[[
  Purpose: end leases that are due, so that an account nobody asks about gets its room back.
  KEYS: books reservations leases forget
  ARGV: given batch_max
  Reply: expired count more next_lease_end | lost | damaged what
]]
local books, reservations, leases, forget = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local given, batch_max = ARGV[1], ARGV[2]
-- include: time
-- include: counter
-- include: sweep

local seen = redis.call('HGET', books, 'now')
if not seen then return {'lost'} end
local now = time(given, seen)
if not now then return {'damaged', 'now'} end
local ended, what = sweep(now, tonumber(batch_max))
if not ended then return {'damaged', what} end
local ahead = redis.call('ZRANGE', leases, 0, 0, 'WITHSCORES')
local next_end = tonumber(ahead[2] or -1)
return {'expired', ended, next_end ~= -1 and next_end <= now and 1 or 0, next_end}
