#!lua flags=allow-oom
-- Gives back what a claim took whose answer was lost, so that it needn't wait for the end of its lease.
--
-- KEYS 1 due, 2 leases, 3 leased
-- ARGV 1 id of the claim
-- Result: the number of members given back; the score of the first member in `due`, or nil.
--
-- Nobody knows the leases of such a claim, so nobody acks them. That it took them is no fault of the members. The script
-- may use memory beyond the limit: it only moves.
local due, leases, leased = unpack(KEYS)
local prefix = ARGV[1] .. ':'

local count = 0
-- Few leases are out at a time, and a claim that reached Redis twice made two of them.
for _, id in ipairs(redis.call('ZRANGE', leases, 0, -1)) do
  if string.sub(id, 1, #prefix) == prefix then
    local blob = redis.call('HGET', leased, id)
    local members = blob and cmsgpack.unpack(blob) or {}
    for i = 1, #members, 2 do
      redis.call('ZADD', due, 'NX', members[i + 1], members[i])
      count = count + 1
    end
    redis.call('HDEL', leased, id)
    redis.call('ZREM', leases, id)
  end
end
return { count, redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')[2] or false }
