--[[
  Purpose: share out what an open reservation holds among new ones; no counter moves.
  KEYS: books reservations leases
  ARGV: given id fingerprint lease_ms
    then for each item: id lines, then for each of its lines: meter amount
  Reply: split letters the lines that are left, then of each item: its lines
    | short name asked held | mismatch state id | forgotten id | unknown | settled_as state
    | lost | invalid amount | damaged what
  Letters: the state of the original (`-`: forgotten), then of each item if this was done before.
]]
local books, reservations, leases = KEYS[1], KEYS[2], KEYS[3]
local given, id, fingerprint, lease_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
-- include: time

local ids, items, at = {}, {}, 5
while ARGV[at] do
  local last = at + 2 * ARGV[at + 1]
  ids[#ids + 1], items[#items + 1] = ARGV[at], {at + 2, last}
  for n = at + 3, last + 1, 2 do
    if not amount_of(ARGV[n]) then return {'invalid', ARGV[n]} end
  end
  at = last + 2
end

local got = redis.call('HMGET', books, 'now', 'due')
if not got[1] then return {'lost'} end
local now = time(given, got[1])
if not now then return {'damaged', 'now'} end
local due = math.min(tonumber(got[2] or 0) or 0, now + lease_ms)

-- What a record says, its state as of now; without a state it is damaged.
local function read(name, record)
  local state, kept, print, note, list =
    string.match(record, '^(%u) %d+ (%d+) ([^ ]+) ([^ ]+) ([^ ]+)$')
  if state == 'O' then
    local ends = redis.call('ZSCORE', leases, name)
    if not ends then return nil end
    if tonumber(ends) <= now then state = 'E' end
  end
  return state, kept, print, note, list
end

-- Known ids: the first answer again, or a refusal of other content.
local records = redis.call('HMGET', reservations, id, unpack(ids))
local letters, lists, missing = {}, {}, nil
for i = 1, #ids do
  if records[i + 1] then
    local state, _, print, _, list = read(ids[i], records[i + 1])
    if not state then return {'damaged', 'reservation ' .. ids[i]} end
    if print ~= fingerprint then return {'mismatch', state, ids[i]} end
    letters[#letters + 1], lists[#lists + 1] = state, list
  else
    missing = missing or ids[i]
  end
end
if letters[1] and missing then return {'forgotten', missing} end
if not letters[1] and not records[1] then return {'unknown'} end
local state, kept, print, note, list = '-', nil, nil, nil, ''
if records[1] then
  state, kept, print, note, list = read(id, records[1])
  if not state then return {'damaged', 'reservation ' .. id} end
end
if letters[1] then return {'split', state .. table.concat(letters), list, unpack(lists)} end
if state ~= 'O' then return {'settled_as', state} end

-- On every counter of a meter the original has to hold what all items get of it.
local names, held, of_meter = {}, {}, {}
for name, amount in string.gmatch(list, '([^,=]+)=(%d+)') do
  local meter = string.match(name, '[^/]+$')
  names[#names + 1], held[#names + 1] = name, tonumber(amount)
  of_meter[meter] = of_meter[meter] or {}
  table.insert(of_meter[meter], #names)
end
local text = digits(now)
local opened, ends = {}, {}
for i = 1, #ids do
  local lines = ''
  for n = items[i][1], items[i][2], 2 do
    local meter, amount = ARGV[n], ARGV[n + 1]
    if not of_meter[meter] then return {'short', meter, amount, '0'} end
    for _, c in ipairs(of_meter[meter]) do
      if held[c] - amount < 0 then return {'short', names[c], amount, digits(held[c])} end
      held[c] = held[c] - amount
      lines = lines .. names[c] .. '=' .. amount .. ','
    end
  end
  local record = 'O ' .. text .. ' ' .. kept .. ' ' .. fingerprint .. ' ' .. note .. ' ' .. lines
  opened[#opened + 1], opened[#opened + 2] = ids[i], record
  ends[#ends + 1], ends[#ends + 2] = digits(now + lease_ms), ids[i]
  lists[i] = lines
end
for c = 1, #names do names[c] = names[c] .. '=' .. digits(held[c]) end
local opening = string.match(records[1], '^O %d+ %d+ [^ ]+ [^ ]+ ')
list = table.concat(names, ',')
-- After this point it must succeed. The first write is one that a full store refuses: no room for
-- records, no reservations.
redis.call('HSET', books, 'now', text, 'due', digits(due))
redis.call('HSET', reservations, id, opening .. list, unpack(opened))
redis.call('ZADD', leases, unpack(ends))
return {'split', 'O', list, unpack(lists)}
