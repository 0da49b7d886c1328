-- Reads the newest entries at or below a position, oldest first.
-- KEYS  1 log   2 entries
-- ARGV  1 the position   2 at most so many
-- A position that was left out, where events are missing, has no entry.
-- Reply { position, entry, position, entry, … }, as they were at one moment.
local bounds = redis.call('HMGET', KEYS[1], 'tail', 'head')
if not bounds[1] then
  return {}
end
local left = tonumber(ARGV[2])
local backwards = {}
for n = math.min(tonumber(bounds[2]), tonumber(ARGV[1])), tonumber(bounds[1]), -1 do
  if left <= 0 then
    break
  end
  local position = string.format('%.0f', n)
  local entry = redis.call('HGET', KEYS[2], position)
  if entry then
    left = left - 1
    backwards[#backwards + 1] = entry
    backwards[#backwards + 1] = position
  end
end
local found = {}
for i = #backwards, 1, -1 do
  found[#found + 1] = backwards[i]
end
return found
