-- Forgets a peek or tombstone of a device.
-- KEYS  1 peeks   2 live
-- ARGV  1 room ID   2 instance   then the fields that a peek may have
-- Reply: 1, or 0 when it was not there.
if redis.call('HGET', KEYS[2], ARGV[1]) == ARGV[2] then
  redis.call('HDEL', KEYS[2], ARGV[1])
end
local removed = 0
for i = 3, #ARGV do
  removed = removed + redis.call('HDEL', KEYS[1], ARGV[2] .. ' ' .. ARGV[i])
end
return math.min(removed, 1)
