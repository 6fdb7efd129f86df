--[[
  Purpose: let an open reservation hold more: new totals per meter, all of them or none.
  KEYS: books reservations leases forget
  ARGV: now from until id
    then for each line: least most count, then for each of its counters: name kind start limit
  Reply: granted now amounts standings | denied counter requested limit used reserved peak
    | unknown | settled state | clock now | again | lost | invalid amount | damaged field
]]
local books, reservations, leases, forget = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local given, from, till, id = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
-- include: time
-- include: counters
-- include: sweep

local least, most, first = {}, {}, {}
local at = 5
while ARGV[at] do
  local line = #least + 1
  if not is_amount(ARGV[at]) then return {'invalid', ARGV[at]} end
  if not is_amount(ARGV[at + 1]) then return {'invalid', ARGV[at + 1]} end
  least[line], most[line] = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  first[line] = #names + 1
  at = add_counters(at + 2)
end
first[#least + 1] = #names + 1

local got = redis.call('HMGET', books, unpack(fields))
if not got[1] then return {'lost'} end
if not is_amount(got[2]) then return {'damaged', 'now'} end
local now = time(given, got[2])
if now < tonumber(from) or now >= tonumber(till) then return {'clock', now} end
local damaged = take_counters(got)
if damaged then return {'damaged', damaged} end
local record = redis.call('HGET', reservations, id)
if not record then return {'unknown'} end
local state, head, lines = string.match(record, '^(%u)( %d+ %d+ %S+ %S+ )(%S+)$')
if not state then return {'damaged', 'reservation ' .. id} end
if state ~= 'O' then return {'settled', state} end
local lease_end = redis.call('ZSCORE', leases, id)
if not lease_end then return {'damaged', 'lease ' .. id} end
if tonumber(lease_end) <= now then return {'settled', 'E'} end
local held, order = {}, {}
for counter, amount in string.gmatch(lines, '([^,=]+)=(%d+)') do
  held[counter] = tonumber(amount)
  order[#order + 1] = counter
end

-- A line that asks for no more than is held keeps it, also when the account is over its limit.
local totals = {}
local function short()
  for line = 1, #least do
    local has = held[names[first[line]]] or 0
    local total = most[line]
    for n = first[line], first[line + 1] - 1 do
      local room = (held[names[n]] or 0) + limits[n] - used[n] - reserved[n]
      if room < least[line] and least[line] > has then return n, least[line] end
      total = math.min(total, room)
    end
    totals[line] = math.max(has, total)
  end
end

redis.call('HSET', books, 'now', digits(now))
local counter, requested
local rounds = 0
while true do
  local ended, what = sweep(now, 16)
  if not ended then return {'damaged', what} end
  if ended > 0 then
    got = redis.call('HMGET', books, unpack(fields))
    take_counters(got)
  end
  counter, requested = short()
  if not counter or ended < 16 then break end
  rounds = rounds + 1
  if rounds == 64 then return {'again'} end
end
if counter then
  return {'denied', names[counter], digits(requested), digits(limits[counter]),
    digits(used[counter]), digits(reserved[counter]), digits(peaks[counter])}
end

local reply = {'granted', now}
local grown = {}
for line = 1, #least do
  reply[#reply + 1] = totals[line]
  for n = first[line], first[line + 1] - 1 do
    local has = held[names[n]] or 0
    if totals[line] > (held[names[first[line]]] or 0) then
      if not held[names[n]] then order[#order + 1] = names[n] end
      grown[n] = totals[line] - has
      held[names[n]] = totals[line]
      reserved[n] = reserved[n] + grown[n]
    end
  end
end
if not next(grown) then return add_standings(reply) end
for i = 1, #order do order[i] = order[i] .. '=' .. digits(held[order[i]]) end
-- After this point it must succeed.
redis.call('HSET', reservations, id, 'O' .. head .. table.concat(order, ','))
for n = 1, #names do
  if grown[n] then redis.call('HINCRBY', books, names[n] .. ':r', digits(grown[n])) end
end
return add_standings(reply)
