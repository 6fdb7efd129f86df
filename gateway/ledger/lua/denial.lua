-- Who says no: counter, what was asked of it, its limit; and how it stands: used, peak, reserved.
local function denial(value, name, amount, floor, limit)
  local used, reserved, top, since, peak =
    string.match(value or '0 0 0 0 0 0 -', '^(%d+) (%d+) (%d+) %w+ (%d+) (%d+)')
  if peak - top < 0 then peak = top end
  if since - math.abs(floor) < 0 then
    if tonumber(floor) > 0 then used = '0' end
    peak = used
  end
  return name, amount, limit, used, peak, reserved
end
