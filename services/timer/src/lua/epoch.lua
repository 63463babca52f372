#!lua flags=allow-oom
-- Compare-and-set of a shard's epoch.
--
-- KEYS 1 epoch
-- ARGV 1 the value that it must have, empty for none; 2 the value that it gets
-- Result: 1 if it was set, else 0; the value afterwards, or nil.
local current = redis.call('GET', KEYS[1])
if (current or '') ~= ARGV[1] then
  return { 0, current }
end
redis.call('SET', KEYS[1], ARGV[2])
return { 1, ARGV[2] }
