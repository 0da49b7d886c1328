-- Moves a server's cursor forward, or removes it where it is to stop.
-- KEYS  1 cursors
-- ARGV  1 room ID   2 position   3 '1' if the cursor may be removed, else '0'
-- Reply: 1 when it would have to be removed and may not be (nothing was changed), else 0.
-- It never moves back, whoever is late.
local cursor = redis.call('HGET', KEYS[1], ARGV[1])
if not cursor then
  return 0
end
local position, stop = string.match(cursor, '^(%S+) ?(%S*)$')
if tonumber(ARGV[2]) > tonumber(position) then
  position = ARGV[2]
end
if stop == '' then
  redis.call('HSET', KEYS[1], ARGV[1], position)
elseif tonumber(position) < tonumber(stop) then
  redis.call('HSET', KEYS[1], ARGV[1], position .. ' ' .. stop)
elseif ARGV[3] == '1' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  return 1
end
return 0
