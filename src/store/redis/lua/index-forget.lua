-- Takes a member out, unless it has been noted again meanwhile.
-- KEYS  1 an index, or the list of checks
-- ARGV  1 member   2 the latest time (ms) that is still let go
local noted = redis.call('ZSCORE', KEYS[1], ARGV[1])
if noted and tonumber(noted) <= tonumber(ARGV[2]) then
  redis.call('ZREM', KEYS[1], ARGV[1])
end
