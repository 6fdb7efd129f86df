--[[
  Purpose: give a store a generation: its first, or a new one with which an operator accepts it.
  KEYS: store
  ARGV: suffix accept
  Reply: the generation, or nothing for a store that has lost its books and is not accepted
]]
local store = KEYS[1]
local suffix, accept = ARGV[1], ARGV[2] == '1'

local got = redis.call('HMGET', store, 'generation', 'lost')
if got[1] and not accept then return got[1] end
if got[2] and not accept then return false end
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
local generation = string.format('%013.0f-%s', now, suffix)
-- After this point it must succeed.
if accept then
  redis.call('DEL', store)
  redis.call('HSET', store, 'accepted', generation)
end
redis.call('HSET', store, 'generation', generation)
return generation
