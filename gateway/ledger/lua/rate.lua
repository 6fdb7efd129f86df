-- The rate limit (GCRA): `busy_us` is when the allowance of all requests before will be back, and
-- with this one if there is room for it; `limited` says that there is none.
-- Wants: rate (where the books keep it; empty for no limit) interval_us burst_us now, and `kept`,
-- what the books say.
local busy_us, counted_us, limited = 0, 0, false
if rate ~= '' then
  busy_us = tonumber(kept or 0)
  if not busy_us then return {'damaged', rate} end
  if busy_us < now * 1000 then busy_us = now * 1000 end
  counted_us = busy_us + interval_us
  limited = counted_us - now * 1000 - burst_us > 0
end

-- A reply with how the rate stands put in from `at` on: left reset retry.
local function with_rate(reply, at)
  if rate ~= '' then
    local ahead = busy_us - now * 1000
    local left = math.floor((burst_us - ahead) / interval_us)
    local retry = ahead + interval_us - burst_us
    reply[at] = left > 0 and left or 0
    reply[at + 1] = math.ceil(ahead / 1000)
    reply[at + 2] = retry > 0 and math.ceil(retry / 1000) or 0
  end
  return reply
end
