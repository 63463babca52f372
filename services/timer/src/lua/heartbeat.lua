#!lua flags=allow-oom
-- Says that a replica is alive, and tells who is.
--
-- KEYS 1 replicas, 2 leaving
-- ARGV 1 the replica's id, empty to ask only; 2 how long a heartbeat counts, 3 how long it is kept, in milliseconds
-- Result: the ids of the replicas that are alive; the number of those that are leaving, and may still ack their leases.
local replicas, leaving = unpack(KEYS)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[1] ~= '' then
  redis.call('ZADD', replicas, now, ARGV[1])
end
redis.call('ZREMRANGEBYSCORE', replicas, '-inf', now - tonumber(ARGV[3]))
redis.call('ZREMRANGEBYSCORE', leaving, '-inf', now)
local alive = redis.call('ZRANGE', replicas, now - tonumber(ARGV[2]), '+inf', 'BYSCORE')
return { alive, redis.call('ZCARD', leaving) }
