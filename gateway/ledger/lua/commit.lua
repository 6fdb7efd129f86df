--[[
  Purpose: charge what was really used, give back what was held, and remember the asset stored.
  KEYS: books reservations leases forget assets hours days
  ARGV: now from until id fingerprint asset hour day level_count
    then for each level meter: meter start
    then for each line: amount, then for each of its counters: name kind start limit
  Reply: settled late replayed overage standings | mismatch | unknown | settled_as state
    | clock now | lost | invalid amount | below counter used | damaged field
]]
local books, reservations, leases, forget = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local assets, hours, days = KEYS[5], KEYS[6], KEYS[7]
local given, from, till, id, fingerprint = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local asset, hour, day, level_count = ARGV[6], ARGV[7], ARGV[8], tonumber(ARGV[9])
-- include: time
-- include: charge

local since = {}
for i = 10, 9 + 2 * level_count, 2 do since[ARGV[i]] = tonumber(ARGV[i + 1]) end
local first, row = {}, {}
local at = 10 + 2 * level_count
while ARGV[at] do
  if not is_amount(ARGV[at]) then return {'invalid', ARGV[at]} end
  first[#first + 1] = #names + 1
  local amount = ARGV[at]
  at = add_line(at + 1, tonumber(amount))
  for n = first[#first], #names do
    if kinds[n] == 'L' then row[#row + 1] = names[n] .. '=' .. digits(tonumber(amount)) end
  end
end
first[#first + 1] = #names + 1
local stated = #names

local record = redis.call('HGET', reservations, id)
local state, opened, keep_ms, print, detail, lines
if record then
  local pattern = '^(%u) (%d+) (%d+) (%S+) (%S+) (%S+)$'
  state, opened, keep_ms, print, detail, lines = string.match(record, pattern)
  if not state then return {'damaged', 'reservation ' .. id} end
end
local lease_end = state == 'O' and redis.call('ZSCORE', leases, id)
if state == 'O' and not lease_end then return {'damaged', 'lease ' .. id} end
local kept = #row > 0 and asset ~= '' and (state == 'O' or state == 'E')
if kept then
  local before = redis.call('HGET', assets, asset)
  if before then add_asset(before, since) end
end
if state == 'O' then add_held(lines) end

local got = redis.call('HMGET', books, unpack(fields))
if not got[1] then return {'lost'} end
if not is_amount(got[2]) then return {'damaged', 'now'} end
local now = time(given, got[2])
if now < tonumber(from) or now >= tonumber(till) then return {'clock', now} end
if not state then return {'unknown'} end
if state == 'C' then
  local mark, late, overage = string.match(detail, '^([^;]+);(%d);(.*)$')
  if mark ~= fingerprint then return {'mismatch', state} end
  for n = 1, #names do moves[n] = 0 end
  local refused = take(got)
  if refused then return refused end
  return add_standings({'settled', tonumber(late), 1, overage}, stated)
end
if state ~= 'O' and state ~= 'E' then return {'settled_as', state} end
local refused = take(got)
if refused then return refused end
redis.call('ZSCORE', forget, id)
local late = (state == 'E' or tonumber(lease_end) <= now) and 1 or 0

-- How far each line is over the limit now; a commit is never held back for that.
local overage = {}
for line = 1, #first - 1 do
  local most = 0
  for n = first[line], first[line + 1] - 1 do
    most = math.max(most, used[n] + moves[n] - limits[n])
  end
  if most > 0 then
    overage[#overage + 1] = string.match(names[first[line]], '[^/]+$') .. '=' .. digits(most)
  end
end
overage = table.concat(overage, ',')
detail = fingerprint .. ';' .. late .. ';' .. overage
record = table.concat({'C', opened, keep_ms, print, detail, lines}, ' ')
-- After this point it must succeed. ZREM goes first: then a full store lets the rest pass, too.
redis.call('ZREM', leases, id)
write(now)
if kept then redis.call('HSET', assets, asset, table.concat(row, ',')) end
redis.call('HSET', reservations, id, record)
redis.call('ZADD', forget, digits(now + tonumber(keep_ms)), id)
return add_standings({'settled', late, 0, overage}, stated)
