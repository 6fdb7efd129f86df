--[[
  Purpose: end leases that are due, so that an account nobody asks about gets its room back.
  KEYS: books reservations leases forget
  ARGV: now batch_max
  Reply: expired count more next_lease_end | lost | damaged field
]]
local books, reservations, leases, forget = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local given, batch_max = ARGV[1], tonumber(ARGV[2])
-- include: time
-- include: sweep

local got = redis.call('HMGET', books, 'gen', 'now')
if not got[1] then return {'lost'} end
if not is_amount(got[2]) then return {'damaged', 'now'} end
local now = time(given, got[2])
local ended, what = sweep(now, batch_max)
if not ended then return {'damaged', what} end
if ended > 0 then redis.call('HSET', books, 'now', digits(now)) end
local ahead = redis.call('ZRANGE', leases, 0, 0, 'WITHSCORES')
local next_end = tonumber(ahead[2] or -1)
return {'expired', ended, next_end ~= -1 and next_end <= now and 1 or 0, next_end}
