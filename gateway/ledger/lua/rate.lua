-- The rate limit (GCRA). Wants: interval_us burst_us.

-- When the allowance of all requests before will be back; when it would be with this one; and whether
-- there is no room for this one. `kept` is what the books say. Nothing, if that is damaged.
local function rate_at(now, kept)
  local busy_us = tonumber(kept or 0)
  if not busy_us then return nil end
  if busy_us < now * 1000 then busy_us = now * 1000 end
  local counted_us = busy_us + interval_us
  return busy_us, counted_us, counted_us - now * 1000 - burst_us > 0
end

-- A reply with how the rate stands, if there is one, put in from `at` on: left reset retry.
local function with_rate(reply, at, now, busy_us)
  if not busy_us then return reply end
  local ahead = busy_us - now * 1000
  local left = math.floor((burst_us - ahead) / interval_us)
  local retry = ahead + interval_us - burst_us
  reply[at] = left > 0 and left or 0
  reply[at + 1] = math.ceil(ahead / 1000)
  reply[at + 2] = retry > 0 and math.ceil(retry / 1000) or 0
  return reply
end
