--[[
  Purpose: set lines aside under many ids: for all of them or none, or for as many as fit, in order.
  KEYS: books reservations leases forget subjects
  ARGV: given from till fingerprint lease_ms keep_ms note partial interval_us burst_us meters count stamp
    then the names of all counters, rate
    then for each meter: count, then for each of its counters: floor limit
    then for each item: id lines, then for each of its lines: meter (as counted above) amount
  Reply: batch left reset retry letters item, if that is not 0: counter asked limit used peak
      reserved; then the counters, then of each item that was known: its lines
    | limited left reset retry | mismatch state id | clock now | again | lost | invalid amount
    | damaged what
  Letters, one for each item: `g` granted now, `-` left, and the state of one that was known.
]]
local books, reservations, leases, forget = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local subjects = KEYS[5]
local given, from, till, fingerprint = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local lease_ms, keep_ms, note, partial = ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local interval_us, burst_us, meters, count, stamp = ARGV[9], ARGV[10], ARGV[11], ARGV[12], ARGV[13]
local first, after = 14, 14 + count
local rate = ARGV[after]
-- include: time
-- include: counter
-- include: sweep
-- include: denial

-- The counters of each meter, and where ARGV says their floors; then the items.
local spans, floors, at = {}, {}, after + 1
for m = 1, meters do
  spans[m] = {#floors + 1, #floors + ARGV[at]}
  at = at + 1
  for c = spans[m][1], spans[m][2] do floors[c], at = at, at + 2 end
end
local ids, items = {}, {}
while ARGV[at] do
  local last = at + 2 * ARGV[at + 1]
  ids[#ids + 1], items[#items + 1] = ARGV[at], {at + 2, last}
  for n = at + 3, last + 1, 2 do
    if not amount_of(ARGV[n]) then return {'invalid', ARGV[n]} end
  end
  at = last + 2
end

local got = redis.call('HMGET', books, 'now', 'due', unpack(ARGV, first, after))
if not got[1] then return {'lost'} end
local now = time(given, got[1])
if not now then return {'damaged', 'now'} end
if now < tonumber(from) or now >= tonumber(till) then return {'clock', now} end
-- include: rate
local busy_us, counted_us, limited
if rate ~= '' then
  busy_us, counted_us, limited = rate_at(now, got[count + 3])
  if not busy_us then return {'damaged', rate} end
end

-- Known ids: the first answer again, or a refusal of other content. A batch with any was counted.
local records, known = redis.call('HMGET', reservations, unpack(ids)), 0
local letters, lists = {}, {}
for i = 1, #ids do
  if records[i] then
    local state, print, list = string.match(records[i], '^(%u) %d+ %d+ ([^ ]+) [^ ]+ ([^ ]+)$')
    if not state then return {'damaged', 'reservation ' .. ids[i]} end
    if print ~= fingerprint then return {'mismatch', state, ids[i]} end
    if state == 'O' then
      local ends = redis.call('ZSCORE', leases, ids[i])
      if ends and tonumber(ends) <= now then state = 'E' end
    end
    known = known + 1
    letters[i], lists[known] = state, list
  end
end
if known == 0 and limited then return with_rate({'limited', 0, 0, 0}, 2, now, busy_us) end
if known == 0 then busy_us = counted_us end

-- Gives room to the items that are not known, one after the other. Answers the first that has none,
-- its counter, what was asked of it and what was reserved then; or nil and a refusal.
local rooms, reserved, fits, touched = {}, {}, {}, {}
local function fit()
  for c = 1, count do
    local value = got[c + 2] or NONE
    local used, held, _, was = counter_of(value)
    local since = used and rest_of(value)
    if not since then return nil, {'damaged', ARGV[first + c - 1]} end
    if was ~= stamp and since - ARGV[floors[c]] < 0 then used = 0 end
    rooms[c] = ARGV[floors[c] + 1] - used - held
    reserved[c] = held
  end
  fits, touched = {}, {}
  local short, counter, asked, then_held
  for i = 1, #ids do
    local lacks = records[i] or nil
    for n = items[i][1], lacks and 0 or items[i][2], 2 do
      local amount, span = tonumber(ARGV[n + 1]), spans[tonumber(ARGV[n])]
      for c = span[1], span[2] do
        if not lacks and rooms[c] < amount then
          lacks = true
          if not short then short, counter, asked, then_held = i, c, ARGV[n + 1], reserved[c] end
        end
      end
    end
    if short and partial == '0' then return short, counter, asked end
    for n = items[i][1], lacks and 0 or items[i][2], 2 do
      local amount, span = tonumber(ARGV[n + 1]), spans[tonumber(ARGV[n])]
      for c = span[1], span[2] do
        rooms[c], reserved[c], touched[c] = rooms[c] - amount, reserved[c] + amount, true
      end
    end
    fits[i] = not lacks
  end
  return short, counter, asked, then_held
end

-- Leases that are due end first, as for one reservation; more at once, since to look for room again
-- takes longer here.
local text, due, swept, rounds = digits(now), tonumber(got[2] or 0) or 0, false, 0
local short, counter, asked, then_held
if known < #ids then
  repeat
    local ended, wrote = 0, false
    if now >= due then
      ended, due, wrote = sweep(now, 64, true)
      if not ended then return {'damaged', due} end
      if wrote then
        got = redis.call('HMGET', books, 'now', 'due', unpack(ARGV, first, after))
      end
      due, swept = tonumber(due), true
    end
    short, counter, asked, then_held = fit()
    if counter and not short then return counter end
    rounds = rounds + 1
    if rounds > 16 then return {'again'} end
  until not short or ended < 64
end

local reply = with_rate({'batch', 0, 0, 0, '', short or 0}, 2, now, busy_us)
local set, opened, ends = {'now', text}, {}, {}
local newcomer
if short then
  local value = got[counter + 2]
  if then_held then value = with_reserved(value or NONE, then_held) end
  local floor, limit = ARGV[floors[counter]], ARGV[floors[counter] + 1]
  local words = {denial(value, ARGV[first + counter - 1], asked, floor, limit)}
  for n = 1, #words do reply[#reply + 1] = words[n] end
end
if short and partial == '0' then fits, touched = {}, {} end
for i = 1, #ids do
  if fits[i] then
    local list = ''
    for n = items[i][1], items[i][2], 2 do
      local span = spans[tonumber(ARGV[n])]
      for c = span[1], span[2] do
        list = list .. ARGV[first + c - 1] .. '=' .. ARGV[n + 1] .. ','
      end
    end
    local record = 'O ' .. text .. ' ' .. keep_ms .. ' ' .. fingerprint .. ' ' .. note .. ' ' .. list
    opened[#opened + 1], opened[#opened + 2] = ids[i], record
    ends[#ends + 1], ends[#ends + 2] = digits(now + lease_ms), ids[i]
    letters[i] = 'g'
  end
  letters[i] = letters[i] or '-'
end
for c = 1, count do
  if touched[c] then
    local name = ARGV[first + c - 1]
    if not got[c + 2] and string.byte(name) == 115 then newcomer = name end
    got[c + 2] = with_reserved(got[c + 2] or NONE, reserved[c])
    set[#set + 1], set[#set + 2] = name, got[c + 2]
  end
  reply[#reply + 1] = got[c + 2] or NONE
end
if rate ~= '' and known == 0 then set[#set + 1], set[#set + 2] = rate, digits(busy_us) end
reply[5] = table.concat(letters)
for n = 1, known do reply[#reply + 1] = lists[n] end
if known == #ids then
  -- Written once more as it is, if it can be: a WAIT of the connection that asks is about writes.
  redis.pcall('HSET', reservations, ids[1], records[1])
  return reply
end
if opened[1] and now + lease_ms < due then due, swept = now + lease_ms, true end
if swept then set[#set + 1], set[#set + 2] = 'due', digits(due) end
-- After this point it must succeed. The first write is one that a full store refuses: no room for
-- records, no reservations.
redis.call('HSET', books, unpack(set))
if opened[1] then
  redis.call('HSET', reservations, unpack(opened))
  redis.call('ZADD', leases, unpack(ends))
  -- include: index
end
return reply
