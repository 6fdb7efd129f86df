--[[
  Purpose: end an open reservation and give back all that it holds; nothing was used.
  KEYS: books reservations leases forget
  ARGV: given id reason
  Reply: settled state replayed | unknown | settled_as state | lost | damaged what
]]
local books, reservations, leases, forget = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local given, id, reason = ARGV[1], ARGV[2], ARGV[3]
-- include: time
-- include: counter

local record = redis.call('HGET', reservations, id)
local state, opened, keep_ms, print, list
if record then
  state, opened, keep_ms, print, list =
    string.match(record, '^(%u) (%d+) (%d+) ([^ ]+) [^ ]+ ([^ ]+)$')
  if not state then return {'damaged', 'reservation ' .. id} end
end
local names, gives = {'now'}, {}
if state == 'O' then
  for name, held in string.gmatch(list, '([^,=]+)=(%d+)') do
    names[#names + 1] = name
    gives[#names] = held
  end
end
local got = redis.call('HMGET', books, unpack(names))
if not got[1] then return {'lost'} end
local now = time(given, got[1])
if not now then return {'damaged', 'now'} end
if not state then return {'unknown'} end
if state == 'R' then return {'settled', state, 1} end
if state == 'E' then return {'settled', state, 0} end
if state ~= 'O' then return {'settled_as', state} end
local ends = redis.call('ZSCORE', leases, id)
if not ends then return {'damaged', 'lease ' .. id} end
redis.call('ZCARD', forget)
local set = {'now', digits(now)}
for n = 2, #names do
  local value = got[n] or ''
  local used, reserved = counter_of(value)
  if not used or reserved - gives[n] < 0 then return {'damaged', names[n]} end
  set[2 * n - 1], set[2 * n] = names[n], with_reserved(value, reserved - gives[n])
end
local until_ms = now + keep_ms
state = 'R'
if tonumber(ends) <= now then
  state, until_ms = 'E', now + math.max(keep_ms, 86400000)
end
record = table.concat({state, opened, keep_ms, print, reason, list}, ' ')
-- After this point it must succeed. ZREM goes first: then a full store lets the rest pass, too.
redis.call('ZREM', leases, id)
redis.call('HSET', books, unpack(set))
redis.call('HSET', reservations, id, record)
redis.call('ZADD', forget, digits(until_ms), id)
return {'settled', state, 0}
