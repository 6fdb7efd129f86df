-- Moves one counter: `used` by the signed `amount` (a text), with the peaks and the history that
-- follow from it, and `reserved` by what a reservation gives back, `give` (a text, or nothing). Puts
-- it into `set`, after `size`; how much of it will be used is `charged_to`. What is damaged, below
-- zero or beyond the range of amounts is refused.
-- A counter in the books is `used reserved top stamp since peak history`. Most moves touch the first
-- two and `top`, the most that was used since the stamp: that of a frame (its hour and its periods).
-- The first move of another frame does the rest. `since` is the start of the period that the counter
-- counts in (cumulative) or that its peak belongs to (level); `peak` and `history` lack what `top`
-- knows. The history is that of the stamp's hour, and of its day: of a level `peak:peak:from:from`,
-- and it closes at `used`; of a cumulative meter `from:from`, and its sum is what `used` has moved
-- from there. When that hour is over it is written to its buckets, whose keys are those after the
-- first `fixed` KEYS; a script that lacks some answers `stale` and the hours.
-- `at` is the counter's place among the floors, or its floor.
-- Wants: name value at amount give, and set size charged_to stamp floors starts newcomer past stale.
do
  local used, reserved, top, was, rest =
    string.match(value or '0 0 0 0 0 0 -', '^(%d+) (%d+) (%d+) (%w+)( .+)$')
  if not used then return {'damaged', name} end
  if give then
    local left = reserved - give
    if left < 0 then return {'damaged', name} end
    reserved = digits(left)
  end
  if not value and string.byte(name) == 115 then newcomer = name end
  local after, before = used + amount, used
  if was ~= stamp then
    local since, peak, history = string.match(rest, '^ (%d+) (%d+) ([%d:-]+)$')
    if not since then return {'damaged', name} end
    if type(at) == 'number' then
      starts = starts or listed(floors)
      at = starts[at]
    end
    local level = string.byte(at) == 45
    local start = level and 0 - at or tonumber(at)
    local fresh, from = since - start < 0, used
    if fresh and not level then after, from = tonumber(amount), '0' end
    if amount ~= '0' then
      if level and peak - top < 0 then peak = top end
      if fresh then since, peak = digits(start), level and used or '0' end
      if string.byte(name) ~= 107 then
        local hour, day = string.sub(was, 1, 10), string.sub(was, 1, 8)
        local new_hour = history == '-' or hour ~= string.sub(stamp, 1, 10)
        local new_day = history == '-' or day ~= string.sub(stamp, 1, 8)
        local hour_row, day_row
        if level then
          local peaked, day_peak, opening, day_opening =
            string.match(history, '^(%d+):(%d+):(%d+):(%d+)$')
          if peaked then
            if peaked - top < 0 then peaked = top end
            if day_peak - top < 0 then day_peak = top end
            hour_row = {opening, peaked, used}
            day_row = {day_opening, day_peak, used}
          end
          if new_hour or not peaked then peaked, opening = used, used end
          if new_day or not day_peak then day_peak, day_opening = used, used end
          history = peaked .. ':' .. day_peak .. ':' .. opening .. ':' .. day_opening
        else
          local sum_from, day_from = string.match(history, '^(-?%d+):(-?%d+)$')
          if sum_from then hour_row, day_row = used - sum_from, used - day_from end
          if new_hour or not sum_from then sum_from = used end
          if new_day or not day_from then day_from = used end
          history = digits(from - used + sum_from) .. ':' .. digits(from - used + day_from)
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
      top, rest, was = '0', ' ' .. since .. ' ' .. peak .. ' ' .. history, stamp
    end
    before = from
  end
  if amount ~= '0' then
    if after < 0 then return {'below', name, before} end
    if after > 9007199254740991 then return {'invalid', name} end
    used = digits(after)
    if after - top > 0 then top = used end
  end
  set[size + 1] = name
  set[size + 2] = used .. ' ' .. reserved .. ' ' .. top .. ' ' .. was .. rest
  size, charged_to = size + 2, after
end
