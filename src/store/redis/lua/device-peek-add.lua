-- Adds a live peek to a device, or touches the live peek that it has on the room.
-- KEYS  1 peeks (hash: '<instance> <field>' -> value)   2 live (hash: room ID -> instance)
-- ARGV  1 room ID   2 instance   3 how many live peeks the device may have   4 seenAt
--       then the fields of the new peek with their values
-- Reply { outcome, instance, the device's peeks }; outcome is one of created, held, full, taken (the instance
--       belongs to another peek of the device).
-- However many add at once, a device has one live peek on a room and no more than the limit in all.
local held = redis.call('HGET', KEYS[2], ARGV[1])
if held then
  redis.call('HSET', KEYS[1], held .. ' seenAt', ARGV[4])
  redis.call('HDEL', KEYS[1], held .. ' dormantSince')
  return { 'held', held, redis.call('HGETALL', KEYS[1]) }
end
if redis.call('HLEN', KEYS[2]) >= tonumber(ARGV[3]) then
  return { 'full', '', {} }
end
if redis.call('HEXISTS', KEYS[1], ARGV[2] .. ' roomId') == 1 then
  return { 'taken', '', {} }
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
for i = 5, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[2] .. ' ' .. ARGV[i], ARGV[i + 1])
end
return { 'created', ARGV[2], redis.call('HGETALL', KEYS[1]) }
