--[[
  Purpose: what history says of some counters, and what they hold now, all at one instant.
  KEYS: books
    then the hashes of hours and days that are looked into
  ARGV: asks
    then for each: what count, the counters; of `sums` and `rows` also how many stretches, then for
      each of those: which of the hashes, the first of its buckets, the last
  Reply: history, for each ask a list: of `sums` what each counter's rows come to, of `rows` each
      counter's rows, stretch by stretch, of `held` what each has used | damaged field
]]
local books = KEYS[1]
local asks = ARGV[1]
-- include: time
-- include: counter

-- What counters have not written yet of the hour that they moved in last, and of its day: counter ->
-- stamp, used, top, and its history as `move` says. A row of that bucket may be there already, when the
-- books were ahead of time and were set back.
local unwritten = {}
local function read_books(counters)
  local got = redis.call('HMGET', books, unpack(counters))
  for c = 1, #counters do
    local value = got[c] or NONE
    local used, _, top, stamp = counter_of(value)
    local rest = used and {rest_of(value)}
    if not used or not rest[1] then return counters[c] end
    unwritten[counters[c]] = {stamp, used, top, unpack(rest, 3)}
  end
end

-- The bucket of a hash that a counter has not written all of: its number, and whether it is a day.
local function own_bucket(counter, key)
  local stamp, history = unwritten[counter][1], unwritten[counter][4]
  if not history then return end
  local of_day = string.sub(key, -8, -7) == 'd:'
  local ending = of_day and 'd:' .. string.sub(stamp, 1, 6) or 'h:' .. string.sub(stamp, 1, 8)
  if string.sub(key, -#ending) ~= ending then return end
  return tonumber(of_day and string.sub(stamp, 7, 8) or string.sub(stamp, 9, 10)), of_day
end

-- The row of that bucket together with what has not been written of it.
local function with_unwritten(row, counter, of_day)
  local _, used, top, of_hour, of_the_day, opening, day_opening = unpack(unwritten[counter])
  local mark = of_day and of_the_day or of_hour
  if not opening then return digits((row or 0) + used - mark) end
  if of_day then opening = day_opening end
  local before, before_peak = string.match(row or '', '^(%d+) (%d+) %d+$')
  return (before or digits(opening)) .. ' ' .. digits(math.max(mark, top, before_peak or 0)) .. ' ' .. digits(used)
end

-- Fields of buckets are `HH/` or `DD/` and the counter. Here is how history is written, and this
-- is the only place that reads it.
local buckets = {}
for n = 0, 31 do buckets[n] = string.format('%02d/', n) end

local at = 2
local reply = {'history'}
for ask = 1, asks do
  local what, last, out = ARGV[at], at + 1 + ARGV[at + 1], {}
  local counters = {unpack(ARGV, at + 2, last)}
  local from, till = last + 2, last + 1
  if what ~= 'held' then till = last + 1 + 3 * ARGV[last + 1] end
  local damaged = counters[1] and read_books(counters)
  if damaged then return {'damaged', damaged} end
  for c = 1, #counters do
    local fields, sum = {}, 0
    for n = 0, 31 do fields[n + 1] = buckets[n] .. counters[c] end
    for stretch = from, till, 3 do
      local key, first, final = KEYS[1 + ARGV[stretch]], ARGV[stretch + 1] + 1, ARGV[stretch + 2] + 1
      local rows = redis.call('HMGET', key, unpack(fields, first, final))
      local own, of_day = own_bucket(counters[c], key)
      if own and own + 1 >= first and own < final then
        rows[own + 2 - first] = with_unwritten(rows[own + 2 - first], counters[c], of_day)
      end
      if what == 'rows' then
        out[#out + 1] = rows
      else
        for r = 1, #rows do
          if rows[r] then
            local amount = tonumber(rows[r])
            if not amount then return {'damaged', fields[first + r - 1]} end
            sum = sum + amount
          end
        end
      end
    end
    if what == 'sums' then out[c] = digits(sum) end
  end
  at = till + 1
  if what == 'held' then
    at = last + 1
    for c = 1, #counters do out[c] = digits(unwritten[counters[c]][2]) end
  end
  reply[ask + 1] = out
end
return reply
