--[[
  Purpose: let an open reservation hold more: new totals per meter, all of them or none.
  KEYS: books reservations leases forget subjects
  ARGV: numbers stamp shape floors
    then the names of all counters
    then: given id, then for each line: amount, or least-most
  Numbers, packed: from till lines count, the limits of all counters
  Reply: granted, what each line has in all, the counters | denied counter requested limit used peak reserved
    | unknown | settled_as state | clock now | again | lost | invalid amount | damaged what
]]
local books, reservations, leases, forget = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local subjects = KEYS[5]
local numbers, stamp, shape, floors = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local from, till, lines, count, limits = struct.unpack('<dddd', numbers)
local bounds = {struct.unpack('<' .. string.rep('d', count), numbers, limits)}
local first, last, asked = 5, 4 + count, #ARGV - lines + 1
local given, id = ARGV[asked - 2], ARGV[asked - 1]
-- include: time
-- include: counter

local got = redis.call('HMGET', books, 'now', 'due', unpack(ARGV, first, last))
if not got[1] then return {'lost'} end
local now = time(given, got[1])
if not now then return {'damaged', 'now'} end
if now < from or now >= till then return {'clock', now} end
local record = redis.call('HGET', reservations, id)
if not record then return {'unknown'} end
local state, before, list = string.match(record, '^(%u)( %d+ %d+ [^ ]+ [^ ]+ )([^ ]+)$')
if not state then return {'damaged', 'reservation ' .. id} end
if state ~= 'O' then return {'settled_as', state} end
local ends = redis.call('ZSCORE', leases, id)
if not ends then return {'damaged', 'lease ' .. id} end
if tonumber(ends) <= now then return {'settled_as', 'E'} end

local spans = shape ~= '' and listed(shape)
local due, rounds, words, reply, set, size = tonumber(got[2] or 0) or 0, 0, 1
local held, order, short, lacking, bound, starts, newcomer
repeat
  local ended, wrote = 0, false
  if now >= due then
    -- include: sweep
    ended, due, wrote = sweep(now, 16, true)
    if not ended then return {'damaged', due} end
    if wrote then
      got = redis.call('HMGET', books, 'now', 'due', unpack(ARGV, first, last))
    end
    due = tonumber(due)
  end
  held, order = {}, {}
  for name, amount in string.gmatch(list, '([^,=]+)=(%d+)') do
    held[name] = tonumber(amount)
    order[#order + 1] = name
  end
  reply, set, size, short = {'granted'}, {'now', digits(now)}, 2, nil
  -- include: lines
  rounds = rounds + 1
  if rounds > 64 then return {'again'} end
until not short or ended < 16
if short then
  -- include: denial
  return {'denied', denial(got[short + 2], ARGV[first + short - 1], lacking, listed(floors)[short],
    bound)}
end

for i = 1, #order do order[i] = order[i] .. '=' .. digits(held[order[i]]) end
-- After this point it must succeed.
if size > 2 then
  redis.call('HSET', books, unpack(set, 1, size))
  redis.call('HSET', reservations, id, state .. before .. table.concat(order, ','))
  -- include: index
else
  -- Written once more as it is, if it can be: a WAIT of the connection that asks is about writes.
  redis.pcall('HSET', reservations, id, record)
end
return reply
