-- Ends the leases that are due and drops the records that may be forgotten, at most `batch` (text)
-- of each. Reads and checks all that it will touch before its first write. That frees memory, so
-- that a full store lets all the rest pass; a caller that then wants more of it is `asking`, and
-- begins with a write that a full store refuses. Answers how many leases were ended and whether
-- anything was written; or nil and what is damaged. Wants: books reservations leases forget.
local function sweep(text, batch, asking)
  local is_due = redis.call('ZCOUNT', leases, '-inf', text) > 0
  local is_old = redis.call('ZCOUNT', forget, '-inf', text) > 0
  if not is_due and not is_old then return 0, false end
  local due, old, ended, kept, set = {}, {}, {}, {}, {'now', text}
  if is_old then
    old = redis.call('ZRANGEBYSCORE', forget, '-inf', text, 'LIMIT', '0', batch)
  end
  if is_due then
    due = redis.call('ZRANGEBYSCORE', leases, '-inf', text, 'LIMIT', '0', batch)
    local records, names, sums = redis.call('HMGET', reservations, unpack(due)), {}, {}
    for i = 1, #due do
      local keep, lines = string.match(records[i] or '', '^O %d+ (%d+) [^ ]+ [^ ]+ ([^ ]+)$')
      if not keep then return nil, 'reservation ' .. due[i] end
      for name, held in string.gmatch(lines, '([^,=]+)=(%d+)') do
        if not sums[name] then names[#names + 1] = name end
        sums[name] = (sums[name] or 0) + held
      end
      ended[2 * i - 1], ended[2 * i] = due[i], 'E' .. string.sub(records[i], 2)
      kept[2 * i - 1], kept[2 * i] = digits(text + math.max(keep, 86400000)), due[i]
    end
    local got = redis.call('HMGET', books, unpack(names))
    for i = 1, #names do
      local head, reserved = string.match(got[i] or '', '^(%d+ %d+ %d+ )(%d+)$')
      if not head or reserved - sums[names[i]] < 0 then return nil, names[i] end
      set[2 * i + 1], set[2 * i + 2] = names[i], head .. digits(reserved - sums[names[i]])
    end
  end
  -- After this point it must succeed.
  if asking then redis.call('HSET', books, 'now', text) end
  if is_due then
    redis.call('ZREM', leases, unpack(due))
    redis.call('HSET', reservations, unpack(ended))
    redis.call('ZADD', forget, unpack(kept))
  end
  if is_old then
    redis.call('ZREM', forget, unpack(old))
    redis.call('HDEL', reservations, unpack(old))
  end
  redis.call('HSET', books, unpack(set))
  return #due, true
end
