--[[
  Purpose: take an asset off the books, once: its level meters get back what it was charged. It is
    remembered for `keep_ms`, so that no commit of before charges for it when it comes later. One
    that comes `age_ms` late itself takes nothing that was stored since.
  KEYS: books assets reservations forget
    then those of the hours and days of earlier moves, as a `stale` reply asks
  ARGV: from till stamp periods age_ms keep_ms given asset
  Reply: removed row | none | clock now | stale hours | lost | below counter used | damaged what
]]
local books, assets, reservations, forget = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local from, till, stamp, periods = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local age_ms, keep_ms, given, asset = ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local floors, fixed = '', 4
-- include: time
-- include: counter
-- include: changed
local set, size = {'now', nil, nil, nil, nil, nil, nil, nil}, 2
local starts, past, newcomer, charged_to
local stale = {'stale'}

local row = redis.call('HGET', assets, asset)
local seen = redis.call('HGET', books, 'now')
if not seen then return {'lost'} end
local now = time(given, seen)
if not now then return {'damaged', 'now'} end
if now - from < 0 or now - till >= 0 then return {'clock', now} end
local at, tombstone = now - age_ms, tombstone_of(asset)
local known = redis.call('HGET', reservations, tombstone)
if changed_at(row, known) > at then return {'none'} end
local held, charged = {}, {}
if row then
  for name, amount in string.gmatch(row, '([^,=]+)=(%d+)') do charged[name] = amount end
  -- include: give_back
end
if stale[2] then return stale end
redis.call('ZCARD', forget)
-- After this point it must succeed. HDEL goes first: then a full store lets the rest pass, too.
redis.call('HDEL', assets, asset)
set[2] = digits(now)
redis.call('HSET', books, unpack(set, 1, size))
if not known or string.sub(known, 1, 2) == 'X ' then
  redis.call('HSET', reservations, tombstone, 'X ' .. digits(at) .. ' ' .. keep_ms .. ' - - -')
  redis.call('ZADD', forget, digits(now + keep_ms), tombstone)
end
-- include: buckets
if not row then return {'none'} end
return {'removed', row}
