-- Turns a live peek of a device into a tombstone.
-- KEYS  1 peeks   2 live
-- ARGV  1 room ID   2 instance   3 the value of its field 'ended'
-- Reply: 1, or 0 when it was not live. Of several who end it, one gets the 1.
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] then
  return 0
end
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('HSET', KEYS[1], ARGV[2] .. ' ended', ARGV[3])
return 1
