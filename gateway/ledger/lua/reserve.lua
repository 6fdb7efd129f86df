--[[
  Purpose: set lines aside under one id, all of them on all their counters, or none. Calls that
    differ in account, API key, id and amounts alone may be made as one.
  KEYS: books reservations leases forget subjects
    for each call, without subjects where no counter is of one
  ARGV: numbers stamp keep_ms remember shape floors note given
    then the names of all counters
    then for each call: rate id fingerprint, then for each line: amount, or least-most
  Numbers, packed: from till lease_ms interval_us burst_us lines count, the limits of all counters
  Reply: granted state replayed left reset retry, what each line got, the counters
    | denied replayed left reset retry counter requested limit used peak reserved
    | limited left reset retry | mismatch state | clock now | again | lost | invalid amount
    | damaged what
    For several calls a list of these; `apart` is to be asked alone
]]
local numbers, stamp, keep_ms = ARGV[1], ARGV[2], ARGV[3]
local remember, shape, floors = ARGV[4], ARGV[5], ARGV[6]
local note, given = ARGV[7], ARGV[8]
local from, till, lease_ms, interval_us, burst_us, lines, count, limits =
  struct.unpack('<ddddddd', numbers)
local bounds = {struct.unpack('<' .. string.rep('d', count), numbers, limits)}
local first = 9
local named = {unpack(ARGV, first, first + count - 1)}
-- include: time
-- include: counter
-- include: rate
local spans = shape ~= '' and listed(shape)

-- Of an id that is known: the first answer again, or a refusal of other content.
local function told(reservations, leases, id, fingerprint, got, now, busy_us)
  local record = redis.call('HGET', reservations, id)
  if not record then return nil end
  local state, print, detail, list =
    string.match(record, '^(%u) %d+ %d+ ([^ ]+) ([^ ]+) ([^ ]+)$')
  if not state then return {'damaged', 'reservation ' .. id} end
  if print ~= fingerprint then return {'mismatch', state} end
  -- Written once more as it is, if it can be: a WAIT of the connection that asks is about writes.
  redis.pcall('HSET', reservations, id, record)
  if state == 'D' then
    local reply = with_rate({'denied', 1, 0, 0, 0}, 3, now, busy_us)
    for word in string.gmatch(detail, '[^;]+') do reply[#reply + 1] = word end
    return reply
  end
  if state == 'O' then
    local ends = redis.call('ZSCORE', leases, id)
    if ends and tonumber(ends) <= now then state = 'E' end
  end
  local amounts = {}
  for name, amount in string.gmatch(list, '([^,=]+)=(%d+)') do amounts[name] = amount end
  local reply, c = with_rate({'granted', state, 1, 0, 0, 0}, 4, now, busy_us), first
  for line = 1, lines do
    reply[#reply + 1] = amounts[ARGV[c]] or '0'
    c = c + (spans and spans[line] or 1)
  end
  for n = 3, count + 2 do reply[#reply + 1] = got[n] or NONE end
  return reply
end

-- The call whose words begin at `at`, and whose keys stand from `from_key` to `last_key`. An id is
-- most likely new, and a record that is not written over one that is there says whether it is.
local function one(at, from_key, last_key)
  local books, reservations, leases, forget, subjects = unpack(KEYS, from_key, last_key)
  local rate, id, fingerprint = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local asked = at + 3
  named[count + 1] = rate
  local got = redis.call('HMGET', books, 'now', 'due', unpack(named, 1, count + 1))
  if not got[1] then return {'lost'} end
  local now = time(given, got[1])
  if not now then return {'damaged', 'now'} end
  if now < from or now >= till then return {'clock', now} end
  local busy_us, counted_us, limited
  if rate ~= '' then
    busy_us, counted_us, limited = rate_at(now, got[3 + count])
    if not busy_us then return {'damaged', rate} end
  end

  local text, due, swept, rounds = instant(now), got[2] or '0', false, 0
  if count > 0 and (limited or not later(due, text)) then
    local before = told(reservations, leases, id, fingerprint, got, now, busy_us)
    if before then return before end
  end
  if limited then return with_rate({'limited', 0, 0, 0}, 2, now, busy_us) end

  -- Leases that are due end first, whoever held them: a denial is final only when none is left.
  -- Tables are of their size from the beginning: one that grows is moved again and again.
  local ends = instant(now + lease_ms)
  local held, words, reply, set, size, list, short, lacking, bound, starts, newcomer, order = false, 6
  repeat
    local ended, wrote = 0, false
    if count > 0 and not later(due, text) then
      -- include: sweep
      ended, due, wrote = sweep(now, 16, true)
      if not ended then return {'damaged', due} end
      if wrote then got = redis.call('HMGET', books, 'now', 'due', unpack(named, 1, count + 1)) end
      swept = true
    end
    reply = {'granted', 'O', 0, 0, 0, 0, nil, nil, nil, nil, nil, nil}
    set = {'now', text, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil}
    size, list, short = 2, '', nil
    -- include: lines
    rounds = rounds + 1
    if rounds > 64 then return {'again'} end
  until not short or ended < 16

  if short then size = 2 end
  if rate ~= '' then set[size + 1], set[size + 2], size = rate, instant(counted_us), size + 2 end
  if not short and count > 0 and later(due, ends) then due, swept = ends, true end
  if swept then set[size + 1], set[size + 2], size = 'due', due, size + 2 end

  if short then
    local before = told(reservations, leases, id, fingerprint, got, now, busy_us)
    if before then return before end
    -- include: denial
    reply = with_rate({'denied', 0, 0, 0, 0, denial(got[short + 2], ARGV[first + short - 1], lacking, listed(floors)[short],
      bound)}, 3, now, counted_us)
    -- After this point it must succeed.
    redis.call('HSET', books, unpack(set, 1, size))
    if remember == '1' then
      local detail = table.concat(reply, ';', 6)
      local record = 'D ' .. text .. ' ' .. keep_ms .. ' ' .. fingerprint .. ' ' .. detail .. ' -'
      redis.call('HSET', reservations, id, record)
      redis.call('ZADD', forget, instant(now + keep_ms), id)
    end
    return reply
  end

  -- The first write is one that a full store refuses: no room for a record, no reservation. What is
  -- known already is told in a full store, too.
  if count > 0 then
    local record = 'O ' .. text .. ' ' .. keep_ms .. ' ' .. fingerprint .. ' ' .. note .. ' ' .. list
    if redis.pcall('HSETNX', reservations, id, record) ~= 1 then
      local before = told(reservations, leases, id, fingerprint, got, now, busy_us)
      if before then return before end
      redis.call('HSETNX', reservations, id, record)
    end
  end
  with_rate(reply, 4, now, counted_us)
  -- After this point it must succeed.
  redis.call('HSET', books, unpack(set, 1, size))
  if count > 0 then
    redis.call('ZADD', leases, ends, id)
    -- include: index
  end
  return reply
end

local own, width = first + count, 3 + lines
-- include: each
