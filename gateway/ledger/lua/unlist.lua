--[[
  Purpose: take a subject off the list that has no counters.
  KEYS: books subjects
  ARGV: name
    then the counters that it would have
  Reply: 1 if it was taken off, 0 if it has a counter or is not listed
]]
local books, subjects = KEYS[1], KEYS[2]
local name = ARGV[1]

for i = 2, #ARGV do
  if redis.call('HEXISTS', books, ARGV[i]) == 1 then return 0 end
end
-- After this point it must succeed.
return redis.call('ZREM', subjects, name)
