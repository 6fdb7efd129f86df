-- Lines: an amount for each, one number, or `least-most` when anything between will do. ARGV names
-- their counters together from `first` on, and has the amounts from `asked` on; their limits are
-- `bounds`. `shape` lists how many counters each line has, and is empty for one each; `floors`
-- lists theirs. What the books say of the counters stands in `got` from 3 on.
-- With the stamp of this frame, what a counter has used is of this period; otherwise it may be of one
-- that is over, and 0 by now. The floor of a cumulative counter is where its period starts; that of
-- a level is negative: what is used stays.
-- `held` is counter -> amount held already: a line that asks for no more than that has it, also when
-- the account is over its limit.
-- Puts what each line gets in all into `reply`, after `words`, then each counter, and what is to be
-- written into `set`, after `size`. Stops at `short`, the first counter that has no room, and says
-- what was `lacking` of its limit, `bound`. Wants: those, and lines stamp newcomer list order.
local c = 0
for line = 1, lines do
  local word = ARGV[asked + line - 1]
  local most = word
  local total = amount_of(word)
  local least = total
  if not total then
    least, most = string.match(word, '^(%d+)-(%d+)$')
    if not least then return {'invalid', word} end
    least, total = amount_of(least), amount_of(most)
    if not least or not total or least > total then return {'invalid', word} end
  end
  local wanted, begin, last = total, c, c + 1
  if spans then last = c + spans[line] end
  local has = held and held[ARGV[first + c]] or -1
  local used, kept, top, was, parts
  while c < last do
    c = c + 1
    local name, value = ARGV[first + c - 1], got[c + 2] or NONE
    used, kept, top, was = counter_of(value)
    if not used then return {'damaged', name} end
    local limit = bounds[c]
    local room = limit - kept
    if was ~= stamp then
      local since = rest_of(value)
      if not since then return {'damaged', name} end
      starts = starts or listed(floors)
      if since - starts[c] >= 0 then room = room - used end
    else
      room = room - used
    end
    if held then room = room + (held[name] or 0) end
    if room < total then
      if room < least and least > has then
        short, lacking, bound = c, digits(least), digits(limit)
        break
      end
      total = room
    end
    if last - begin > 1 then
      parts = parts or {}
      parts[c] = {used, kept}
    end
  end
  if short then break end
  local grows = total > has
  if not grows then total = has end
  if total ~= wanted then most = digits(total) end
  reply[words + line] = most
  for n = begin + 1, last do
    if parts then used, kept = unpack(parts[n]) end
    local name, value = ARGV[first + n - 1], got[n + 2]
    if grows then
      if not value and string.byte(name) == 115 then newcomer = name end
      local before = held and held[name]
      value = struct.pack('<dd', used, kept + total - (before or 0)) .. string.sub(value or NONE, 17)
      set[size + 1], set[size + 2], size = name, value, size + 2
      if not held then
        list = list .. name .. '=' .. most .. ','
      else
        if not before then order[#order + 1] = name end
        held[name] = total
      end
    end
    reply[words + lines + n] = value or NONE
  end
end
