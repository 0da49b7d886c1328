-- Ends one peek of a server. With the last one in the room its cursor goes, at once or where it is told to stop.
-- KEYS  1 peeks   2 rooms   3 cursors
-- ARGV  1 room and peek ID   2 room ID   3 the position up to which events are owed, or ''
-- Reply: 1, or 0 when the peek was not there.
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then
  return 0
end
if redis.call('HINCRBY', KEYS[2], ARGV[2], -1) > 0 then
  return 1
end
redis.call('HDEL', KEYS[2], ARGV[2])
local cursor = redis.call('HGET', KEYS[3], ARGV[2])
if cursor then
  local position = string.match(cursor, '^%S+')
  if ARGV[3] == '' or tonumber(position) >= tonumber(ARGV[3]) then
    redis.call('HDEL', KEYS[3], ARGV[2])
  else
    redis.call('HSET', KEYS[3], ARGV[2], position .. ' ' .. ARGV[3])
  end
end
return 1
