-- Whether a contact is visible to the viewer.
-- $1 to $5: the viewer, see 0002_access.sql.
SELECT EXISTS (
    SELECT FROM contact_visible($1, $2, $3, $4, $5, statement_timestamp(), $6) AS visible
) AS "is_visible!"
