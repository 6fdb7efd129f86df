-- When an asset last changed, as far as that is known: `row` says when it was stored, and the record
-- of its tombstone when it was removed. Each may be missing, and one that is damaged says nothing.
local function changed_at(row, tombstone)
  local stored = string.match(row or '', '^@(%d+),')
  local removed = string.match(tombstone or '', '^X (%d+) ')
  return math.max(stored or 0, removed or 0)
end

-- Under which id of `reservations` it is remembered that an asset was removed.
local function tombstone_of(asset) return 'removed ' .. asset end
