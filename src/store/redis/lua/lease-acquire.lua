-- Takes a lease, or prolongs one's own.
-- KEYS  1 the lease (string: its owner; it expires)
-- ARGV  1 owner   2 time to live in ms
-- Reply: 1, or 0 while another owner holds it.
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
