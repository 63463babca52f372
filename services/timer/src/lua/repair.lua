#!lua
-- Adds the members of one shard that are in none of `due`, a lease, and quarantine.
--
-- KEYS 1 due, 2 leased, 3 quarantine
-- ARGV score and member, at most 500 pairs
-- Result: the number of members added; the lowest score among them, or nil.
local due, leased, quarantine = unpack(KEYS)

local members = {}
for i = 2, #ARGV, 2 do
  members[#members + 1] = ARGV[i]
end
local waiting = redis.call('ZMSCORE', due, unpack(members))
local given_up = redis.call('ZMSCORE', quarantine, unpack(members))

local held = nil
local function is_held(member)
  if not held then
    -- Few leases are out at a time, each with one batch.
    held = {}
    for _, blob in ipairs(redis.call('HVALS', leased)) do
      local claimed = cmsgpack.unpack(blob)
      for i = 1, #claimed, 2 do
        held[claimed[i]] = true
      end
    end
  end
  return held[member]
end

local missing, lowest = {}, false
for n, member in ipairs(members) do
  if not waiting[n] and not given_up[n] and not is_held(member) then
    local score = ARGV[2 * n - 1]
    missing[#missing + 1] = score
    missing[#missing + 1] = member
    if not lowest or tonumber(score) < tonumber(lowest) then
      lowest = score
    end
  end
end
if #missing == 0 then
  return { 0, false }
end
return { redis.call('ZADD', due, 'NX', unpack(missing)), lowest }
