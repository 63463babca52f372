#!lua flags=allow-oom
-- Claims a batch of due members of one shard under a new lease.
--
-- KEYS 1 due, 2 leases, 3 leased, 4 attempts, 5 quarantine, 6 quarantined
-- ARGV 1 id of the claim
--      2 length of the lease, in milliseconds
--      3 most members to claim, 1 to 1,000
--      4 failed attempts after which a member goes into quarantine
--      5 time until a member in quarantine is tried again, in milliseconds
-- Result: the time of Redis in microseconds, which with the id of the claim names the lease, as in `id:microseconds`;
--      the score of the first member left in `due`, or nil; the end of the first lease, or nil; the claimed members
--      with their scores (MessagePack, as stored in `leased`), or nil; the failed attempts of the claimed members, an
--      empty list when none has failed before; the number of leases that had ended; the number of members that went
--      into quarantine.
--
-- Leases that have ended come first: their members return to `due` with their scores and one more failed attempt,
-- since they may have killed the process that held them. The script may use memory beyond the limit: it only moves.
local due, leases, leased, attempts, quarantine, quarantined = unpack(KEYS)
local lease_ms, limit = tonumber(ARGV[2]), tonumber(ARGV[3])
local attempts_max, retry_ms = tonumber(ARGV[4]), tonumber(ARGV[5])
-- One call mends a few leases, so that it stays short after the death of a replica that held many.
local ENDED_MAX = 4

local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now = math.floor(now_us / 1000)
-- A claim that reaches Redis twice makes two leases: the second must not take the first one's place, whose members
-- would be in no lease then.
local id = ARGV[1] .. ':' .. string.format('%.0f', now_us)

local quarantined_count = 0
local ended = redis.call('ZRANGE', leases, '-inf', now, 'BYSCORE', 'LIMIT', 0, ENDED_MAX)
for _, ended_id in ipairs(ended) do
  local blob = redis.call('HGET', leased, ended_id)
  local members = blob and cmsgpack.unpack(blob) or {}
  for i = 1, #members, 2 do
    local member, score = members[i], members[i + 1]
    local failed = redis.call('HINCRBY', attempts, member, 1)
    if failed >= attempts_max then
      redis.call('HSET', quarantined, member, score .. ' ' .. failed .. ' LEASE_ENDED')
      redis.call('ZADD', quarantine, now + retry_ms, member)
      redis.call('HDEL', attempts, member)
      quarantined_count = quarantined_count + 1
    else
      redis.call('ZADD', due, 'NX', score, member)
    end
  end
  redis.call('HDEL', leased, ended_id)
  redis.call('ZREM', leases, ended_id)
end

local members = redis.call('ZRANGE', due, '-inf', now, 'BYSCORE', 'LIMIT', 0, limit, 'WITHSCORES')
local failed_counts = {}
local names = nil
if #members > 0 and redis.call('EXISTS', attempts) == 1 then
  local all = {}
  for i = 1, #members, 2 do
    all[#all + 1] = members[i]
  end
  local counts = redis.call('HMGET', attempts, unpack(all))
  local head_failed = tonumber(counts[1] or 0) > 0
  -- Members that failed before travel apart from the others, in batches that shrink with each failure, evenly down to one
  -- member: what would go into quarantine next is alone, and takes nobody along.
  local function size_after(failed)
    if failed == 0 then
      return limit
    elseif failed >= attempts_max - 1 then
      return 1
    end
    return math.max(1, math.floor(limit ^ (1 - failed / (attempts_max - 1)) + 1e-9))
  end
  local taken, most = {}, 0
  names = {}
  for i = 1, #all do
    local failed = tonumber(counts[i] or 0)
    if (failed > 0) == head_failed then
      if #names + 1 <= size_after(math.max(most, failed)) then
        most = math.max(most, failed)
        names[#names + 1] = all[i]
        taken[#taken + 1] = all[i]
        taken[#taken + 1] = members[2 * i]
        if head_failed then
          failed_counts[#failed_counts + 1] = failed
        end
      end
    end
  end
  if #names == #all then
    names = nil
  end
  members = taken
end

local blob = false
if #members > 0 then
  blob = cmsgpack.pack(members)
  -- The lease is there before the members leave `due`: a member is always in one of the two.
  redis.call('HSET', leased, id, blob)
  redis.call('ZADD', leases, now + lease_ms, id)
  if names then
    redis.call('ZREM', due, unpack(names))
  else
    -- They are the first ones, so they can go by rank.
    redis.call('ZREMRANGEBYRANK', due, 0, #members / 2 - 1)
  end
end

local next_due = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')[2] or false
local next_lease_end = redis.call('ZRANGE', leases, 0, 0, 'WITHSCORES')[2] or false
return { now_us, next_due, next_lease_end, blob, failed_counts, #ended, quarantined_count }
