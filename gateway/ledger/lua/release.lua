--[[
  Purpose: end an open reservation and give back all that it holds; nothing was used.
  KEYS: books reservations leases forget
  ARGV: now id reason
  Reply: settled state replayed | unknown | settled_as state | lost | damaged field
]]
local books, reservations, leases, forget = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local given, id, reason = ARGV[1], ARGV[2], ARGV[3]
-- include: time

local record = redis.call('HGET', reservations, id)
local state, opened, keep_ms, print, lines
if record then
  local pattern = '^(%u) (%d+) (%d+) (%S+) %S+ (%S+)$'
  state, opened, keep_ms, print, lines = string.match(record, pattern)
  if not state then return {'damaged', 'reservation ' .. id} end
end
local fields, gives = {'gen', 'now'}, {}
if state == 'O' then
  for name, held in string.gmatch(lines, '([^,=]+)=(%d+)') do
    fields[#fields + 1] = name .. ':r'
    gives[#fields] = tonumber(held)
  end
end
local got = redis.call('HMGET', books, unpack(fields))
if not got[1] then return {'lost'} end
if not is_amount(got[2]) then return {'damaged', 'now'} end
local now = time(given, got[2])
if not state then return {'unknown'} end
if state == 'R' then return {'settled', state, 1} end
if state == 'E' then return {'settled', state, 0} end
if state ~= 'O' then return {'settled_as', state} end
for f = 3, #fields do
  if not is_amount(got[f]) or tonumber(got[f] or 0) < gives[f] then return {'damaged', fields[f]} end
end
local lease_end = redis.call('ZSCORE', leases, id)
if not lease_end then return {'damaged', 'lease ' .. id} end
redis.call('ZSCORE', forget, id)
if tonumber(lease_end) <= now then
  state, keep_ms = 'E', digits(math.max(tonumber(keep_ms), 86400000))
else
  state = 'R'
end
record = table.concat({state, opened, keep_ms, print, reason, lines}, ' ')
-- After this point it must succeed. ZREM goes first: then a full store lets the rest pass, too.
redis.call('ZREM', leases, id)
for f = 3, #fields do
  if gives[f] > 0 then redis.call('HINCRBY', books, fields[f], digits(0 - gives[f])) end
end
redis.call('HSET', books, 'now', digits(now))
redis.call('HSET', reservations, id, record)
redis.call('ZADD', forget, digits(now + tonumber(keep_ms)), id)
return {'settled', state, 0}
