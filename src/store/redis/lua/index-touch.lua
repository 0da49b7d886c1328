-- Notes a member with the time of the server (ms), so that a process whose clock is wrong cannot mislead others.
-- KEYS  1 an index, or the list of checks (sorted set: member by time)
-- ARGV  1 member   2 how many ms later than now
local now = redis.call('TIME')
local ms = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
redis.call('ZADD', KEYS[1], string.format('%.0f', ms + tonumber(ARGV[2])), ARGV[1])
