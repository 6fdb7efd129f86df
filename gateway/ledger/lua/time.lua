-- The digits of an integer below 2^53; tostring would write 1e+15, and %d fail where long has 32
-- bits. For what these hold it takes half the time.
local function digits(number)
  if math.abs(number) < 2147483648 then return string.format('%d', number) end
  return string.format('%.0f', number)
end

-- True for the text of an amount.
local function is_amount(text)
  return string.find(text, '^%d+$') and tonumber(text) < 9007199254740992
end

-- The time: Redis's own, unless a test gives one, and never before what these books have seen.
-- So a clock that steps back neither revives leases nor returns to an earlier period.
local function time(given, seen)
  local now = tonumber(given)
  if now == 0 then
    local t = redis.call('TIME')
    now = t[1] * 1000 + math.floor(t[2] / 1000)
  end
  return now > seen and now or seen
end
-- The numbers of a list, `1,2,3`, as texts.
local function listed(text)
  local found = {}
  for number in string.gmatch(text, '[^,]+') do found[#found + 1] = number end
  return found
end
