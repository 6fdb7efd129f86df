--[[
  Purpose: set lines aside under one id, all of them on all their counters, or none.
  KEYS: books reservations leases forget
  ARGV: now from until id fingerprint lease_ms keep_ms note remember rate interval_us burst_us
    then for each line: least most count, then for each of its counters: name kind start limit
  Reply: granted state replayed now left reset retry amounts standings | limited left reset retry
    | denied replayed counter requested limit used reserved peak left reset retry
    | mismatch state | clock now | again | lost | invalid amount | damaged field
]]
local books, reservations, leases, forget = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local given, from, till, id, fingerprint = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local lease_ms, keep_ms, note, remember = ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local rate, interval_us, burst_us = ARGV[10], tonumber(ARGV[11]), tonumber(ARGV[12])
-- include: time
-- include: counters
-- include: sweep

local least, most, first = {}, {}, {}
local at = 13
while ARGV[at] do
  local line = #least + 1
  if not is_amount(ARGV[at]) then return {'invalid', ARGV[at]} end
  if not is_amount(ARGV[at + 1]) then return {'invalid', ARGV[at + 1]} end
  least[line], most[line] = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  first[line] = #names + 1
  at = add_counters(at + 2)
end
first[#least + 1] = #names + 1
if rate ~= '' then fields[#fields + 1] = rate end

local got = redis.call('HMGET', books, unpack(fields))
if not got[1] then return {'lost'} end
if not is_amount(got[2]) then return {'damaged', 'now'} end
local now = time(given, got[2])
if now < tonumber(from) or now >= tonumber(till) then return {'clock', now} end
local damaged = take_counters(got)
if damaged then return {'damaged', damaged} end

-- The rate limit (GCRA): `busy_us` is when the allowance of all requests so far will be back.
local now_us, busy_us = now * 1000, 0
if rate ~= '' then
  if not is_amount(got[#fields]) then return {'damaged', rate} end
  busy_us = math.max(tonumber(got[#fields] or 0), now_us)
end
local function rate_state(tag)
  local reply = tag
  local ahead, n = busy_us - now_us, #reply
  if rate == '' then ahead, interval_us, burst_us = 0, 1, 1 end
  reply[n + 1] = math.max(0, math.floor((burst_us - ahead) / interval_us))
  reply[n + 2] = math.ceil(ahead / 1000)
  reply[n + 3] = math.ceil(math.max(0, ahead + interval_us - burst_us) / 1000)
  return reply
end

-- A known id: the first answer again, or a refusal of other content.
local record = #least > 0 and redis.call('HGET', reservations, id)
if record then
  local state, print, detail, held = string.match(record, '^(%u) %d+ %d+ (%S+) (%S+) (%S+)$')
  if not state then return {'damaged', 'reservation ' .. id} end
  if print ~= fingerprint then return {'mismatch', state} end
  if state == 'D' then
    local reply = {'denied', 1}
    for word in string.gmatch(detail, '[^;]+') do reply[#reply + 1] = word end
    return rate_state(reply)
  end
  if state == 'O' then
    local lease_end = redis.call('ZSCORE', leases, id)
    if lease_end and tonumber(lease_end) <= now then state = 'E' end
  end
  local reply = rate_state({'granted', state, 1, now})
  local amounts = {}
  for counter, amount in string.gmatch(held, '([^,=]+)=(%d+)') do
    amounts[counter] = tonumber(amount)
  end
  for line = 1, #least do reply[#reply + 1] = amounts[names[first[line]]] or 0 end
  return add_standings(reply)
end

if rate ~= '' then
  if busy_us + interval_us - now_us > burst_us then return rate_state({'limited'}) end
  busy_us = busy_us + interval_us
end

-- What each line gets, or the first counter that has no room for it.
local amounts = {}
local function short()
  for line = 1, #least do
    local amount = most[line]
    for n = first[line], first[line + 1] - 1 do
      local room = limits[n] - used[n] - reserved[n]
      if room < least[line] then return n, least[line] end
      amount = math.min(amount, room)
    end
    amounts[line] = amount
  end
end

-- Leases that are due end first, whoever held them: a denial is final only when none is left.
-- The first write is one that a full store refuses: no room for a record, no reservation.
redis.call('HSET', books, 'now', digits(now))
local counter, requested
local rounds = 0
while true do
  local ended, what = 0, nil
  if #least > 0 then ended, what = sweep(now, 16) end
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

local state, held = 'O', {}
local reply
if counter then
  state = 'D'
  local limit = digits(limits[counter])
  local detail = {names[counter], digits(requested), limit, digits(used[counter])}
  detail[5], detail[6] = digits(reserved[counter]), digits(peaks[counter])
  reply = {'denied', 0, unpack(detail)}
  note, held[1] = table.concat(detail, ';'), '-'
else
  reply = rate_state({'granted', state, 0, now})
  for line = 1, #least do
    reply[#reply + 1] = amounts[line]
    for n = first[line], first[line + 1] - 1 do
      held[n] = names[n] .. '=' .. digits(amounts[line])
      reserved[n] = reserved[n] + amounts[line]
    end
  end
end
-- After this point it must succeed.
if rate ~= '' then redis.call('HSET', books, rate, digits(busy_us)) end
if #least > 0 and (state == 'O' or remember == '1') then
  record = table.concat({state, digits(now), keep_ms, fingerprint, note, table.concat(held, ',')}, ' ')
  redis.call('HSET', reservations, id, record)
end
if state == 'D' then
  if remember == '1' then redis.call('ZADD', forget, digits(now + tonumber(keep_ms)), id) end
  return rate_state(reply)
end
if #least == 0 then return reply end
redis.call('ZADD', leases, digits(now + tonumber(lease_ms)), id)
for line = 1, #least do
  for n = first[line], first[line + 1] - 1 do
    redis.call('HINCRBY', books, names[n] .. ':r', digits(amounts[line]))
  end
end
return add_standings(reply)
