--[[
  Purpose: open an account's books, so that reserve no longer takes their absence for a loss.
  KEYS: books
  ARGV: given
  Reply: 1 if they were opened now, 0 if they were open
]]
local books = KEYS[1]
local given = ARGV[1]
-- include: time

local now = time(given, '0')
-- After this point it must succeed.
return redis.call('HSETNX', books, 'now', digits(now))
