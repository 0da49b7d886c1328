-- Reads the checks that are due.
-- KEYS  1 the list of checks
-- ARGV  1 at most so many
-- Reply { the server's time in ms, { member, time, member, time, … } }
local now = redis.call('TIME')
local ms = string.format('%.0f', tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000))
return { ms, redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ms, 'WITHSCORES', 'LIMIT', 0, ARGV[1]) }
