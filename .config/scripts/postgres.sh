# Functions around a private PostgreSQL server for building; to be sourced.
#
# The server keeps everything in one folder, which only its user can enter, and listens on a socket in it:
# no port that could clash, no password. PostgreSQL refuses to run as root, so root drops to another user.

# Prints the folder that holds the server's programs, or fails with what to do. PLAZO_PG_BIN chooses it, as it
# does for `plazo up`.
postgres_bin() {
    local candidate best="" command
    command=$(command -v initdb || true)
    for candidate in "${PLAZO_PG_BIN:-}" "$(pg_config --bindir 2>/dev/null || true)" \
        "${command:+$(dirname "$command")}"; do
        if [ -n "$candidate" ] && [ -x "$candidate/initdb" ] && [ -x "$candidate/postgres" ]; then
            echo "$candidate"
            return 0
        fi
    done
    for candidate in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin \
        /opt/homebrew/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin; do
        if [ -x "$candidate/initdb" ] && [ -x "$candidate/postgres" ]; then
            best=$candidate
        fi
    done
    if [ -z "$best" ]; then
        echo "PostgreSQL's server is missing: install the package \"postgresql\", or run \`make setup\`" >&2
        return 1
    fi
    echo "$best"
}

# The user that the server runs as: the caller, or for root the first of two that own nothing of value.
postgres_user() {
    if [ "$(id -u)" != 0 ]; then
        id -un
    elif id postgres >/dev/null 2>&1; then
        echo postgres
    else
        echo nobody
    fi
}

# Runs a command as the server's user.
as_postgres_user() {
    if [ "$(id -u)" != 0 ]; then
        "$@"
    else
        setpriv --reuid "$(postgres_user)" --regid "$(id -g "$(postgres_user)")" --clear-groups -- "$@"
    fi
}

# start_postgres FOLDER: creates the server in FOLDER if it is not there and starts it.
start_postgres() {
    local folder=$1 bin
    bin=$(postgres_bin) || return 1
    if [ ! -f "$folder/data/PG_VERSION" ]; then
        mkdir -p "$folder"
        chmod 700 "$folder"
        if [ "$(id -u)" = 0 ]; then
            chown "$(postgres_user)" "$folder"
        fi
        (cd "$folder" && as_postgres_user "$bin/initdb" --pgdata "$folder/data" --username plazo \
            --auth trust --encoding UTF8 --locale C --no-sync >initdb.log) || {
            cat "$folder/initdb.log" >&2
            return 1
        }
    fi
    (cd "$folder" && as_postgres_user "$bin/pg_ctl" start --pgdata "$folder/data" --log "$folder/data/log" \
        --wait --timeout 60 --silent -o "-p 5432 -c listen_addresses= -c unix_socket_directories='$folder' \
        -c fsync=off -c full_page_writes=off -c max_connections=50 -c shared_buffers=32MB") || {
        tail -n 20 "$folder/data/log" >&2
        return 1
    }
}

# stop_postgres FOLDER: ends the server in FOLDER; no error if it is not running.
stop_postgres() {
    local folder=$1 bin
    if postgres_is_running "$folder"; then
        bin=$(postgres_bin) || return 1
        (cd "$folder" && as_postgres_user "$bin/pg_ctl" stop --pgdata "$folder/data" --mode immediate --wait --silent)
    fi
}

# postgres_is_running FOLDER
postgres_is_running() {
    local folder=$1 bin
    [ -f "$folder/data/PG_VERSION" ] || return 1
    bin=$(postgres_bin) || return 1
    (cd "$folder" && as_postgres_user "$bin/pg_ctl" status --pgdata "$folder/data" >/dev/null 2>&1)
}

# database_url FOLDER SERVICE
database_url() {
    echo "postgres:///$2?host=$1&port=5432&user=plazo"
}

# reset_database FOLDER SERVICE: makes the database anew and applies the service's migrations in order.
reset_database() {
    local folder=$1 service=$2 bin url migration
    bin=$(postgres_bin) || return 1
    url=$(database_url "$folder" "$service")
    "$bin/psql" --no-psqlrc --quiet --set ON_ERROR_STOP=1 "$(database_url "$folder" postgres)" \
        --command "SET client_min_messages = warning" \
        --command "DROP DATABASE IF EXISTS $service WITH (FORCE)" \
        --command "CREATE DATABASE $service" || return 1
    for migration in services/"$service"/migrations/*.sql; do
        [ -e "$migration" ] || continue
        "$bin/psql" --no-psqlrc --quiet --set ON_ERROR_STOP=1 "$url" --single-transaction \
            --file "$migration" >/dev/null || {
            echo "the migration $migration failed: see the message above" >&2
            return 1
        }
    done
}
