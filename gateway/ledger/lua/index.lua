-- Lists a subject when the books get their first counter of it: `name` is that counter, or nothing.
-- By pcall, like history: an index that cannot be written keeps no reservation and no charge from
-- the books. The audit finds whom it lacks. Wants: subjects.
local function list_subject(name)
  if name then redis.pcall('ZADD', subjects, '0', string.match(name, '^s:(.+)/')) end
end
