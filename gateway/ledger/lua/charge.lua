-- Moves `used`, the peaks and the history of counters by signed amounts, and gives back what a
-- reservation held. First all is read and checked, then all is written.
-- Wants: books hours days; hour and day name the buckets within them.
local names, kinds, starts, limits = {}, {}, {}, {}
local moves, gives = {}, {}
local index = {}
local used, reserved, peaks, fresh = {}, {}, {}, {}
local fields = {'gen', 'now'}
local buckets, hour_fields, day_fields, hour_was, day_was = {}, {}, {}, {}, {}

local function add(name, kind, start, limit)
  local n = index[name]
  if not n then
    n = #names + 1
    index[name], names[n], kinds[n], starts[n], limits[n] = n, name, kind, start, limit
    moves[n], gives[n] = 0, 0
    local f = 4 * n - 1
    fields[f], fields[f + 1] = name .. ':u', name .. ':r'
    fields[f + 2], fields[f + 3] = name .. ':p', name .. ':k'
  end
  return n
end

-- Adds the counters of one line, ARGV[at] of them, to be moved by `amount`. Answers what is next.
local function add_line(at, amount)
  local last = at + 4 * tonumber(ARGV[at])
  for i = at + 1, last, 4 do
    local limit = tonumber(ARGV[i + 3]) or 9007199254740991
    local n = add(ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), limit)
    if kinds[n] ~= 'N' then moves[n] = moves[n] + amount end
  end
  return last + 1
end

-- Adds what an asset was charged with, to be given back. `since` is meter -> start of its period.
local function add_asset(row, since)
  for name, amount in string.gmatch(row, '([^,=]+)=(%d+)') do
    local start = since[string.match(name, '[^/]+$')] or 0
    local n = add(name, 'L', start, 9007199254740991)
    moves[n] = moves[n] - tonumber(amount)
  end
end

-- Adds what a reservation holds, to be given back.
local function add_held(lines)
  for name, amount in string.gmatch(lines, '([^,=]+)=(%d+)') do
    local n = add(name, 'N', 0, 9007199254740991)
    gives[n] = gives[n] + tonumber(amount)
  end
end

-- Takes the books' answer to `fields`. Answers a refusal, if any: what is damaged, would go below
-- zero, or would leave the range of amounts.
local function take(got)
  for n = 1, #names do
    local f = 4 * n - 1
    for i = f, f + 3 do
      if not is_amount(got[i]) then return {'damaged', fields[i]} end
    end
    used[n], reserved[n] = tonumber(got[f] or 0), tonumber(got[f + 1] or 0)
    fresh[n] = tonumber(got[f + 2] or -1) < starts[n]
    if fresh[n] and kinds[n] == 'C' then used[n] = 0 end
    peaks[n] = used[n]
    if not fresh[n] and got[f + 3] then peaks[n] = math.max(used[n], tonumber(got[f + 3])) end
    if reserved[n] < gives[n] then return {'damaged', fields[f + 1]} end
    if used[n] + moves[n] < 0 then return {'below', names[n], digits(used[n])} end
    if used[n] + moves[n] > 9007199254740991 then return {'invalid', names[n]} end
    if moves[n] ~= 0 and string.sub(names[n], 1, 1) ~= 'k' then
      local b = #buckets + 1
      buckets[b] = n
      hour_fields[b], day_fields[b] = hour .. names[n], day .. names[n]
    end
  end
  if #buckets > 0 then
    hour_was = redis.call('HMGET', hours, unpack(hour_fields))
    day_was = redis.call('HMGET', days, unpack(day_fields))
  end
end

-- A bucket of history: the sum of a cumulative meter; a level's opening, peak and closing. What is
-- neither starts anew: history never keeps a settlement from the books.
local function bucket(was, n)
  local after = used[n] + moves[n]
  if kinds[n] == 'C' then return digits((tonumber(was or 0) or 0) + moves[n]) end
  local opening, peak = string.match(was or '', '^(%d+) (%d+) %d+$')
  opening, peak = opening or digits(used[n]), tonumber(peak or used[n])
  return opening .. ' ' .. digits(math.max(peak, after)) .. ' ' .. digits(after)
end

local function write_history(key, was, bucket_fields, keep_s)
  local set, new = {}, false
  for b = 1, #buckets do
    set[2 * b - 1], set[2 * b] = bucket_fields[b], bucket(was[b], buckets[b])
    new = new or not was[b]
  end
  redis.call('HSET', key, unpack(set))
  if new then redis.call('EXPIRE', key, keep_s) end
end

-- Writes all of it. Afterwards `used`, `reserved` and `peaks` are as they stand then.
local function write(now)
  if #buckets > 0 then
    write_history(hours, hour_was, hour_fields, 8812800)
    write_history(days, day_was, day_fields, 37584000)
  end
  local set = {'now', digits(now)}
  for n = 1, #names do
    local f = 4 * n - 1
    if gives[n] > 0 then
      reserved[n] = reserved[n] - gives[n]
      redis.call('HINCRBY', books, fields[f + 1], digits(0 - gives[n]))
    end
    if moves[n] ~= 0 then
      used[n] = used[n] + moves[n]
      local peak = math.max(peaks[n], used[n])
      if fresh[n] then
        set[#set + 1], set[#set + 2] = fields[f + 2], digits(starts[n])
      end
      if fresh[n] and kinds[n] == 'C' then
        set[#set + 1], set[#set + 2] = fields[f], digits(used[n])
      else
        redis.call('HINCRBY', books, fields[f], digits(moves[n]))
      end
      if kinds[n] == 'L' and (fresh[n] or peak ~= peaks[n]) then
        set[#set + 1], set[#set + 2] = fields[f + 3], digits(peak)
      end
      peaks[n] = peak
    end
  end
  redis.call('HSET', books, unpack(set))
end

-- Adds the first `count` counters to a reply.
local function add_standings(reply, count)
  for n = 1, count do
    local at = #reply
    reply[at + 1], reply[at + 2], reply[at + 3] = used[n], reserved[n], peaks[n]
  end
  return reply
end
