-- Reads entries after a position, oldest first.
-- KEYS  1 log   2 entries
-- ARGV  1 the position   2 at most so many
-- Reply { position, entry, position, entry, … }, as they were at one moment.
local bounds = redis.call('HMGET', KEYS[1], 'tail', 'head')
if not bounds[1] then
  return {}
end
local from = math.max(tonumber(bounds[1]), tonumber(ARGV[1]) + 1)
local to = math.min(tonumber(bounds[2]), from + tonumber(ARGV[2]) - 1)
local found = {}
for n = from, to do
  local position = string.format('%.0f', n)
  found[#found + 1] = position
  found[#found + 1] = redis.call('HGET', KEYS[2], position)
end
return found
