-- Ends the leases that are due and drops the records that may be forgotten, `batch` of each.
-- Reads and checks all it will touch before its first write. Answers how many leases were ended,
-- or nil and the name of what is damaged. Wants: books reservations leases forget.
local function sweep(now, batch)
  local due = redis.call('ZRANGEBYSCORE', leases, '-inf', digits(now), 'LIMIT', 0, batch)
  local old = redis.call('ZRANGEBYSCORE', forget, '-inf', digits(now), 'LIMIT', 0, batch)
  local fields, sums, ended, kept = {}, {}, {}, {}
  if #due > 0 then
    local records = redis.call('HMGET', reservations, unpack(due))
    for i = 1, #due do
      local keep, rest = string.match(records[i] or '', '^O %d+ (%d+) %S+ %S+ (%S+)$')
      if not keep then return nil, 'reservation ' .. due[i] end
      for counter, held in string.gmatch(rest, '([^,=]+)=(%d+)') do
        local field = counter .. ':r'
        if not sums[field] then
          fields[#fields + 1] = field
          sums[field] = 0
        end
        sums[field] = sums[field] + tonumber(held)
      end
      ended[#ended + 1] = due[i]
      ended[#ended + 1] = 'E' .. string.sub(records[i], 2)
      kept[#kept + 1] = digits(now + math.max(tonumber(keep), 86400000))
      kept[#kept + 1] = due[i]
    end
  end
  if #fields > 0 then
    local reserved = redis.call('HMGET', books, unpack(fields))
    for i = 1, #fields do
      if not is_amount(reserved[i]) or tonumber(reserved[i] or 0) < sums[fields[i]] then
        return nil, fields[i]
      end
    end
  end
  -- After this point it must succeed.
  if #old > 0 then
    redis.call('ZREM', forget, unpack(old))
    redis.call('HDEL', reservations, unpack(old))
  end
  if #due > 0 then
    redis.call('ZREM', leases, unpack(due))
    for i = 1, #fields do
      redis.call('HINCRBY', books, fields[i], digits(0 - sums[fields[i]]))
    end
    redis.call('HSET', reservations, unpack(ended))
    redis.call('ZADD', forget, unpack(kept))
  end
  return #due
end
