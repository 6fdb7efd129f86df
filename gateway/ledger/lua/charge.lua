-- Moves counters: `used` by signed amounts, with the peaks and the history that follow from it, and
-- `reserved` by what a reservation gives back. First all is read and checked, then all is written.
-- A counter in the books is `used since peak reserved`; `since` is the start of the period that it
-- counts in (cumulative) or that its peak belongs to (level).
-- Wants: books hours days, and hour day: what the fields of the buckets begin with.
local set, size, moved = {'now', ''}, 2, {}
-- The counter of a subject that the books have not had yet.
local newcomer

-- Puts one counter among what will be written: `used` moves by `amount` (a text), `give` (a text or
-- nothing) leaves `reserved`. Answers how it will stand and how much of it will be used; or nil and
-- a refusal: damaged, below zero, or beyond the range of amounts.
local function move(name, value, kind, start, amount, give)
  local used, since, peak, reserved = string.match(value or '0 0 0 0',
    '^(%d+) (%d+) (%d+) (%d+)$')
  if not value and string.byte(name) == 115 then newcomer = name end
  local left = used and reserved - (give or 0)
  if not used or left < 0 then return nil, {'damaged', name} end
  if give then reserved = digits(left) end
  local after = used + amount
  if amount ~= '0' then
    local fresh = since - start < 0
    if fresh then
      since, peak = start, used
      if kind == 'C' then used, peak, after = '0', '0', tonumber(amount) end
    end
    if after < 0 then return nil, {'below', name, used} end
    if after > 9007199254740991 then return nil, {'invalid', name} end
    local before = used
    used = digits(after)
    if kind == 'L' and peak - after < 0 then peak = used end
    if string.byte(name) ~= 107 then
      moved[#moved + 1] = {name, amount, kind == 'L' and before, used}
    end
  elseif kind == 'C' and since - start < 0 then
    after = 0
  end
  value = used .. ' ' .. since .. ' ' .. peak .. ' ' .. reserved
  set[size + 1], set[size + 2], size = name, value, size + 2
  return value, after
end

-- Gives back, on counters that no line names, what a reservation held and an asset was charged.
-- `periods` is where ARGV says meter and start of its period, to `last`. Answers a refusal, if any.
local function give_back(held, charged, periods, last)
  local names, starts = {}, {}
  for name in pairs(held) do names[#names + 1] = name end
  for name in pairs(charged) do
    if not held[name] then names[#names + 1] = name end
  end
  if not names[1] then return end
  for i = periods, last, 2 do starts[ARGV[i]] = ARGV[i + 1] end
  local got = redis.call('HMGET', books, unpack(names))
  for i = 1, #names do
    local name = names[i]
    local kind, start = charged[name] and 'L' or 'N', starts[string.match(name, '[^/]+$')] or 0
    local back = digits(0 - (charged[name] or 0))
    local value, refused = move(name, got[i], kind, start, back, held[name])
    if not value then return refused end
  end
end

-- Adds to the buckets of an hour or a day: the sum of a cumulative meter; a level's opening, peak
-- and closing. Last of all and by pcall: history never keeps a settlement from the books.
local function add_history(key, bucket, keep_s)
  local new = false
  for m = 1, #moved do
    local name, amount, before, after = unpack(moved[m])
    local field = bucket .. name
    if before then
      local was = redis.pcall('HGET', key, field)
      local opening, peak
      if type(was) == 'string' then
        opening, peak = string.match(was, '^(%d+) (%d+) %d+$')
      end
      if not opening then opening, peak, new = before, before, true end
      if peak - after < 0 then peak = after end
      redis.pcall('HSET', key, field, opening .. ' ' .. peak .. ' ' .. after)
    else
      new = redis.pcall('HINCRBY', key, field, amount) == tonumber(amount) or new
    end
  end
  if new then redis.pcall('EXPIRE', key, keep_s) end
end

local function write(now)
  set[2] = digits(now)
  redis.call('HSET', books, unpack(set))
end

local function write_history()
  if moved[1] then
    add_history(hours, hour, '8812800')
    add_history(days, day, '37584000')
  end
end
