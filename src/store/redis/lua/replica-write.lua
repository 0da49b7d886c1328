-- Adds events to a room's replica, or replaces it by them.
-- KEYS  1 state (hash: state key -> event ID)   2 state events (hash: event ID -> event)
--       3 auth chain (hash: event ID -> event)
-- ARGV  1 'add' or 'replace'   2 how many state events; for each: state key, event ID, event;
--       then for each event of the auth chain: event ID, event
-- A reader sees the replica before or after, never between.
if ARGV[1] == 'replace' then
  redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
end
local last = 2 + 3 * tonumber(ARGV[2])
for i = 3, last, 3 do
  local replaced = redis.call('HGET', KEYS[1], ARGV[i])
  if replaced then
    redis.call('HDEL', KEYS[2], replaced)
  end
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  redis.call('HSET', KEYS[2], ARGV[i + 1], ARGV[i + 2])
end
for i = last + 1, #ARGV, 2 do
  redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1])
end
