-- Stores how far the feed is applied, and tells how far behind that is by this database's clock.
-- $2 is the time of the last event applied, NULL when there was none.
UPDATE feed_position
SET position = $1, changed_at = clock_timestamp()
RETURNING extract(epoch FROM clock_timestamp() - $2::timestamptz)::float8 AS "seconds_behind?"
