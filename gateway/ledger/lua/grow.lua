--[[
  Purpose: let an open reservation hold more: new totals per meter, all of them or none.
  KEYS: books reservations leases forget subjects
  ARGV: given from till id count
    then the names of all counters
    then for each line: least most count, then for each of its counters: floor limit
  Reply: granted, what each line has in all, the counters | denied counter requested limit used peak reserved
    | unknown | settled_as state | clock now | again | lost | invalid amount | damaged what
]]
local books, reservations, leases, forget = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local subjects = KEYS[5]
local given, from, till, id, count = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local first, lines = 6, 6 + ARGV[5]
-- include: time
-- include: sweep
-- include: lines
-- include: index

local got = redis.call('HMGET', books, 'now', unpack(ARGV, first, lines - 1))
if not got[1] then return {'lost'} end
local seen = tonumber(got[1])
if not seen then return {'damaged', 'now'} end
local now = time(given, seen)
if now < tonumber(from) or now >= tonumber(till) then return {'clock', now} end
local record = redis.call('HGET', reservations, id)
if not record then return {'unknown'} end
local state, before, list = string.match(record, '^(%u)( %d+ %d+ [^ ]+ [^ ]+ )([^ ]+)$')
if not state then return {'damaged', 'reservation ' .. id} end
if state ~= 'O' then return {'settled_as', state} end
local ends = redis.call('ZSCORE', leases, id)
if not ends then return {'damaged', 'lease ' .. id} end
if tonumber(ends) <= now then return {'settled_as', 'E'} end
local held, order = {}, {}
for name, amount in string.gmatch(list, '([^,=]+)=(%d+)') do
  held[name] = tonumber(amount)
  order[#order + 1] = name
end

local text, rounds = digits(now), 0
local short, asked, floor
repeat
  local ended, wrote = sweep(text, '16', true)
  if not ended then return {'damaged', wrote} end
  if wrote then got = redis.call('HMGET', books, 'now', unpack(ARGV, first, lines - 1)) end
  short, asked, floor = place(got, lines, held)
  if asked and not short then return asked end
  rounds = rounds + 1
  if rounds > 64 then return {'again'} end
until not short or ended < 16
if short then return {'denied', denial(got, short, asked, floor)} end

local reply, set = {'granted'}, {'now', text}
local newcomer
local at, c = lines, 0
while ARGV[at] do
  local total, last = totals[#reply], c + ARGV[at + 2]
  local grows = total > (held[ARGV[first + c]] or -1)
  reply[#reply + 1] = digits(total)
  while c < last do
    c = c + 1
    local name = ARGV[first + c - 1]
    if grows then
      if not got[c + 1] and string.byte(name) == 115 then newcomer = name end
      if not held[name] then order[#order + 1] = name end
      got[c + 1] = heads[c] .. digits(reserved[c] + total - (held[name] or 0))
      held[name] = total
      set[#set + 1], set[#set + 2] = name, got[c + 1]
    end
  end
  at = at + 3 + 2 * ARGV[at + 2]
end
for i = 1, #order do order[i] = order[i] .. '=' .. digits(held[order[i]]) end
-- After this point it must succeed.
if #set > 2 then
  redis.call('HSET', books, unpack(set))
  redis.call('HSET', reservations, id, state .. before .. table.concat(order, ','))
  list_subject(newcomer)
end
for n = 2, c + 1 do reply[#reply + 1] = got[n] or '0 0 0 0' end
return reply
