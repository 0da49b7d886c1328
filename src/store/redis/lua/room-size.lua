-- Counts the records of a room: its log, the log's entries, the events of its replica.
-- KEYS  1 log   2 entries   3 state events   4 auth chain
-- Reply: how many, at one moment.
return redis.call('EXISTS', KEYS[1]) + redis.call('HLEN', KEYS[2])
  + redis.call('HLEN', KEYS[3]) + redis.call('HLEN', KEYS[4])
