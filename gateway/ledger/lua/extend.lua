--[[
  Purpose: move the lease ends of open reservations; what is not open any more is left as it is, and
    with `no_sooner` 1 what ends later anyway.
  KEYS: books leases
  ARGV: given lease_ms no_sooner
    then ids
  Reply: extended, the ids that are not open | lost | damaged what
]]
local books, leases = KEYS[1], KEYS[2]
local given, lease_ms, no_sooner = ARGV[1], ARGV[2], ARGV[3] == '1'
-- include: time

local got = redis.call('HMGET', books, 'now', 'due')
if not got[1] then return {'lost'} end
local now = time(given, got[1])
if not now then return {'damaged', 'now'} end
local due = math.min(tonumber(got[2] or 0) or 0, now + lease_ms)
local until_text = digits(now + lease_ms)
local gone, set = {'extended'}, {}
for i = 4, #ARGV do
  local ends = tonumber(redis.call('ZSCORE', leases, ARGV[i]) or 0)
  if ends > now then
    if not (no_sooner and ends > now + lease_ms) then
      set[#set + 1], set[#set + 2] = until_text, ARGV[i]
    end
  else
    gone[#gone + 1] = ARGV[i]
  end
end
-- After this point it must succeed.
if set[1] then
  -- Removes nothing, but is a write that a full store allows: then it lets the rest pass, too.
  redis.call('ZREM', leases, '')
  redis.call('HSET', books, 'now', digits(now), 'due', digits(due))
  redis.call('ZADD', leases, unpack(set))
end
return gone
