-- Removes a room's outbound peek if it still has this peek ID.
-- KEYS  1 the peek (hash)
-- ARGV  1 peek ID
-- Reply: 1, or 0 when it was another or not there.
if redis.call('HGET', KEYS[1], 'peekId') ~= ARGV[1] then
  return 0
end
return redis.call('DEL', KEYS[1])
