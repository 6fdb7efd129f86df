-- Who says no: counter, what was asked of it, its limit; and how it stands: used, peak, reserved.
local function denial(value, name, amount, floor, limit)
  value = value or NONE
  local used, reserved, top = counter_of(value)
  local since, peak = rest_of(value)
  if since then peak = math.max(peak, top) else since, peak = 0, top end
  if since < math.abs(floor) then
    if tonumber(floor) > 0 then used = 0 end
    peak = used
  end
  return name, amount, limit, digits(used), digits(peak), digits(reserved)
end
