-- Adds to the buckets of the hours, and of the days, that are over: the sum of a cumulative meter;
-- a level's opening, peak and closing. Last of all and by pcall: history never keeps a settlement
-- from the books. Wants: past.
for i = 1, past and #past or 0 do
  local key, field, row, keep_s = unpack(past[i])
  if type(row) == 'number' then
    redis.pcall('HINCRBY', key, field, digits(row))
  else
    local was = redis.pcall('HGET', key, field)
    local opening, peak
    if type(was) == 'string' then opening, peak = string.match(was, '^(%d+) (%d+) %d+$') end
    if opening then
      row[1] = opening
      if row[2] - peak < 0 then row[2] = peak end
    end
    redis.pcall('HSET', key, field, table.concat(row, ' '))
  end
  redis.pcall('EXPIRE', key, keep_s)
end
