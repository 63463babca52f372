# Runs one server and ends it as soon as the owner is gone.
#
# The owner holds the other end of standard input. However the owner ends, also by SIGKILL, the system closes
# that end, and the watcher below stops the server and removes the temporary folders. Nothing else tells a
# process reliably, on every Unix, that its parent has died.
#
# Arguments: FIRST_SIGNAL SECOND_SIGNAL PID_FILE REMOVED_FOLDER_1 REMOVED_FOLDER_2 COMMAND [ARGUMENT]...
# FIRST_SIGNAL asks the server to end, SECOND_SIGNAL urges it. A folder may be an empty string.
# Ends with the server's status.

# The watcher must outlive whatever ends the owner. SIGHUP comes from the kernel too: it is sent to a process
# group that has lost its parent while one of its processes is stopped.
trap '' HUP INT TERM

first_signal=$1 second_signal=$2 pid_file=$3 removed_1=$4 removed_2=$5
shift 5

# Shells give background commands an empty standard input, so the owner's pipe moves to descriptor 3.
exec 3<&0 </dev/null

"$@" 3<&- &
server=$!
echo "$server" >"$pid_file.new" && mv -f "$pid_file.new" "$pid_file"

# Waits until the server is gone, for as many tenths of a second as the first argument says.
gone_within() {
    left=$1
    while kill -s 0 "$server" 2>/dev/null; do
        [ "$left" -gt 0 ] || return 1
        left=$((left - 1))
        sleep 0.1
    done
}

end_server() {
    # A paused server answers no signal.
    kill -s CONT "$server" 2>/dev/null
    kill -s "$first_signal" "$server" 2>/dev/null
    gone_within 100 && return
    kill -s "$second_signal" "$server" 2>/dev/null
    gone_within 80 && return
    kill -s KILL "$server" 2>/dev/null
    gone_within 20
}

(
    while read -r _ <&3; do :; done
    # From here on the main shell's SIGUSR1 must not end the watcher any more.
    trap '' USR1
    end_server
    # The process id's file stays: the next owner's server may have written its own by now.
    [ -z "$removed_1" ] || rm -rf -- "$removed_1"
    [ -z "$removed_2" ] || rm -rf -- "$removed_2"
) &
watcher=$!

wait "$server"
status=$?
# The server ended while the owner lives: the owner decides what happens to the folders.
kill -s USR1 "$watcher" 2>/dev/null
exit "$status"
