-- Reads the peeks of one server in one room.
-- KEYS  1 peeks
-- ARGV  1 what the fields of the room's peeks begin with
-- Reply { field, value, field, value, … }
local all = redis.call('HGETALL', KEYS[1])
local found = {}
for i = 1, #all, 2 do
  if string.sub(all[i], 1, #ARGV[1]) == ARGV[1] then
    found[#found + 1] = all[i]
    found[#found + 1] = all[i + 1]
  end
end
return found
