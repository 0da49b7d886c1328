-- Drops a log's entries below a position. The head stays; the tail never moves back.
-- KEYS  1 log   2 entries   3 ids
-- ARGV  1 position
-- Entries, their IDs and the tail go together.
local bounds = redis.call('HMGET', KEYS[1], 'tail', 'head')
if not bounds[1] then
  return
end
local tail = math.min(tonumber(ARGV[1]), tonumber(bounds[2]) + 1)
if tail <= tonumber(bounds[1]) then
  return
end
for n = tonumber(bounds[1]), tail - 1 do
  redis.call('HDEL', KEYS[2], string.format('%.0f', n))
end
local position = string.format('%.0f', tail)
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', '(' .. position)
redis.call('HSET', KEYS[1], 'tail', position)
