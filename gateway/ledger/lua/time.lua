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

-- The amount that a text tells, or nothing. Calls that are made as one tell the same again and again.
local amounts = {}
local function amount_of(text)
  local amount = amounts[text]
  if amount == nil then
    amount = string.find(text, '^%d+$') and tonumber(text)
    amount = amount and amount < 9007199254740992 and amount
    amounts[text] = amount
  end
  return amount
end

-- Whether one instant is later than another, as texts: there is no need to make numbers of them.
local function later(one, other)
  if #one ~= #other then return #one > #other end
  return one > other
end

-- The time: Redis's own, unless a test gives one, and never before what these books have `seen`.
-- So a clock that steps back neither revives leases nor returns to an earlier period. Nothing, if what
-- they have seen is damaged.
local clock
local function time(given, seen)
  if not clock then
    clock = tonumber(given)
    if clock == 0 then
      local t = redis.call('TIME')
      clock = t[1] * 1000 + math.floor(t[2] / 1000)
    end
  end
  local text = instant(clock)
  if #seen == #text and seen <= text then return clock end
  seen = tonumber(seen)
  return seen and math.max(seen, clock)
end

-- The numbers of a list, `1,2,3`, as texts.
local function listed(text)
  local found = {}
  for number in string.gmatch(text, '[^,]+') do found[#found + 1] = number end
  return found
end
