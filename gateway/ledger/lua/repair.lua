--[[
  Purpose: make an account's books agree with themselves again; what reservations hold is the truth.
  KEYS: books reservations leases forget assets subjects
  ARGV: given lease_ms
  Reply: repaired, then what was changed: name before after | lost
]]
local books, reservations, leases = KEYS[1], KEYS[2], KEYS[3]
local forget, assets, subjects = KEYS[4], KEYS[5], KEYS[6]
local given, lease_ms = ARGV[1], ARGV[2]
-- include: time
-- include: counter

local seen = redis.call('HGET', books, 'now')
if not seen then return {'lost'} end
local now = time(given, '0')
local reply = {'repaired'}
local function changed(name, before, after)
  local n = #reply
  reply[n + 1], reply[n + 2], reply[n + 3] = name, before or '', after or ''
end
local function pairs_of(list)
  local n = -1
  return function()
    n = n + 2
    return list[n], list[n + 1]
  end
end

-- The clock: books that have seen a time which has not come yet would stand still until then.
-- What was reckoned from that time is moved back with it.
local ahead = (tonumber(seen) or now) - now
if ahead > 1000 or not tonumber(seen) then
  changed('now', seen, digits(now))
  redis.call('HSET', books, 'now', digits(now))
  for _, key in ipairs({leases, forget}) do
    for id, score in pairs_of(redis.call('ZRANGE', key, '0', '-1', 'WITHSCORES')) do
      redis.call('ZADD', key, digits(score - ahead), id)
    end
  end
end

-- Records: readable or dropped; the open ones with a lease, the others with a time to be forgotten.
local sums, charged = {}, {}
for id, record in pairs_of(redis.call('HGETALL', reservations)) do
  local state, lines = string.match(record, '^([OCREDAX]) %d+ %d+ [^ ]+ [^ ]+ ([^ ]+)$')
  local ends, drop = redis.call('ZSCORE', leases, id), redis.call('ZSCORE', forget, id)
  if not state then
    changed('reservation ' .. id, record, '')
    redis.call('HDEL', reservations, id)
  elseif state == 'O' then
    for name, amount in string.gmatch(lines, '([^,=]+)=(%d+)') do
      sums[name] = (sums[name] or 0) + amount
    end
    if not ends then
      ends = digits(now + lease_ms)
      changed('lease ' .. id, '', ends)
      redis.call('ZADD', leases, ends, id)
    end
  elseif not drop then
    drop = digits(now + 86400000)
    changed('forget ' .. id, '', drop)
    redis.call('ZADD', forget, drop, id)
  end
  if ends and state ~= 'O' then
    changed('lease ' .. id, ends, '')
    redis.call('ZREM', leases, id)
  end
  if drop and (state == 'O' or not state) then
    changed('forget ' .. id, drop, '')
    redis.call('ZREM', forget, id)
  end
end
for _, key in ipairs({leases, forget}) do
  for _, id in ipairs(redis.call('ZRANGE', key, '0', '-1')) do
    if redis.call('HEXISTS', reservations, id) == 0 then
      changed((key == leases and 'lease ' or 'forget ') .. id, 'without a record', '')
      redis.call('ZREM', key, id)
    end
  end
end

-- When to look for leases that are due: not after the first one, nor as a clock that was ahead said.
local due, ends = redis.call('HGET', books, 'due'), now + 1000
for _, score in pairs_of(redis.call('ZRANGE', leases, '0', '0', 'WITHSCORES')) do
  ends = math.min(ends, score)
end
if due and (not tonumber(due) or tonumber(due) > ends) then
  changed('due', due, digits(ends))
  redis.call('HSET', books, 'due', digits(ends))
end

-- Counters: reserved is what the open reservations hold. Where `used` cannot be read it becomes
-- what the assets were charged.
for asset, row in pairs_of(redis.call('HGETALL', assets)) do
  for name, amount in string.gmatch(row, '([^,=]+)=(%d+)') do
    charged[name] = (charged[name] or 0) + amount
  end
end
local known = {}
-- Subjects that have counters are listed.
local listed = {}
local function list(name)
  local subject = string.match(name, '^s:(.+)/')
  if not subject or listed[subject] then return end
  listed[subject] = true
  if redis.call('ZADD', subjects, '0', subject) == 1 then
    changed('subject ' .. subject, '', 'listed')
  end
end
for name, value in pairs_of(redis.call('HGETALL', books)) do
  if string.find(name, '/', 1, true) then
    known[name] = true
    list(name)
    local fixed = with_reserved(value, sums[name] or 0)
    local since = counter_of(fixed) and rest_of(fixed)
    if not since then
      local used = charged[name] or 0
      fixed = struct.pack('<ddd', used, sums[name] or 0, used) .. string.sub(NONE, 25, 48) .. struct.pack('<d', used)
    elseif since > now then
      fixed = string.sub(fixed, 1, 40) .. struct.pack('<d', now) .. string.sub(fixed, 49)
    end
    if fixed ~= value then
      changed(name, value, fixed)
      redis.call('HSET', books, name, fixed)
    end
  elseif string.sub(name, 1, 2) == 'g:' and (ahead > 1000 or not tonumber(value)) then
    changed(name, value, '')
    redis.call('HDEL', books, name)
  end
end
for name, sum in pairs(sums) do
  if not known[name] then
    list(name)
    local made = with_reserved(NONE, sum)
    changed(name, '', made)
    redis.call('HSET', books, name, made)
  end
end
return reply
