-- Where the feed was applied to. The lock makes consumers take turns: whoever waited for it sees the position
-- that the other has left, and must not apply what it read from an older one.
SELECT position FROM feed_position FOR UPDATE
