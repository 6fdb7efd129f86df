-- Ends the leases that are due and drops the records that may be forgotten, at most `batch` of each.
-- Reads and checks all that it will touch before its first write. That frees memory, so that a full
-- store lets all the rest pass; a caller that then wants more of it is `asking`, and begins with a
-- write that a full store refuses. Answers how many leases were ended, when to sweep next (`due` in
-- the books: no lease ends before) and whether anything was written; or nil and what is damaged.
-- Wants: books reservations leases forget.
local function sweep(now, batch, asking)
  local text, ahead = digits(now), now + 1000
  local open = redis.call('ZRANGE', leases, '0', digits(batch), 'WITHSCORES')
  local past = redis.call('ZRANGE', forget, '0', digits(batch), 'WITHSCORES')
  local due, old, ended, kept = {}, {}, {}, {}
  for i = 1, #open, 2 do
    local ends = tonumber(open[i + 1])
    if ends > now or #due == batch then
      if ends < ahead then ahead = ends end
      break
    end
    due[#due + 1] = open[i]
  end
  for i = 1, #past, 2 do
    if tonumber(past[i + 1]) > now then break end
    if #old == batch then
      ahead = math.min(ahead, now)
      break
    end
    old[#old + 1] = past[i]
  end
  local set = {'now', text, 'due', digits(ahead)}
  if not due[1] and not old[1] then return 0, set[4], false end
  if due[1] then
    local records, names, sums = redis.call('HMGET', reservations, unpack(due)), {}, {}
    for i = 1, #due do
      local keep, list = string.match(records[i] or '', '^O %d+ (%d+) [^ ]+ [^ ]+ ([^ ]+)$')
      if not keep then return nil, 'reservation ' .. due[i] end
      for name, held in string.gmatch(list, '([^,=]+)=(%d+)') do
        if not sums[name] then names[#names + 1] = name end
        sums[name] = (sums[name] or 0) + held
      end
      ended[2 * i - 1], ended[2 * i] = due[i], 'E' .. string.sub(records[i], 2)
      kept[2 * i - 1], kept[2 * i] = digits(now + math.max(keep, 86400000)), due[i]
    end
    local got = redis.call('HMGET', books, unpack(names))
    for i = 1, #names do
      local name, value = names[i], got[i] or ''
      local used, reserved = counter_of(value)
      if not used or reserved < sums[name] then return nil, name end
      set[2 * i + 3], set[2 * i + 4] = name, with_reserved(value, reserved - sums[name])
    end
  end
  -- After this point it must succeed.
  if asking then redis.call('HSET', books, 'now', text) end
  if due[1] then
    redis.call('ZREM', leases, unpack(due))
    redis.call('HSET', reservations, unpack(ended))
    redis.call('ZADD', forget, unpack(kept))
  end
  if old[1] then
    redis.call('ZREM', forget, unpack(old))
    redis.call('HDEL', reservations, unpack(old))
  end
  redis.call('HSET', books, unpack(set))
  return #due, set[4], true
end
