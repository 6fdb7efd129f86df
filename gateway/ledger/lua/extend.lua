--[[
  Purpose: move the lease ends of open reservations; what is not open any more is left as it is.
  KEYS: books leases
  ARGV: now lease_ms
    then ids
  Reply: extended gone ids | lost | damaged field
]]
local books, leases = KEYS[1], KEYS[2]
local given, lease_ms = ARGV[1], tonumber(ARGV[2])
-- include: time

local got = redis.call('HMGET', books, 'gen', 'now')
if not got[1] then return {'lost'} end
if not is_amount(got[2]) then return {'damaged', 'now'} end
local now = time(given, got[2])
local lease_end = digits(now + lease_ms)
local gone, set = {'extended'}, {}
for i = 3, #ARGV do
  local ends = redis.call('ZSCORE', leases, ARGV[i])
  if ends and tonumber(ends) > now then
    set[#set + 1], set[#set + 2] = lease_end, ARGV[i]
  else
    gone[#gone + 1] = ARGV[i]
  end
end
-- After this point it must succeed.
if #set > 0 then redis.call('ZADD', leases, unpack(set)) end
return gone
