-- Reads entries after a position, oldest first.
-- KEYS  1 log   2 entries
-- ARGV  1 the position   2 at most so many
-- A position that was left out, where events are missing, has no entry.
-- Reply { position, entry, position, entry, … }, as they were at one moment.
local bounds = redis.call('HMGET', KEYS[1], 'tail', 'head')
if not bounds[1] then
  return {}
end
local left = tonumber(ARGV[2])
local found = {}
for n = math.max(tonumber(bounds[1]), tonumber(ARGV[1]) + 1), tonumber(bounds[2]) do
  if left <= 0 then
    break
  end
  local position = string.format('%.0f', n)
  local entry = redis.call('HGET', KEYS[2], position)
  if entry then
    left = left - 1
    found[#found + 1] = position
    found[#found + 1] = entry
  end
end
return found
