-- Counters in the order they are named, each as it is known to the frame and stands in the books.
-- Kinds: L level, C cumulative, N concurrency. A limit of '' is none: amounts end at 2^53.
-- Wants: books.
local names, kinds, starts, limits = {}, {}, {}, {}
local used, reserved, peaks, fresh = {}, {}, {}, {}
local fields = {'gen', 'now'}

-- Adds the counters of one line: ARGV[at] of them, four arguments each. Answers what comes next.
local function add_counters(at)
  local last = at + 4 * tonumber(ARGV[at])
  for i = at + 1, last, 4 do
    local name, n = ARGV[i], #names + 1
    names[n] = name
    kinds[n] = ARGV[i + 1]
    starts[n] = tonumber(ARGV[i + 2])
    limits[n] = tonumber(ARGV[i + 3]) or 9007199254740991
    local f = 4 * n - 1
    fields[f], fields[f + 1] = name .. ':u', name .. ':r'
    fields[f + 2], fields[f + 3] = name .. ':p', name .. ':k'
  end
  return last + 1
end

-- Takes the books' answer to `fields`. A cumulative counter whose period began since its last
-- change starts at 0, a level's peak at the level. Answers the name of a damaged field, if any.
local function take_counters(got)
  for n = 1, #names do
    local f = 4 * n - 1
    for i = f, f + 3 do
      if not is_amount(got[i]) then return fields[i] end
    end
    used[n], reserved[n] = tonumber(got[f] or 0), tonumber(got[f + 1] or 0)
    fresh[n] = tonumber(got[f + 2] or -1) < starts[n]
    if fresh[n] and kinds[n] == 'C' then used[n] = 0 end
    peaks[n] = used[n]
    if not fresh[n] and got[f + 3] then peaks[n] = math.max(used[n], tonumber(got[f + 3])) end
  end
end

local function add_standings(reply)
  for n = 1, #names do
    local at = #reply
    reply[at + 1], reply[at + 2], reply[at + 3] = used[n], reserved[n], peaks[n]
  end
  return reply
end
