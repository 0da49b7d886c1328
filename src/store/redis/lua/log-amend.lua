-- Replaces the JSON of an entry; its first line, the header, stays.
-- KEYS  1 entries   2 ids
-- ARGV  1 event ID   2 JSON
-- Nothing happens if the log does not hold the event.
local position = redis.call('ZSCORE', KEYS[2], ARGV[1])
if position then
  local field = string.format('%.0f', tonumber(position))
  local entry = redis.call('HGET', KEYS[1], field)
  local line = string.find(entry, '\n', 1, true)
  redis.call('HSET', KEYS[1], field, string.sub(entry, 1, line) .. ARGV[2])
end
