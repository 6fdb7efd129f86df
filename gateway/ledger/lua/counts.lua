-- The numbers of a list, `1,2,3`, as texts.
local function listed(text)
  local found = {}
  for number in string.gmatch(text, '[^,]+') do found[#found + 1] = number end
  return found
end
