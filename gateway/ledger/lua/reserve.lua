--[[
  Purpose: set lines aside under one id, all of them on all their counters, or none.
  KEYS: books reservations leases forget subjects
  ARGV: given from till id fingerprint lease_ms keep_ms note remember interval_us burst_us count
    then the names of all counters, rate
    then for each line: least most count, then for each of its counters: floor limit
  Reply: granted state replayed left reset retry, what each line got, the counters
    | denied replayed left reset retry counter requested limit used peak reserved
    | limited left reset retry | mismatch state | clock now | again | lost | invalid amount
    | damaged what
]]
local books, reservations, leases, forget = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local subjects = KEYS[5]
local given, from, till, id, fingerprint = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local lease_ms, keep_ms, note, remember = ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local interval_us, burst_us, count = ARGV[10], ARGV[11], ARGV[12]
local first, after = 13, 13 + ARGV[12]
local rate, lines = ARGV[after], after + 1
-- include: time
-- include: sweep
-- include: lines
-- include: rate
-- include: index

local got = redis.call('HMGET', books, 'now', unpack(ARGV, first, after))
if not got[1] then return {'lost'} end
local seen = tonumber(got[1])
if not seen then return {'damaged', 'now'} end
local now = time(given, seen)
if now < tonumber(from) or now >= tonumber(till) then return {'clock', now} end
local refused = read_rate(got[after - 11], now)
if refused then return refused end

-- A known id: the first answer again, or a refusal of other content.
local record = count ~= '0' and redis.call('HGET', reservations, id)
if record then
  local state, print, detail, list =
    string.match(record, '^(%u) %d+ %d+ ([^ ]+) ([^ ]+) ([^ ]+)$')
  if not state then return {'damaged', 'reservation ' .. id} end
  if print ~= fingerprint then return {'mismatch', state} end
  if state == 'D' then
    local reply = with_rate({'denied', 1, 0, 0, 0}, 3, now)
    for word in string.gmatch(detail, '[^;]+') do reply[#reply + 1] = word end
    return reply
  end
  if state == 'O' then
    local ends = redis.call('ZSCORE', leases, id)
    if ends and tonumber(ends) <= now then state = 'E' end
  end
  local amounts = {}
  for name, amount in string.gmatch(list, '([^,=]+)=(%d+)') do amounts[name] = amount end
  local reply = with_rate({'granted', state, 1, 0, 0, 0}, 4, now)
  local at, c = lines, first
  while ARGV[at] do
    reply[#reply + 1] = amounts[ARGV[c]] or '0'
    c, at = c + ARGV[at + 2], at + 3 + 2 * ARGV[at + 2]
  end
  for n = 2, count + 1 do reply[#reply + 1] = got[n] or '0 0 0 0' end
  return reply
end

if not count_rate(now) then return with_rate({'limited', 0, 0, 0}, 2, now) end

-- Leases that are due end first, whoever held them: a denial is final only when none is left.
local text, rounds = digits(now), 0
local short, asked, floor
repeat
  local ended, wrote = 0, false
  if count ~= '0' then ended, wrote = sweep(text, '16', true) end
  if not ended then return {'damaged', wrote} end
  if wrote then got = redis.call('HMGET', books, 'now', unpack(ARGV, first, after)) end
  short, asked, floor = place(got, lines, {})
  if asked and not short then return asked end
  rounds = rounds + 1
  if rounds > 64 then return {'again'} end
until not short or ended < 16

if short then
  local reply = with_rate({'denied', 0, 0, 0, 0, denial(got, short, asked, floor)}, 3, now)
  -- After this point it must succeed.
  redis.call('HSET', books, 'now', text)
  if rate ~= '' then redis.call('HSET', books, rate, digits(busy_us)) end
  if remember == '1' then
    local detail = table.concat(reply, ';', 6)
    record = 'D ' .. text .. ' ' .. keep_ms .. ' ' .. fingerprint .. ' ' .. detail .. ' -'
    redis.call('HSET', reservations, id, record)
    redis.call('ZADD', forget, digits(now + keep_ms), id)
  end
  return reply
end

local reply = with_rate({'granted', 'O', 0, 0, 0, 0}, 4, now)
local set, list, at, c = {'now', text}, '', lines, 0
local newcomer
while ARGV[at] do
  local n, last = #reply, c + ARGV[at + 2]
  local total = totals[n - 5]
  local amount = ARGV[at + 1]
  if total - amount ~= 0 then amount = digits(total) end
  reply[n + 1] = amount
  while c < last do
    local name = ARGV[first + c]
    c = c + 1
    if not got[c + 1] and string.byte(name) == 115 then newcomer = name end
    got[c + 1] = heads[c] .. digits(total + reserved[c])
    set[2 * c + 1], set[2 * c + 2] = name, got[c + 1]
    list = list .. name .. '=' .. amount .. ','
  end
  at = at + 3 + 2 * ARGV[at + 2]
end
if rate ~= '' then set[#set + 1], set[#set + 2] = rate, digits(busy_us) end
-- After this point it must succeed. The first write is one that a full store refuses: no room for
-- a record, no reservation.
redis.call('HSET', books, unpack(set))
if c > 0 then
  record = 'O ' .. text .. ' ' .. keep_ms .. ' ' .. fingerprint .. ' ' .. note .. ' ' .. list
  redis.call('HSET', reservations, id, record)
  redis.call('ZADD', leases, digits(now + lease_ms), id)
  list_subject(newcomer)
end
for n = 2, c + 1 do reply[#reply + 1] = got[n] end
return reply
