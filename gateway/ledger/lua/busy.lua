--[[
  Purpose: tell which accounts have open reservations, and take on those that are due for a look.
    Who takes one on has until claim_ms later to look; then it is due again for anybody.
  KEYS: busy
  ARGV: look_after_ms claim_ms batch
    then accounts
  Reply: claim, the accounts
]]
local busy = KEYS[1]
local look_after_ms, claim_ms, batch = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
local look = string.format('%.0f', now + look_after_ms)
local claim = string.format('%.0f', now + claim_ms)
-- After this point it must succeed.
for i = 4, #ARGV do
  redis.call('ZADD', busy, 'LT', look, ARGV[i])
end
local reply = {claim}
if batch > 0 then
  local due_by = string.format('%.0f', now)
  local due = redis.call('ZRANGEBYSCORE', busy, '-inf', due_by, 'LIMIT', 0, batch)
  for _, account in ipairs(due) do
    redis.call('ZADD', busy, claim, account)
    reply[#reply + 1] = account
  end
end
return reply
