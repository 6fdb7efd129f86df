--[[
  Purpose: take an asset off the books, once: its level meters get back what it was charged.
  KEYS: books assets
    then those of the hours and days of earlier moves, as a `stale` reply asks
  ARGV: from till stamp periods given asset
  Reply: removed row | none | clock now | stale hours | lost | below counter used | damaged what
]]
local books, assets = KEYS[1], KEYS[2]
local from, till, stamp, periods = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local given, asset = ARGV[5], ARGV[6]
local floors, fixed = '', 2
-- include: time
-- include: counter
local set, size = {'now', nil, nil, nil, nil, nil, nil, nil}, 2
local starts, past, newcomer, charged_to
local stale = {'stale'}

local row = redis.call('HGET', assets, asset)
local seen = redis.call('HGET', books, 'now')
if not seen then return {'lost'} end
if not tonumber(seen) then return {'damaged', 'now'} end
local now = time(given, tonumber(seen))
if now - from < 0 or now - till >= 0 then return {'clock', now} end
if not row then return {'none'} end
local charged = {}
for name, amount in string.gmatch(row, '([^,=]+)=(%d+)') do charged[name] = amount end
local held = {}
-- include: give_back
if stale[2] then return stale end
-- After this point it must succeed. HDEL goes first: then a full store lets the rest pass, too.
redis.call('HDEL', assets, asset)
set[2] = digits(now)
redis.call('HSET', books, unpack(set, 1, size))
-- include: buckets
return {'removed', row}
