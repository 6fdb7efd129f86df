--[[
  Purpose: charge what was really used, give back what was held, and remember the asset stored. One
    that comes `age_ms` late charges no level for an asset that was stored anew or removed since.
    Calls that differ in account, id, asset, event and amounts alone may be made as one.
  KEYS: books reservations leases forget assets outbox subjects
    for each call, without subjects where no counter is of one; of a call that is made alone then
    those of the hours and days of earlier moves, as a `stale` reply asks
  ARGV: numbers stamp periods shape floors given
    then the names of all counters
    then for each call: id fingerprint asset event, then for each line: amount
  Numbers, packed: from till age_ms lines count, the limits of all counters
  Reply: settled late replayed overage, the counters | mismatch state | unknown | settled_as state
    | clock now | stale hours | lost | invalid amount | below counter used | damaged what
    For several calls a list of these; `apart` is to be asked alone
]]
local numbers, stamp, periods = ARGV[1], ARGV[2], ARGV[3]
local shape, floors, given = ARGV[4], ARGV[5], ARGV[6]
local from, till, age_ms, lines, count, limits = struct.unpack('<ddddd', numbers)
local bounds = {struct.unpack('<' .. string.rep('d', count), numbers, limits)}
local first, fixed = 7, 6
local named = {unpack(ARGV, first, first + count - 1)}
-- include: time
-- include: counter
-- include: changed
local spans = shape ~= '' and listed(shape)

-- The call whose words begin at `at`, and whose keys stand from `from_key` to `last_key`.
local function one(at, from_key, last_key)
  local books, reservations, leases, forget, assets, outbox, subjects =
    unpack(KEYS, from_key, last_key)
  local id, fingerprint, asset, event = unpack(ARGV, at, at + 3)
  local charges = at + 4
  local set, size = {'now', nil, nil, nil, nil, nil, nil, nil}, 2
  local starts, past, newcomer, charged_to
  local stale = {'stale'}

  local record = redis.call('HGET', reservations, id)
  local state, opened, keep_ms, detail, list
  if record then
    state, opened, keep_ms, detail, list =
      string.match(record, '^(%u) (%d+ (%d+) [^ ]+) ([^ ]+) ([^ ]+)$')
    if not state then return {'damaged', 'reservation ' .. id} end
  end
  local got = redis.call('HMGET', books, 'now', 'due', unpack(named))
  if not got[1] then return {'lost'} end
  local now = time(given, got[1])
  if not now then return {'damaged', 'now'} end
  if now < from or now >= till then return {'clock', now} end
  if not state then return {'unknown'} end
  if state == 'C' then
    local mark, late, overage = string.match(detail, '^([^;]+);(%d);(.*)$')
    if mark ~= fingerprint then return {'mismatch', state} end
    local reply = {'settled', late, 1, overage}
    for c = 3, count + 2 do reply[c + 2] = got[c] or NONE end
    return reply
  end
  if state ~= 'O' and state ~= 'E' then return {'settled_as', state} end

  -- Late is what comes after the end of its lease; before `due` no lease has ended.
  local late = state == 'E' and '1' or '0'
  if state == 'O' and not later(got[2] or '0', instant(now)) then
    local ends = redis.call('ZSCORE', leases, id)
    if not ends then return {'damaged', 'lease ' .. id} end
    if tonumber(ends) <= now then late = '1' end
  end

  -- What was held is given back, and so is what the asset of that name was charged before.
  local held, charged, row, overtaken = {}, {}, '', false
  if state == 'O' then
    for name, amount in string.gmatch(list, '([^,=]+)=(%d+)') do held[name] = amount end
  end
  if asset ~= '' then
    local before = redis.call('HGET', assets, asset)
    if age_ms > 0 then
      local tombstone = redis.call('HGET', reservations, tombstone_of(asset))
      overtaken = changed_at(before, tombstone) > now - age_ms
    end
    for name, amount in string.gmatch(before or '', '([^,=]+)=(%d+)') do charged[name] = amount end
    starts = listed(floors)
  end
  local reply, overage = {'settled', late, 0, '', nil, nil, nil, nil}, ''
  local c = 0
  for line = 1, lines do
    local word, last = ARGV[charges + line - 1], c + (spans and spans[line] or 1)
    local charge = amount_of(word)
    if not charge then return {'invalid', word} end
    while c < last do
      c = c + 1
      local name, value, at = ARGV[first + c - 1], got[c + 2], c
      local amount, give = charge, held[name]
      if asset ~= '' and string.byte(starts[at]) == 45 then
        if overtaken then
          amount = 0
        else
          row = row .. name .. '=' .. word .. ','
          if charged[name] then amount, charged[name] = charge - charged[name], nil end
        end
      end
      -- include: move
      held[name] = nil
      local limit = bounds[c]
      if charged_to > limit then
        overage = overage .. name .. '=' .. digits(charged_to - limit) .. ','
      end
      reply[c + 4] = set[size]
    end
  end
  if row == '' then charged = {} end
  if next(held) or next(charged) then
    -- include: give_back
  end
  if stale[2] then return stale end
  reply[4] = overage
  redis.call('ZCARD', forget)
  if event ~= '' then redis.call('XLEN', outbox) end
  -- The first write is a ZREM: then a full store lets the rest pass, too.
  if redis.call('ZREM', leases, id) == 0 and state == 'O' then return {'damaged', 'lease ' .. id} end
  -- After this point it must succeed.
  set[2] = instant(now)
  redis.call('HSET', books, unpack(set, 1, size))
  if row ~= '' then
    redis.call('HSET', assets, asset, '@' .. instant(now - age_ms) .. ',' .. row)
  end
  record = 'C ' .. opened .. ' ' .. fingerprint .. ';' .. late .. ';' .. overage
    .. ' ' .. list
  redis.call('HSET', reservations, id, record)
  redis.call('ZADD', forget, instant(now + keep_ms), id)
  if event ~= '' then redis.call('XADD', outbox, '*', 'event', event) end
  -- include: index
  -- include: buckets
  return reply
end

local own, width = first + count, 4 + lines
-- include: each
