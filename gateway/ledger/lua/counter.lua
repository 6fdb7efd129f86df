-- A counter in the books is packed, since to take a text apart and write another takes twice as
-- long: used reserved top (doubles), its stamp (16 characters), since peak (doubles), then its
-- history: four doubles of a level, two of a cumulative meter, or none. `move` says what they are.
-- Doubles hold every integer below 2^53. Here is one that never moved.
local NONE = '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0000000000000000000\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'

-- What most verbs need of it: used, reserved, top, stamp. Nothing, if it is damaged: of another
-- length, or with what is no amount.
local function counter_of(value)
  local length = #value
  if length ~= 88 and length ~= 72 and length ~= 56 then return nil end
  local used, reserved, top, stamp = struct.unpack('<dddc16', value)
  if used % 1 + reserved % 1 + top % 1 == 0 and used >= 0 and reserved >= 0 and top >= 0
    and used < 9007199254740992 and reserved < 9007199254740992 and top < 9007199254740992 then
    return used, reserved, top, stamp
  end
end

-- The rest of it: since, peak, and as much history as it has. Nothing, if that is damaged.
local function rest_of(value)
  local form = #value == 88 and '<dddddd' or #value == 72 and '<dddd' or '<dd'
  local rest = {struct.unpack(form, value, 41)}
  rest[#rest] = nil
  for n = 1, #rest do
    if rest[n] % 1 ~= 0 or math.abs(rest[n]) >= 9007199254740992 then return nil end
  end
  if rest[1] >= 0 and rest[2] >= 0 then return unpack(rest) end
end

-- The same counter with that much reserved.
local function with_reserved(value, reserved)
  return string.sub(value, 1, 8) .. struct.pack('<d', reserved) .. string.sub(value, 17)
end
