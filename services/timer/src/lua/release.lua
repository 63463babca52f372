#!lua flags=allow-oom
-- Makes members of one shard that are in quarantine due again.
--
-- KEYS 1 due, 2 quarantine, 3 quarantined, 4 attempts
-- ARGV 1 failed attempts that the members keep
--      2 without named members: release at most this many whose time to be tried again has come
--      from 3 on: the members to release, at most 500; those that are not in quarantine are passed over
-- Result: the number of members released.
local due, quarantine, quarantined, attempts = unpack(KEYS)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local members = {}
if #ARGV > 2 then
  for i = 3, #ARGV do
    members[#members + 1] = ARGV[i]
  end
else
  members = redis.call('ZRANGE', quarantine, '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[2])
end

local released = 0
for _, member in ipairs(members) do
  if redis.call('ZSCORE', quarantine, member) then
    -- Before it leaves quarantine: it is always in one of the two.
    redis.call('ZADD', due, 'NX', now, member)
    if tonumber(ARGV[1]) > 0 then
      redis.call('HSET', attempts, member, ARGV[1])
    else
      redis.call('HDEL', attempts, member)
    end
    redis.call('ZREM', quarantine, member)
    redis.call('HDEL', quarantined, member)
    released = released + 1
  end
end
return released
