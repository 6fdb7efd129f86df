--[[
  Purpose: renew the store's beat, if this is still the store that the caller knows. When it is
    not, that is written down, so that a gateway which knows less refuses it too.
  KEYS: store
  ARGV: known least
  Reply: ok generation beats now | new | lost reason
]]
local store = KEYS[1]
local known, least = ARGV[1], tonumber(ARGV[2])

local got = redis.call('HMGET', store, 'generation', 'accepted', 'beats', 'lost')
local generation, accepted, beats, lost = got[1], got[2], tonumber(got[3] or 0), got[4]
if lost then return {'lost', lost} end
if not generation and known == '' then return {'new'} end

local reason
if not generation then
  reason = 'it has no generation any more'
elseif known ~= '' and generation ~= known then
  -- Generations begin with when they were made. An old backup may hold one accepted long ago.
  if accepted ~= generation or generation < known then reason = 'it is another one' end
elseif beats < least then
  reason = 'it is as it was before'
end
if reason then
  -- A full store cannot be marked; the caller refuses it all the same.
  redis.pcall('HSET', store, 'lost', reason)
  return {'lost', reason}
end

local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
-- After this point it must succeed.
beats = redis.call('HINCRBY', store, 'beats', 1)
redis.call('HSET', store, 'beat_ms', string.format('%.0f', now))
return {'ok', generation, beats, now}
