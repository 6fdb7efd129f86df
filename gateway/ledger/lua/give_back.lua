-- Gives back, on counters that no line names, what a reservation `held` and an asset was `charged`.
-- `periods` lists meter and floor of the levels. Wants: those, and what `move` does.
local names, floor_of = {}, {}
for name in pairs(held) do names[#names + 1] = name end
for name in pairs(charged) do
  if not held[name] then names[#names + 1] = name end
end
for meter, floor in string.gmatch(periods, '([^,=]+)=([^,]+)') do floor_of[meter] = floor end
local values = redis.call('HMGET', books, unpack(names))
for i = 1, #names do
  local name = names[i]
  local value, at = values[i], floor_of[string.match(name, '[^/]+$')] or '-0'
  local amount, give = 0 - (charged[name] or 0), held[name]
  -- include: move
end
