-- Reads the current state events of some keys.
-- KEYS  1 state   2 state events
-- ARGV  the state keys
-- Reply: the events that are there, in the order asked for, as they were at one moment.
local found = {}
for i = 1, #ARGV do
  local id = redis.call('HGET', KEYS[1], ARGV[i])
  if id then
    found[#found + 1] = redis.call('HGET', KEYS[2], id)
  end
end
return found
