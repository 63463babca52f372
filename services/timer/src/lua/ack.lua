#!lua flags=allow-oom
-- Ends a lease of one shard: what was said of its members takes its place.
--
-- KEYS 1 due, 2 leases, 3 leased, 4 attempts, 5 quarantine, 6 quarantined
-- ARGV 1 the lease's name
--      2 the time of Redis in microseconds when the ack was sent, at the latest
--      3 number of members to look at again, 4 to give back, 5 that failed, 6 to give up, 7 whose failures are over;
--      then these members, in this order, with microseconds from the sending on:
--        again: member, microseconds
--        back:  member, microseconds
--        failed: member, microseconds, failed attempts
--        given up: member, microseconds until it is tried again, what `quarantined` keeps of it
--        over: member
-- Result: 1 if the lease was still there, else 0; the score of the first member in `due`, or nil.
--
-- Instants are rounded up to whole milliseconds, and lie at least one ahead. When the lease has ended, the answers of the
-- handler still hold, so "again" is done; what the lease's end has done already (back, failed, given up) isn't done a
-- second time. Members are added before the lease goes. The script may use memory beyond the limit: it mostly frees some.
local due, leases, leased, attempts, quarantine, quarantined = unpack(KEYS)
local id = ARGV[1]
local sent_us = tonumber(ARGV[2])
local again_count, back_count, failed_count = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local given_up_count, over_count = tonumber(ARGV[6]), tonumber(ARGV[7])
-- Arguments of one command: far below what Lua can unpack.
local ARGUMENTS_MAX = 400

local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
-- An ack that was long on its way, in a frozen network or before a frozen Redis, must not put anything off. A short
-- way is left in: the sender knows its time only to within a round trip, and members that come too early cost a look.
local SHORT_WAY_US = 50000
local from_us = now_us
if now_us - sent_us > SHORT_WAY_US then
  from_us = sent_us
end
local soonest = math.floor(now_us / 1000) + 1
local held = redis.call('HEXISTS', leased, id) == 1

local function instant(delay_us)
  return math.max(soonest, math.ceil((from_us + tonumber(delay_us)) / 1000))
end

-- Calls the command, with `width` arguments for each of `count` members that `fill` makes from the argument at i.
local function batched(count, first, stride, head, fill)
  local arguments = { unpack(head) }
  for n = 0, count - 1 do
    fill(arguments, first + n * stride)
    if #arguments >= ARGUMENTS_MAX or n == count - 1 then
      redis.call(unpack(arguments))
      arguments = { unpack(head) }
    end
  end
end

local function add_scored(arguments, i)
  arguments[#arguments + 1] = instant(ARGV[i + 1])
  arguments[#arguments + 1] = ARGV[i]
end

local i = 8
batched(again_count, i, 2, { 'ZADD', due }, add_scored)
i = i + 2 * again_count
if held then
  batched(back_count, i, 2, { 'ZADD', due, 'NX' }, add_scored)
end
i = i + 2 * back_count
if held then
  batched(failed_count, i, 3, { 'ZADD', due, 'NX' }, add_scored)
  batched(failed_count, i, 3, { 'HSET', attempts }, function(arguments, at)
    arguments[#arguments + 1] = ARGV[at]
    arguments[#arguments + 1] = ARGV[at + 2]
  end)
end
i = i + 3 * failed_count
if held then
  batched(given_up_count, i, 3, { 'HSET', quarantined }, function(arguments, at)
    arguments[#arguments + 1] = ARGV[at]
    arguments[#arguments + 1] = ARGV[at + 2]
  end)
  batched(given_up_count, i, 3, { 'ZADD', quarantine }, add_scored)
  batched(given_up_count, i, 3, { 'HDEL', attempts }, function(arguments, at)
    arguments[#arguments + 1] = ARGV[at]
  end)
end
i = i + 3 * given_up_count
batched(over_count, i, 1, { 'HDEL', attempts }, function(arguments, at)
  arguments[#arguments + 1] = ARGV[at]
end)

redis.call('HDEL', leased, id)
redis.call('ZREM', leases, id)
return { held and 1 or 0, redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')[2] or false }
