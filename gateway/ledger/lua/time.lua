-- The digits of an integer below 2^53; tostring would write 1e+15, and %d fail where long has 32
-- bits, so it is given no more than those hold: %.0f takes half as long again.
local function digits(number)
  if math.abs(number) < 2147483648 then return string.format('%d', number) end
  if number < 0 then return string.format('%.0f', number) end
  return string.format('%d%09d', math.floor(number / 1000000000), number % 1000000000)
end

-- The same of an instant, which one script says more than once.
local instants = {}
local function instant(ms)
  local text = instants[ms]
  if not text then
    text = digits(ms)
    instants[ms] = text
  end
  return text
end

-- The amount that a text tells, or nothing.
local function amount_of(text)
  local amount = string.find(text, '^%d+$') and tonumber(text)
  if amount and amount < 9007199254740992 then return amount end
end

-- The time: Redis's own, unless a test gives one, and never before what these books have seen.
-- So a clock that steps back neither revives leases nor returns to an earlier period.
local clock
local function time(given, seen)
  local now = tonumber(given)
  if now == 0 then
    if not clock then
      local t = redis.call('TIME')
      clock = t[1] * 1000 + math.floor(t[2] / 1000)
    end
    now = clock
  end
  return now > seen and now or seen
end
-- The numbers of a list, `1,2,3`, as texts.
local function listed(text)
  local found = {}
  for number in string.gmatch(text, '[^,]+') do found[#found + 1] = number end
  return found
end
