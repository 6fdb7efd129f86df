--[[
  Purpose: take an asset off the books, once: its level meters get back what it was charged.
  KEYS: books assets hours days
  ARGV: given from till asset hour day
    then for each level meter: meter start
  Reply: removed row | none | clock now | lost | below counter used | damaged what
]]
local books, assets, hours, days = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local given, from, till, asset, hour, day = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
-- include: time
-- include: charge

local row = redis.call('HGET', assets, asset)
local seen = redis.call('HGET', books, 'now')
if not seen then return {'lost'} end
if not tonumber(seen) then return {'damaged', 'now'} end
local now = time(given, tonumber(seen))
if now < tonumber(from) or now >= tonumber(till) then return {'clock', now} end
if not row then return {'none'} end
local charged = {}
for name, amount in string.gmatch(row, '([^,=]+)=(%d+)') do charged[name] = amount end
local refused = give_back({}, charged, 7, #ARGV)
if refused then return refused end
-- After this point it must succeed. HDEL goes first: then a full store lets the rest pass, too.
redis.call('HDEL', assets, asset)
write(now)
write_history()
return {'removed', row}
