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
  for c = 1, #counters do
    local fields, sum = {}, 0
    for n = 0, 31 do fields[n + 1] = buckets[n] .. counters[c] end
    for stretch = from, till, 3 do
      local key, first, final = KEYS[1 + ARGV[stretch]], ARGV[stretch + 1] + 1, ARGV[stretch + 2] + 1
      local rows = redis.call('HMGET', key, unpack(fields, first, final))
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
    local got = redis.call('HMGET', books, unpack(counters))
    for c = 1, #counters do
      out[c] = string.match(got[c] or '0 0 0 0', '^(%d+) %d+ %d+ %d+$')
      if not out[c] then return {'damaged', counters[c]} end
    end
  end
  reply[ask + 1] = out
end
return reply
