-- Finds an event of a room: in its log, else in the state, else in the auth chain.
-- KEYS  1 ids   2 entries   3 state events   4 auth chain
-- ARGV  1 event ID
-- Reply: the event or entry, or nil.
local position = redis.call('ZSCORE', KEYS[1], ARGV[1])
if position then
  return redis.call('HGET', KEYS[2], string.format('%.0f', tonumber(position)))
end
return redis.call('HGET', KEYS[3], ARGV[1]) or redis.call('HGET', KEYS[4], ARGV[1])
