-- Changes fields of a record that is still there.
-- KEYS  1 the record (hash)
-- ARGV  1 a field that the record must have   2 the value it must have, or '' for any
--       3 how many arguments are fields and values to set, followed by them; then fields to delete
-- Reply: 1 if it was changed, 0 if it was not there or has become another.
local held = redis.call('HGET', KEYS[1], ARGV[1])
if not held or (ARGV[2] ~= '' and held ~= ARGV[2]) then
  return 0
end
local last = 3 + tonumber(ARGV[3])
for i = 4, last, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
end
for i = last + 1, #ARGV do
  redis.call('HDEL', KEYS[1], ARGV[i])
end
return 1
