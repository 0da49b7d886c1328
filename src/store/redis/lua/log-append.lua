-- Opens a room's log if asked to, then gives each new entry the next position, in order.
-- KEYS  1 log (hash: the log's fields)      2 entries (hash: position -> entry)
--       3 ids (sorted set: event ID by position)
--       4 state (hash: state key -> event ID)   5 state events (hash: event ID -> event)
--       6 auth chain (hash: event ID -> event)
-- ARGV  1 how many field/value arguments open the log (0: only append), followed by them;
--       then: '1' and the feed token, or '0' and ''; '1' and the reason to close, or '0' and '';
--       '1' if events are missing before the first new entry (with no entries: a gap alone), else '0'; whether the feed needs to catch up:
--       '1', '0' or '' (as it is); how many arguments amend events, followed by them: event ID, JSON;
--       then for each entry: event ID, entry, state key in the replica ('' for none)
-- Reply { outcome, positions (0: held already), the log's fields }; outcome is one of
--       absent, closed, exists (a log to be opened is there: nothing was changed), opened, appended.
-- All of it happens together or not at all.
local opening = tonumber(ARGV[1])
local outcome = 'appended'
if redis.call('EXISTS', KEYS[1]) == 1 then
  if opening > 0 then
    return { 'exists', {}, redis.call('HGETALL', KEYS[1]) }
  end
  if redis.call('HEXISTS', KEYS[1], 'closedAt') == 1 then
    return { 'closed', {}, {} }
  end
elseif opening == 0 then
  return { 'absent', {}, {} }
else
  outcome = 'opened'
  for i = 2, opening, 2 do
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end

local at = opening + 2
local head = tonumber(redis.call('HGET', KEYS[1], 'head'))
local positions = {}
local first
local amending = tonumber(ARGV[at + 6])
if ARGV[at + 4] == '1' and #ARGV < at + 7 + amending then
  head = head + 1
end
for i = at + 7 + amending, #ARGV, 3 do
  local id, entry, key = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if redis.call('ZSCORE', KEYS[3], id) then
    positions[#positions + 1] = 0
  else
    head = head + 1
    if not first then
      if ARGV[at + 4] == '1' then
        head = head + 1
      end
      first = head
    end
    positions[#positions + 1] = head
    local position = string.format('%.0f', head)
    redis.call('HSET', KEYS[2], position, entry)
    redis.call('ZADD', KEYS[3], position, id)
    if key ~= '' then
      local replaced = redis.call('HGET', KEYS[4], key)
      if replaced then
        redis.call('HDEL', KEYS[5], replaced)
      end
      redis.call('HSET', KEYS[4], key, id)
      redis.call('HSET', KEYS[5], id, entry)
    end
  end
end

redis.call('HSET', KEYS[1], 'head', string.format('%.0f', head))
if ARGV[at] == '1' then
  redis.call('HSET', KEYS[1], 'feedToken', ARGV[at + 1])
end
if ARGV[at + 2] == '1' then
  redis.call('HSET', KEYS[1], 'closedAt', string.format('%.0f', head), 'closedReason', ARGV[at + 3])
end
if ARGV[at + 5] ~= '' then
  redis.call('HSET', KEYS[1], 'needsCatchUp', ARGV[at + 5])
end

-- The first line of a value, its header, stays.
local function amend(key, field, json)
  local value = redis.call('HGET', key, field)
  if value then
    local line = string.find(value, '\n', 1, true)
    redis.call('HSET', key, field, string.sub(value, 1, line) .. json)
  end
end
for i = at + 7, at + 6 + amending, 2 do
  local id, json = ARGV[i], ARGV[i + 1]
  local position = redis.call('ZSCORE', KEYS[3], id)
  if position then
    amend(KEYS[2], string.format('%.0f', tonumber(position)), json)
  end
  amend(KEYS[5], id, json)
  amend(KEYS[6], id, json)
end

return { outcome, positions, redis.call('HGETALL', KEYS[1]) }
