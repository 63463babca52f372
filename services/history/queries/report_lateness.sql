-- How late stages took effect that did so in a period, by stage and kind of cycle: of all bots together (bot_id NULL), and of
-- each bot. $4, $5: bots and queues, NULL where any will do. percentile_disc takes the nearest rank. Served by report_firings
-- alone.
SELECT
    stage, cycle_kind, bot_id AS "bot_id?", count(*) AS "firing_count!", sum(late_ms)::bigint AS "late_ms!",
    percentile_disc(ARRAY[0.5, 0.9, 0.99]) WITHIN GROUP (ORDER BY late_ms) AS "percentiles!",
    max(late_ms) AS "max_ms!"
FROM stage_firings
WHERE tenant_id = $1
    AND fired_at >= $2
    AND fired_at < $3
    AND ($4::bigint[] IS NULL OR bot_id = ANY ($4))
    AND ($5::bigint[] IS NULL OR queue_id = ANY ($5))
GROUP BY GROUPING SETS ((stage, cycle_kind), (stage, cycle_kind, bot_id))
ORDER BY bot_id NULLS FIRST, stage, cycle_kind
