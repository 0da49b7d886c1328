-- Puts a live peek of a device to sleep, unless the device was seen meanwhile.
-- KEYS  1 peeks   2 live
-- ARGV  1 room ID   2 instance   3 the value that its field 'seenAt' must have   4 that of 'dormantSince'
-- Reply: 1, or 0 when it was not live, or was seen.
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] then
  return 0
end
if redis.call('HGET', KEYS[1], ARGV[2] .. ' seenAt') ~= ARGV[3] then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[2] .. ' dormantSince', ARGV[4])
return 1
