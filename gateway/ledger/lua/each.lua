-- Makes each call by `one`. A mistake in one of several (a damaged key, a full store) stops that one
-- alone, before its first write as ever; asked alone it tells what is wrong.
-- Wants: one; own, where the words of the first call begin, and how many each has, its width.
local calls = (#ARGV - own + 1) / width
local step = #KEYS / calls
if calls == 1 then return one(own, 1, step) end
local replies = {}
for n = 0, calls - 1 do
  local done, reply = pcall(one, own + n * width, n * step + 1, (n + 1) * step)
  replies[n + 1] = done and reply or {'apart'}
end
return replies
