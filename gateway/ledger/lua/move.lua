-- Moves one counter: `used` by the signed `amount`, with the peaks and the history that follow from
-- it, and `reserved` by what a reservation gives back, `give` (or nothing). Puts it into `set`, after
-- `size`; how much of it will be used is `charged_to`. What is damaged, below zero or beyond the range
-- of amounts is refused.
-- Most moves touch `used`, `reserved` and `top`, the most that was used since the stamp: that of a
-- frame (its hour and its periods). The first move of another frame does the rest. `since` is the
-- start of the period that the counter counts in (cumulative) or that its peak belongs to (level);
-- `peak` and the history lack what `top` knows. The history is that of the stamp's hour, and of its
-- day: of a level both peaks and what both opened with, and it closes at `used`; of a cumulative
-- meter where both sums began, and a sum is what `used` has moved from there. When that hour is over
-- it is written to its buckets, whose keys are those after the first `fixed` KEYS; a script that
-- lacks some answers `stale` and the hours.
-- `at` is the counter's place among the floors, or its floor.
-- Wants: name value at amount give, and set size charged_to stamp floors starts newcomer past stale.
do
  local used, reserved, top, was = counter_of(value or NONE)
  if not used then return {'damaged', name} end
  if give then
    reserved = reserved - give
    if reserved < 0 then return {'damaged', name} end
  end
  if not value then
    if string.byte(name) == 115 then newcomer = name end
    value = NONE
  end
  local after, before, rest = used + amount, used, nil
  if was ~= stamp then
    local since, peak, hour_mark, day_mark, opening, day_opening = rest_of(value)
    if not since then return {'damaged', name} end
    if type(at) == 'number' then
      starts = starts or listed(floors)
      at = starts[at]
    end
    local level = string.byte(at) == 45
    local start = level and 0 - at or tonumber(at)
    local fresh, from = since < start, used
    if fresh and not level then after, from = amount, 0 end
    if amount ~= 0 then
      if level and peak < top then peak = top end
      if fresh then since, peak = start, level and used or 0 end
      rest = stamp .. struct.pack('<dd', since, peak)
      if string.byte(name) ~= 107 then
        if level ~= (opening ~= nil) then hour_mark = nil end
        local hour, day = string.sub(was, 1, 10), string.sub(was, 1, 8)
        local new_hour = not hour_mark or hour ~= string.sub(stamp, 1, 10)
        local new_day = not hour_mark or day ~= string.sub(stamp, 1, 8)
        local hour_row, day_row
        if level then
          if hour_mark then
            hour_mark, day_mark = math.max(hour_mark, top), math.max(day_mark, top)
            hour_row = {digits(opening), digits(hour_mark), digits(used)}
            day_row = {digits(day_opening), digits(day_mark), digits(used)}
          end
          if new_hour then hour_mark, opening = used, used end
          if new_day then day_mark, day_opening = used, used end
          rest = rest .. struct.pack('<dddd', hour_mark, day_mark, opening, day_opening)
        else
          if hour_mark then hour_row, day_row = used - hour_mark, used - day_mark end
          if new_hour then hour_mark = used end
          if new_day then day_mark = used end
          rest = rest .. struct.pack('<dd', from - used + hour_mark, from - used + day_mark)
        end
        if new_hour and hour_row then
          local hours, days
          for k = fixed + 1, #KEYS do
            if string.sub(KEYS[k], -10) == 'h:' .. day then hours = KEYS[k] end
            if string.sub(KEYS[k], -8) == 'd:' .. string.sub(day, 1, 6) then days = KEYS[k] end
          end
          if hours and days then
            past = past or {}
            past[#past + 1] = {hours, string.sub(hour, 9) .. '/' .. name, hour_row, '8812800'}
            if new_day then
              past[#past + 1] = {days, string.sub(day, 7) .. '/' .. name, day_row, '37584000'}
            end
          else
            stale[#stale + 1] = hour
          end
        end
      end
      top = 0
    end
    before = from
  end
  if amount ~= 0 then
    if after < 0 then return {'below', name, digits(before)} end
    if after > 9007199254740991 then return {'invalid', name} end
    used = after
    if after > top then top = after end
  end
  set[size + 1] = name
  set[size + 2] = struct.pack('<ddd', used, reserved, top) .. (rest or string.sub(value, 25))
  size, charged_to = size + 2, after
end
