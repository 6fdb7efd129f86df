-- The rate limit (GCRA): `busy_us` is when the allowance of all requests so far will be back.
-- Wants: rate (where the books keep it; empty for no limit) interval_us burst_us.
local busy_us = 0

-- Takes in what the books say; answers a refusal, if that cannot be used.
local function read_rate(value, now)
  if rate == '' then return end
  busy_us = tonumber(value or 0)
  if not busy_us then return {'damaged', rate} end
  busy_us = math.max(busy_us, now * 1000)
end

-- Counts one request; false if it is one too many, and then it is not counted.
local function count_rate(now)
  if rate == '' then return true end
  if busy_us + interval_us - now * 1000 > tonumber(burst_us) then return false end
  busy_us = busy_us + interval_us
  return true
end

-- A reply with how the rate stands put in from `at` on: left reset retry.
local function with_rate(reply, at, now)
  if rate ~= '' then
    local ahead = busy_us - now * 1000
    reply[at] = math.max(0, math.floor((burst_us - ahead) / interval_us))
    reply[at + 1] = math.ceil(ahead / 1000)
    reply[at + 2] = math.ceil(math.max(0, ahead + interval_us - burst_us) / 1000)
  end
  return reply
end
