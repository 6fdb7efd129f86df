--[[
  Purpose: charge what was really used, give back what was held, and remember the asset stored.
  KEYS: books reservations leases forget assets hours days subjects
  ARGV: given from till id fingerprint asset hour day period_words count
    then for each level meter: meter start (`period_words` in all)
    then the names of all counters
    then for each line: amount count, then for each of its counters: kind start limit
  Reply: settled late replayed overage, the counters | mismatch state | unknown | settled_as state
    | clock now | lost | invalid amount | below counter used | damaged what
]]
local books, reservations, leases, forget = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local assets, hours, days, subjects = KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local given, from, till, id, fingerprint = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local asset, hour, day, period_words, count = ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[10]
local first = 11 + period_words
local lines = first + count
-- include: time
-- include: charge
-- include: index

local record = redis.call('HGET', reservations, id)
local state, opened, keep_ms, print, detail, list
if record then
  state, opened, keep_ms, print, detail, list =
    string.match(record, '^(%u) (%d+) (%d+) ([^ ]+) ([^ ]+) ([^ ]+)$')
  if not state then return {'damaged', 'reservation ' .. id} end
end
local ends = state == 'O' and redis.call('ZSCORE', leases, id)
if state == 'O' and not ends then return {'damaged', 'lease ' .. id} end

local got = redis.call('HMGET', books, 'now', unpack(ARGV, first, lines - 1))
if not got[1] then return {'lost'} end
local seen = tonumber(got[1])
if not seen then return {'damaged', 'now'} end
local now = time(given, seen)
if now < tonumber(from) or now >= tonumber(till) then return {'clock', now} end
if not state then return {'unknown'} end
if state == 'C' then
  local mark, late, overage = string.match(detail, '^([^;]+);(%d);(.*)$')
  if mark ~= fingerprint then return {'mismatch', state} end
  local reply = {'settled', late, 1, overage}
  for c = 2, count + 1 do reply[c + 3] = got[c] or '0 0 0 0' end
  return reply
end
if state ~= 'O' and state ~= 'E' then return {'settled_as', state} end

-- What was held is given back, and so is what the asset of that name was charged before.
local held, charged, row = {}, {}, ''
if state == 'O' then
  for name, amount in string.gmatch(list, '([^,=]+)=(%d+)') do held[name] = amount end
end
if asset ~= '' then
  local before = redis.call('HGET', assets, asset) or ''
  for name, amount in string.gmatch(before, '([^,=]+)=(%d+)') do charged[name] = amount end
end
local reply, overage = {'settled', '0', 0, ''}, ''
local at, c = lines, 0
while ARGV[at] do
  local amount, last = ARGV[at], c + ARGV[at + 1]
  if not is_amount(amount) then return {'invalid', amount} end
  at = at + 2
  while c < last do
    local name, kind, limit = ARGV[first + c], ARGV[at], ARGV[at + 2]
    c = c + 1
    local more = amount
    if asset ~= '' and kind == 'L' then
      row = row .. name .. '=' .. amount .. ','
      if charged[name] then more, charged[name] = digits(amount - charged[name]), nil end
    end
    local value, used = move(name, got[c + 1], kind, ARGV[at + 1], more, held[name])
    if not value then return used end
    held[name] = nil
    if used - limit > 0 then overage = overage .. name .. '=' .. digits(used - limit) .. ',' end
    reply[c + 4] = value
    at = at + 3
  end
end
if row == '' then charged = {} end
local refused = give_back(held, charged, 11, first - 1)
if refused then return refused end
if state == 'E' or tonumber(ends) <= now then reply[2] = '1' end
reply[4] = overage
redis.call('ZCARD', forget)
detail = fingerprint .. ';' .. reply[2] .. ';' .. overage
-- After this point it must succeed. ZREM goes first: then a full store lets the rest pass, too.
redis.call('ZREM', leases, id)
write(now)
if row ~= '' then redis.call('HSET', assets, asset, row) end
record = 'C ' .. opened .. ' ' .. keep_ms .. ' ' .. print .. ' ' .. detail .. ' ' .. list
redis.call('HSET', reservations, id, record)
redis.call('ZADD', forget, digits(now + keep_ms), id)
list_subject(newcomer)
write_history()
return reply
