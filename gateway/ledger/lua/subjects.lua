--[[
  Purpose: a page of an account's subjects of one kind, in the order of their names.
  KEYS: subjects
  ARGV: kind after skip count
  Reply: page total first, the names
]]
local subjects = KEYS[1]
local kind, after, skip, count = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

-- Names are `kind:id`, and `;` comes next after `:`. By place, since to skip takes as long as what
-- is skipped.
local low, high = '[' .. kind .. ':', '(' .. kind .. ';'
local total = redis.call('ZLEXCOUNT', subjects, low, high)
local before = redis.call('ZLEXCOUNT', subjects, '-', '(' .. kind .. ':')
local first = before + skip
if after ~= '' then first = redis.call('ZLEXCOUNT', subjects, '-', '[' .. kind .. ':' .. after) end
local last = math.min(first + count, before + total) - 1
local reply = {'page', total, first - before}
if last < first then return reply end
local names = redis.call('ZRANGE', subjects, string.format('%.0f', first), string.format('%.0f', last))
for n = 1, #names do reply[n + 3] = names[n] end
return reply
