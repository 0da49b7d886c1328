-- How many bytes the entries of some positions have, with the little that is held beside each event.
-- KEYS  1 log   2 entries
-- ARGV  1 the first position   2 the last position: a few hundred further on at most
local bounds = redis.call('HMGET', KEYS[1], 'tail', 'head')
if not bounds[1] then
  return 0
end
local bytes = 0
for n = math.max(tonumber(bounds[1]), tonumber(ARGV[1])), math.min(tonumber(bounds[2]), tonumber(ARGV[2])) do
  bytes = bytes + redis.call('HSTRLEN', KEYS[2], string.format('%.0f', n))
end
return bytes
