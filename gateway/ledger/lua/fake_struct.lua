-- Redis's `struct` library for fakeredis, whose Lua lacks it: so much of it as the ledger's scripts
-- use, which is `<`, then `d` (a double) and `cN` (N characters). Run once on a server. It is put where
-- Lua looks for a global that is not set: one that is set, fakeredis takes for a script's mistake.
local infinity = 1 / 0

local function double_of(number)
  local sign, exponent, mantissa = 0, 0, 0
  if number < 0 or 1 / number < 0 then sign, number = 128, 0 - number end
  if number ~= number then
    exponent, mantissa = 2047, 2 ^ 51
  elseif number == infinity then
    exponent = 2047
  elseif number ~= 0 then
    local fraction, power = math.frexp(number)
    exponent, mantissa = power + 1022, (fraction * 2 - 1) * 2 ^ 52
    if exponent < 1 then exponent, mantissa = 0, fraction * 2 ^ (52 + power + 1022) end
  end
  local bytes = {}
  for n = 1, 6 do bytes[n], mantissa = mantissa % 256, math.floor(mantissa / 256) end
  bytes[7], bytes[8] = mantissa + exponent % 16 * 16, sign + math.floor(exponent / 16)
  return string.char(unpack(bytes))
end

local function number_of(double)
  local bytes = {string.byte(double, 1, 8)}
  local sign = bytes[8] < 128 and 1 or -1
  local exponent, mantissa = bytes[8] % 128 * 16 + math.floor(bytes[7] / 16), bytes[7] % 16
  for n = 6, 1, -1 do mantissa = mantissa * 256 + bytes[n] end
  if exponent == 2047 then return mantissa == 0 and sign * infinity or infinity - infinity end
  if exponent == 0 then return sign * math.ldexp(mantissa, -1074) end
  return sign * math.ldexp(1 + mantissa / 2 ^ 52, exponent - 1023)
end

-- Each option of a format, and its length.
local function options(form)
  assert(string.find(form, '^<[dc%d]*$'), 'a format of other options')
  local found = string.gmatch(form, '([dc])(%d*)')
  return function()
    local option, length = found()
    return option, option == 'd' and 8 or tonumber(length)
  end
end

local struct = {}

function struct.size(form)
  local size = 0
  for _, length in options(form) do size = size + length end
  return size
end

function struct.pack(form, ...)
  local parts = {}
  for option, length in options(form) do
    local value = select(#parts + 1, ...)
    if option == 'd' then
      parts[#parts + 1] = double_of(assert(tonumber(value), 'number expected'))
    else
      assert(#value >= length, 'string too short')
      parts[#parts + 1] = string.sub(value, 1, length)
    end
  end
  return table.concat(parts)
end

function struct.unpack(form, data, at)
  local values, at = {}, at or 1
  for option, length in options(form) do
    assert(at + length - 1 <= #data, 'data string too short')
    local part = string.sub(data, at, at + length - 1)
    values[#values + 1] = option == 'd' and number_of(part) or part
    at = at + length
  end
  values[#values + 1] = at
  return unpack(values)
end

setmetatable(_G, {__index = {struct = struct}})
