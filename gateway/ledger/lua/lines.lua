-- Lines: least most count, then for each of its counters: floor limit. Their names stand together
-- in ARGV from `first` on, what the books say of them in `got` from 2 on.
-- In the books a counter is `used since peak reserved`. The floor of a cumulative counter is where
-- its period starts: when `since` lies before it, `used` is of a period that is over, and 0 by now.
-- A level's floor is negative: what is used stays used, only the peak starts anew. Wants: first.
local totals, heads, reserved = {}, {}, {}

-- What each line gets in all, and each counter's parts. `held` is counter -> amount held already:
-- a line that asks for no more than that has it, also when the account is over its limit.
-- Answers the first counter that has no room, what was asked of it and where ARGV says its floor;
-- or nil and, if something cannot be used, the refusal.
local function place(got, at, held)
  local c, line = 0, 0
  while ARGV[at] do
    local asked, most, last = ARGV[at], ARGV[at + 1], c + ARGV[at + 2]
    if not is_amount(asked) then return nil, {'invalid', asked} end
    if most ~= asked and not is_amount(most) then return nil, {'invalid', most} end
    local least, total, has = tonumber(asked), tonumber(most), held[ARGV[first + c]] or -1
    line, at = line + 1, at + 3
    while c < last do
      local name, limit = ARGV[first + c], ARGV[at + 1]
      c = c + 1
      local head, used, since, now = string.match(got[c + 1] or '0 0 0 0',
        '^((%d+) (%d+) %d+ )(%d+)$')
      if not head then return nil, {'damaged', name} end
      if since - ARGV[at] < 0 then used = 0 end
      local room = limit - used - now + (held[name] or 0)
      if room < least and least > has then return c, asked, at end
      if room < total then total = room end
      heads[c], reserved[c] = head, now
      at = at + 2
    end
    totals[line] = total > has and total or has
  end
end

-- Who says no: counter, what was asked of it, its limit; and how it stands: used, peak, reserved.
local function denial(got, c, asked, at)
  local used, since, peak, now = string.match(got[c + 1] or '0 0 0 0', '^(%d+) (%d+) (%d+) (%d+)$')
  local floor = tonumber(ARGV[at])
  if since - math.abs(floor) < 0 then
    if floor > 0 then used = '0' end
    peak = used
  end
  return ARGV[first + c - 1], asked, ARGV[at + 1], used, peak, now
end
