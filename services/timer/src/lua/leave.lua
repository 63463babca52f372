#!lua flags=allow-oom
-- Takes a replica off the list of those that are alive.
--
-- KEYS 1 replicas, 2 leaving
-- ARGV 1 the replica's id; 2 how long it may still ack leases, in milliseconds; 0 when it has ended
-- Result: 1.
local replicas, leaving = unpack(KEYS)
local left_ms = tonumber(ARGV[2])
-- On the other list first: it is on one of them for as long as it may ack.
if left_ms > 0 then
  local time = redis.call('TIME')
  redis.call('ZADD', leaving, time[1] * 1000 + math.floor(time[2] / 1000) + left_ms, ARGV[1])
else
  redis.call('ZREM', leaving, ARGV[1])
end
redis.call('ZREM', replicas, ARGV[1])
return 1
