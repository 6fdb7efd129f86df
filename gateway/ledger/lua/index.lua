-- Lists a subject when the books get their first counter of it: `newcomer` is that counter, or
-- nothing. By pcall, like history: an index that cannot be written keeps no reservation and no
-- charge from the books. The audit finds whom it lacks. Wants: subjects newcomer.
if newcomer then redis.pcall('ZADD', subjects, '0', string.match(newcomer, '^s:(.+)/')) end
