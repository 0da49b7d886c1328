-- Puts a staged replica in the place of the one that is read.
-- KEYS  1 state   2 state events   3 auth chain   4, 5, 6 the same, staged
-- A reader sees the one or the other; the keys that were there are freed beside this.
if redis.call('EXISTS', KEYS[4], KEYS[6]) == 0 then
  return redis.error_reply('what was staged of a replica has expired')
end
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3])
for i = 1, 3 do
  if redis.call('EXISTS', KEYS[i + 3]) == 1 then
    redis.call('RENAME', KEYS[i + 3], KEYS[i])
    redis.call('PERSIST', KEYS[i])
  end
end
