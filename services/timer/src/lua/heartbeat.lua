#!lua flags=allow-oom
-- Says that a replica is alive, and tells who is.
--
-- KEYS 1 replicas
-- ARGV 1 the replica's id, empty to ask only; 2 how long a heartbeat counts, 3 how long it is kept, in milliseconds
-- Result: the ids of the replicas that are alive.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[1] ~= '' then
  redis.call('ZADD', KEYS[1], now, ARGV[1])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[3]))
return redis.call('ZRANGE', KEYS[1], now - tonumber(ARGV[2]), '+inf', 'BYSCORE')
