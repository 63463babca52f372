# The data of the checked queries (`.sqlx`); to be sourced after postgres.sh.

query_services="ticketing notification history"

# write_query_data SERVICE URL FOLDER: compiles the service against the database at URL, which writes one
# file a query into FOLDER; files of queries that are gone go. When it fails, FOLDER stays as it was.
write_query_data() {
    local service=$1 url=$2 folder=$3 fresh source before status=0
    source=services/$service/src/lib.rs
    fresh=$(mktemp -d)
    before=$(mktemp)
    # The macros write their data only when they are expanded, so cargo must take the crate as changed; the
    # time is put back, so that other builds don't.
    touch -r "$source" "$before"
    touch "$source"
    DATABASE_URL=$url SQLX_OFFLINE=false SQLX_OFFLINE_DIR=$fresh \
        cargo check --quiet --locked -p "plazo-$service" --all-targets || status=$?
    touch -r "$before" "$source"
    rm -f "$before"
    if [ "$status" = 0 ]; then
        mkdir -p "$folder"
        find "$folder" -name 'query-*.json' -exec rm {} +
        find "$fresh" -name 'query-*.json' -exec cp {} "$folder" \;
    fi
    rm -rf "$fresh"
    return "$status"
}

# Prints a digest of all that the data of one service depend on, and of the data.
query_data_digest() {
    find "services/$1" -type f ! -name '*.md' ! -name '*.lua' -print0 | LC_ALL=C sort -z | xargs -0 cksum | cksum
}
