-- Moves counters: `used` by signed amounts, with the peaks and the history that follow from it, and
-- `reserved` by what a reservation gives back. First all is read and checked, then all is written.
-- A counter in the books is `used reserved top stamp since peak history`. Most moves touch the first
-- two and `top`, the most that was used since the stamp: that of a frame (its hour and its periods).
-- The first move of another frame does the rest. `since` is the start of the period that the counter
-- counts in (cumulative) or that its peak belongs to (level); `peak` and `history` lack what `top`
-- knows. The history is that of the stamp's hour, and of its day: of a level `peak:peak:from:from`,
-- and it closes at `used`; of a cumulative meter `from:from`, and its sum is what `used` has moved
-- from there. When that hour is over it is written to its buckets, whose keys are those after the
-- first `fixed` KEYS; a script that lacks some answers `stale` and the hours.
-- Wants: books stamp floors fixed, and listed.
local set, size, past, starts = {'now', '', '', '', '', '', '', ''}, 2, {}, nil
local stale, newcomer = {'stale'}, nil

-- Puts what a counter did in the hour that is over among what will be written.
local function finish(name, was, sum, hour_row, day_row)
  local day, hours, days = string.sub(was, 1, 8), nil, nil
  for k = fixed + 1, #KEYS do
    if string.sub(KEYS[k], -10) == 'h:' .. day then hours = KEYS[k] end
    if string.sub(KEYS[k], -8) == 'd:' .. string.sub(day, 1, 6) then days = KEYS[k] end
  end
  if not hours or not days then
    stale[#stale + 1] = string.sub(was, 1, 10)
    return
  end
  past[#past + 1] = {hours, string.sub(was, 9, 10) .. '/' .. name, sum, hour_row, '8812800'}
  if day ~= string.sub(stamp, 1, 8) then
    past[#past + 1] = {days, string.sub(day, 7) .. '/' .. name, sum, day_row, '37584000'}
  end
end

-- A level's history, up to the last move of an earlier frame; it stands at `before`.
local function level_history(name, was, history, before, top)
  local peak, day_peak, opening, day_opening =
    string.match(history, '^(%d+):(%d+):(%d+):(%d+)$')
  local new_hour = not peak or string.sub(was, 1, 10) ~= string.sub(stamp, 1, 10)
  local new_day = not peak or string.sub(was, 1, 8) ~= string.sub(stamp, 1, 8)
  if peak then
    if peak - top < 0 then peak = top end
    if day_peak - top < 0 then day_peak = top end
    if new_hour then
      finish(name, was, false, {opening, peak, before}, {day_opening, day_peak, before})
    end
  end
  if new_hour then peak, opening = before, before end
  if new_day then day_peak, day_opening = before, before end
  return peak .. ':' .. day_peak .. ':' .. opening .. ':' .. day_opening
end

-- Likewise of a cumulative counter, which moves on from `start`.
local function sum_history(name, was, history, before, start)
  local sum_from, day_from = string.match(history, '^(-?%d+):(-?%d+)$')
  local new_hour = not sum_from or string.sub(was, 1, 10) ~= string.sub(stamp, 1, 10)
  local new_day = not sum_from or string.sub(was, 1, 8) ~= string.sub(stamp, 1, 8)
  if sum_from and new_hour then
    finish(name, was, true, before - sum_from, before - day_from)
  end
  if new_hour then sum_from = before end
  if new_day then day_from = before end
  return digits(start - before + sum_from) .. ':' .. digits(start - before + day_from)
end

-- Puts one counter among what will be written: `used` moves by `amount` (a text), `give` (a text or
-- nothing) leaves `reserved`; `at` is its place among the floors, or its floor. Answers how it will
-- stand and how much of it will be used; or nil and a refusal: damaged, below zero, or beyond the
-- range of amounts.
local function move(name, value, at, amount, give)
  local used, reserved, top, was, rest = string.match(value or '0 0 0 0 0 0 -',
    '^(%d+) (%d+) (%d+) (%w+)( .+)$')
  if not value and string.byte(name) == 115 then newcomer = name end
  local left = used and reserved - (give or 0)
  if not used or left < 0 then return nil, {'damaged', name} end
  if give and give ~= '0' then reserved = digits(left) end
  local after, text = used + amount, used
  if was ~= stamp then
    local since, peak, history = string.match(rest, '^ (%d+) (%d+) ([%d:-]+)$')
    if not since then return nil, {'damaged', name} end
    if type(at) == 'number' then
      starts = starts or listed(floors)
      at = starts[at]
    end
    local level = string.byte(at) == 45
    local start = level and 0 - at or tonumber(at)
    local fresh = since - start < 0
    if fresh and not level then after, text = tonumber(amount), '0' end
    if amount ~= '0' then
      if level and peak - top < 0 then peak = top end
      if fresh then since, peak = digits(start), level and used or '0' end
      if string.byte(name) ~= 107 and after >= 0 then
        if level then
          history = level_history(name, was, history, used, top)
        else
          history = sum_history(name, was, history, used, text)
        end
      end
      top, rest, was = '0', ' ' .. since .. ' ' .. peak .. ' ' .. history, stamp
    end
  end
  if amount ~= '0' then
    if after < 0 then return nil, {'below', name, text} end
    if after > 9007199254740991 then return nil, {'invalid', name} end
    used = digits(after)
    if after - top > 0 then top = used end
  end
  value = used .. ' ' .. reserved .. ' ' .. top .. ' ' .. was .. rest
  set[size + 1], set[size + 2], size = name, value, size + 2
  return value, after
end

-- Gives back, on counters that no line names, what a reservation held and an asset was charged.
-- `periods` lists meter and floor of the levels. Answers a refusal, if any.
local function give_back(held, charged, periods)
  local names, floor_of = {}, {}
  for name in pairs(held) do names[#names + 1] = name end
  for name in pairs(charged) do
    if not held[name] then names[#names + 1] = name end
  end
  if not names[1] then return end
  for meter, floor in string.gmatch(periods, '([^,=]+)=([^,]+)') do floor_of[meter] = floor end
  local got = redis.call('HMGET', books, unpack(names))
  for i = 1, #names do
    local name = names[i]
    local floor = floor_of[string.match(name, '[^/]+$')] or '-0'
    local back = digits(0 - (charged[name] or 0))
    local value, refused = move(name, got[i], floor, back, held[name])
    if not value then return refused end
  end
end

local function write(now)
  set[2] = digits(now)
  redis.call('HSET', books, unpack(set, 1, size))
end

-- Adds to the buckets of the hours, and of the days, that are over: the sum of a cumulative meter;
-- a level's opening, peak and closing. Last of all and by pcall: history never keeps a settlement
-- from the books.
local function write_history()
  for i = 1, #past do
    local key, field, sum, row, keep_s = unpack(past[i])
    if sum then
      redis.pcall('HINCRBY', key, field, digits(row))
    else
      local was = redis.pcall('HGET', key, field)
      local opening, peak
      if type(was) == 'string' then opening, peak = string.match(was, '^(%d+) (%d+) %d+$') end
      if opening then
        row[1] = opening
        if row[2] - peak < 0 then row[2] = peak end
      end
      redis.pcall('HSET', key, field, table.concat(row, ' '))
    end
    redis.pcall('EXPIRE', key, keep_s)
  end
end
