-- Adds events to a room's replica, replaces it by them, or stages them in keys of their own, to replace it later.
-- KEYS  1 state (hash: state key -> event ID)   2 state events (hash: event ID -> event)
--       3 auth chain (hash: event ID -> event)
-- ARGV  1 'add', 'replace', 'stage' (the first of it) or 'stage on'   2 how long staged keys are kept, in ms
--       3 how many state events; for each: state key, event ID, event;
--       then for each event of the auth chain: event ID, event
-- A reader sees the replica before or after, never between.
if ARGV[1] == 'replace' then
  redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3])
elseif ARGV[1] == 'stage on' and redis.call('EXISTS', KEYS[1], KEYS[3]) == 0 then
  return redis.error_reply('what was staged of a replica has expired')
end
local last = 3 + 3 * tonumber(ARGV[3])
for i = 4, last, 3 do
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
if ARGV[1] == 'stage' or ARGV[1] == 'stage on' then
  for i = 1, 3 do
    redis.call('PEXPIRE', KEYS[i], ARGV[2])
  end
end
