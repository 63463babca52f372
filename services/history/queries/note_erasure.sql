-- Remembers an erasure until ticketing has heard of it; again, when more was found to erase.
INSERT INTO erasures AS known (tenant_id, erasure_id, contact_id, erased_at, row_count, is_whole)
VALUES ($1, $2, $3, clock_timestamp(), $4, $5)
ON CONFLICT (tenant_id, erasure_id) DO UPDATE SET
    row_count = known.row_count + excluded.row_count,
    erased_at = excluded.erased_at,
    is_whole = known.is_whole OR excluded.is_whole,
    reported_at = NULL
WHERE excluded.row_count > 0 OR (excluded.is_whole AND NOT known.is_whole)
