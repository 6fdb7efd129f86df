--[[
  Purpose: say when accounts that were looked at are due again: when their next lease ends, or
    never. One that was told to be busy meanwhile, which changes its score, stays due as told.
  KEYS: busy
  ARGV:
    then for each account: its name, its claim, its next lease end or nothing
  Reply: how many are no longer busy
]]
local busy = KEYS[1]

local quiet = 0
-- After this point it must succeed.
for i = 1, #ARGV, 3 do
  local account, claim, next_end = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local score = redis.call('ZSCORE', busy, account)
  if next_end ~= '' then
    local mode = score and tonumber(score) == tonumber(claim) and 'XX' or 'LT'
    redis.call('ZADD', busy, mode, next_end, account)
  elseif score and tonumber(score) == tonumber(claim) then
    quiet = quiet + redis.call('ZREM', busy, account)
  end
end
return quiet
