--[[
  Purpose: take an asset off the books, once: its level meters get back what it was charged.
  KEYS: books assets hours days
  ARGV: now from until asset hour day
    then for each level meter: meter start
  Reply: removed row | none | clock now | lost | below counter used | damaged field
]]
local books, assets, hours, days = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local given, from, till, asset, hour, day = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
-- include: time
-- include: charge

local since = {}
for i = 7, #ARGV, 2 do since[ARGV[i]] = tonumber(ARGV[i + 1]) end
local row = redis.call('HGET', assets, asset)
if row then add_asset(row, since) end
local got = redis.call('HMGET', books, unpack(fields))
if not got[1] then return {'lost'} end
if not is_amount(got[2]) then return {'damaged', 'now'} end
local now = time(given, got[2])
if now < tonumber(from) or now >= tonumber(till) then return {'clock', now} end
if not row then return {'none'} end
local refused = take(got)
if refused then return refused end
-- After this point it must succeed. HDEL goes first: then a full store lets the rest pass, too.
redis.call('HDEL', assets, asset)
write(now)
return {'removed', row}
