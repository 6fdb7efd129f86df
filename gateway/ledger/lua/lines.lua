-- Lines: an amount for each, one number, or `least-most` when anything between will do. ARGV names
-- their counters together from `first` on, and from `limits` on their limits; from `asked` on stand
-- the amounts. `shape` lists how many counters each line has, and is empty for one each; `floors`
-- lists theirs. What the books say of the counters stands in `got` from 3 on.
-- In the books a counter is `used reserved top stamp …`, see `move`. With the stamp of this frame
-- `used` is of this period; otherwise it may be of one that is over, and 0 by now. The floor of a
-- cumulative counter is where its period starts; that of a level is negative: what is used stays.
-- `held` is counter -> amount held already: a line that asks for no more than that has it, also when
-- the account is over its limit.
-- Puts what each line gets in all into `reply`, after `words`, then each counter, and what is to be
-- written into `set`, after `size`. Stops at `short`, the first counter that has no room, and says
-- what was `lacking` of it. Wants: those, and lines stamp newcomer list order.
local c = 0
for line = 1, lines do
  local word = ARGV[asked + line - 1]
  local least, most = word, word
  if not string.find(word, '^%d+$') then
    least, most = string.match(word, '^(%d+)-(%d+)$')
    if not least then return {'invalid', word} end
  end
  local total, begin, last = tonumber(most), c, c + 1
  if total >= 9007199254740992 or least - total > 0 then return {'invalid', word} end
  if spans then last = c + spans[line] end
  local has = held and held[ARGV[first + c]] or -1
  local used, kept, tail, was, parts
  while c < last do
    c = c + 1
    used, kept, tail, was =
      string.match(got[c + 2] or '0 0 0 0 0 0 -', '^(%d+) (%d+)( %d+ (%w+) .+)$')
    if not used then return {'damaged', ARGV[first + c - 1]} end
    local room = ARGV[limits + c - 1] - kept
    if was ~= stamp then
      local since = string.match(tail, '^ %d+ %w+ (%d+) %d+ [%d:-]+$')
      if not since then return {'damaged', ARGV[first + c - 1]} end
      starts = starts or listed(floors)
      if since - starts[c] >= 0 then room = room - used end
    else
      room = room - used
    end
    if held then room = room + (held[ARGV[first + c - 1]] or 0) end
    if room < total then
      if room - least < 0 and least - has > 0 then
        short, lacking = c, least
        break
      end
      total = room
    end
    if last - begin > 1 then
      parts = parts or {}
      parts[c] = {used, kept, tail}
    end
  end
  if short then break end
  local grows = total > has
  if not grows then total = has end
  if total - most ~= 0 then most = digits(total) end
  reply[words + line] = most
  for n = begin + 1, last do
    if parts then used, kept, tail = unpack(parts[n]) end
    local name, value = ARGV[first + n - 1], got[n + 2]
    if grows then
      if not value and string.byte(name) == 115 then newcomer = name end
      local before = held and held[name]
      value = used .. ' ' .. digits(kept + total - (before or 0)) .. tail
      set[size + 1], set[size + 2], size = name, value, size + 2
      if not held then
        list = list .. name .. '=' .. most .. ','
      else
        if not before then order[#order + 1] = name end
        held[name] = total
      end
    end
    reply[words + lines + n] = value or '0 0 0 0 0 0 -'
  end
end
