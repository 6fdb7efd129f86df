-- Lines: an amount for each, one number, or `least-most` when anything between will do. ARGV names
-- their counters together from `first` on, and from `limits` on their limits; from `asked` on stand
-- the amounts. `shape` lists how many counters each line has, and is empty for one each; `floors`
-- lists theirs. What the books say of the counters stands in `got` from 3 on.
-- In the books a counter is `used reserved top stamp …`, see `charge`. With the stamp of this frame
-- `used` is of this period; otherwise it may be of one that is over, and 0 by now. The floor of a
-- cumulative counter is where its period starts; that of a level is negative: what is used stays.
-- Wants: first limits asked lines shape floors stamp.
local totals, heads, reserved, tails = {0, 0, 0, 0}, {0, 0, 0, 0}, {0, 0, 0, 0}, {0, 0, 0, 0}
local spans = shape ~= '' and listed(shape)
local starts

-- What each line gets in all, and each counter's parts. `held` is counter -> amount held already:
-- a line that asks for no more than that has it, also when the account is over its limit.
-- Answers the first counter that has no room and what was asked of it; or nil and, if something
-- cannot be used, the refusal.
local function place(got, held)
  local c = 0
  for line = 1, lines do
    local most = ARGV[asked + line - 1]
    local least = most
    if not is_amount(most) then
      least, most = string.match(most, '^(%d+)-(%d+)$')
      if not least or not is_amount(least) or not is_amount(most) then
        return nil, {'invalid', ARGV[asked + line - 1]}
      end
    end
    local total, last = tonumber(most), c + (spans and spans[line] or 1)
    local has = held and held[ARGV[first + c]] or -1
    local short = least - has > 0
    while c < last do
      local name = ARGV[first + c]
      c = c + 1
      local used, held_now, tail, was = string.match(got[c + 2] or '0 0 0 0 0 0 -',
        '^(%d+) (%d+)( %d+ (%w+) .+)$')
      if not used then return nil, {'damaged', name} end
      heads[c], reserved[c], tails[c] = used, held_now, tail
      if was ~= stamp then
        local since = string.match(tail, '^ %d+ %w+ (%d+) %d+ [%d:-]+$')
        if not since then return nil, {'damaged', name} end
        starts = starts or listed(floors)
        if since - starts[c] < 0 then used = 0 end
      end
      local room = ARGV[limits + c - 1] - used - held_now + (held and held[name] or 0)
      if room < total then
        if short and room - least < 0 then return c, least end
        total = room
      end
    end
    totals[line] = total > has and total or has
  end
end

-- Who says no: counter, what was asked of it, its limit; and how it stands: used, peak, reserved.
local function denied(got, c, amount)
  local floor = (starts or listed(floors))[c]
  return denial(got[c + 2], ARGV[first + c - 1], amount, floor, ARGV[limits + c - 1])
end
