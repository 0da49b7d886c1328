-- Registers or renews a server's peek into a room, and makes its cursor there if it has none.
-- KEYS  1 peeks (hash: room and peek ID -> 'createdAt renewedAt expiresAt')
--       2 rooms (hash: room ID -> how many peeks the server has in it)
--       3 cursors (hash: room ID -> 'position' or 'position stopAt')
--       4 expired (sorted set: rooms and peek IDs to be announced, by when that was noted)
-- ARGV  1 room and peek ID, as in 1   2 room ID   3 createdAt   4 renewedAt   5 expiresAt
--       6 the first position of a new cursor   7 how many peeks the server may have   8 the member of 4
-- Reply: created, renewed or full (nothing was changed). An existing cursor stays where it is and goes on.
local outcome = 'renewed'
local created = ARGV[3]
local held = redis.call('HGET', KEYS[1], ARGV[1])
if held then
  created = string.match(held, '^%S+')
else
  if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[7]) then
    return 'full'
  end
  outcome = 'created'
  redis.call('HINCRBY', KEYS[2], ARGV[2], 1)
end
redis.call('HSET', KEYS[1], ARGV[1], created .. ' ' .. ARGV[4] .. ' ' .. ARGV[5])
local cursor = redis.call('HGET', KEYS[3], ARGV[2])
redis.call('HSET', KEYS[3], ARGV[2], cursor and string.match(cursor, '^%S+') or ARGV[6])
redis.call('ZREM', KEYS[4], ARGV[8])
return outcome
