# What `rabbitmq` and `redis` beside this file share; sourced, never run.
#
# A server lives in one directory, DIR: its ports, its data, its log and the process group it runs in. Every server leads
# a session of its own, so that ending the group ends whatever it forked and nothing else.
# MUSTER_TEST_SERVERS_ROOT, where set, is a Debian root directory whose programs are used instead of this machine's.
# shellcheck shell=bash disable=SC2016

: "${MUSTER_TEST_SERVERS_ROOT:=}"
# A shared two-core machine needs 10 s for RabbitMQ; nothing healthy needs a minute and a half.
readonly READY_WITHIN_SECONDS=90

fail() {
    echo "${0##*/}: $*" >&2
    exit 1
}

# True when nothing listens on 127.0.0.1:$1. A server that loses the race for a free port says so and is started anew.
port_is_free() {
    ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# Prints the first of 16 neighbouring ports, chosen at random between 10000 and 32415: below 32768, where Linux begins to
# hand out ports to clients.
free_ports() {
    local base offset
    for _ in {1..50}; do
        base=$((10000 + 16 * (RANDOM % 1401)))
        for offset in {0..15}; do
            port_is_free $((base + offset)) || continue 2
        done
        echo "$base"
        return
    done
    fail "found no 16 free ports between 10000 and 32415"
}

# Sets `command` to what runs a program of this machine, or of MUSTER_TEST_SERVERS_ROOT: set_command DIR PROGRAM ARGUMENT...
# DIR is seen under the same path from inside.
set_command() {
    local dir=$1
    shift
    command=("$@")
    [[ -n $MUSTER_TEST_SERVERS_ROOT ]] || return 0
    # The mounts are seen by this program alone and end with it.
    command=(unshare --mount --propagation private bash -c '
        set -eu
        root=$1 dir=$2
        shift 2
        mkdir -p "$root$dir"
        mount --bind "$dir" "$root$dir"
        mount -t proc proc "$root/proc"
        mount --rbind /dev "$root/dev"
        mount --bind /etc/hosts "$root/etc/hosts"
        cd /
        exec chroot "$root" "$@"' inside "$MUSTER_TEST_SERVERS_ROOT" "$dir" "$@")
}

# Runs a server in the background, as the leader of its own session: launch DIR PROGRAM ARGUMENT...
launch() {
    local -a command
    local dir=$1
    set_command "$@"
    setsid "${command[@]}" >>"$dir/output" 2>&1 </dev/null &
    echo "$! $(started_at $!)" >>"$dir/groups"
    # The group exists once `setsid` has run; asking for it earlier would call the server dead.
    until kill -0 -- "-$!" 2>/dev/null || ! kill -0 "$!" 2>/dev/null; do sleep 0.01; done
    disown
}

# Prints when process $1 was started, in ticks since boot; nothing where there is no such process.
started_at() {
    local line
    { read -r line <"/proc/$1/stat"; } 2>/dev/null || return 0
    # The name before the last parenthesis may hold anything; the 20th field after it is the time.
    awk '{ print $20 }' <<<"${line##*) }"
}

# True while process group $1, whose leader was started at $2, has a process that is more than an exit status that nobody
# has asked for yet; in a container the first process may be slow to ask. Another start means another owner of the number.
group_lives() {
    local file line state group leader_started_at _
    kill -0 -- "-$1" 2>/dev/null || return 1
    leader_started_at=$(started_at "$1")
    [[ -z $leader_started_at || $leader_started_at = "$2" ]] || return 1
    for file in /proc/[0-9]*/stat; do
        { read -r line <"$file"; } 2>/dev/null || continue
        read -r state _ group _ <<<"${line##*) }"
        [[ $group != "$1" || $state = Z ]] || return 0
    done
    return 1
}

# Prints the number and start of the process group that was launched last in DIR.
last_group() {
    tail -n 1 "$1/groups"
}

# True while what was launched last in DIR lives.
is_running() {
    local group leader_started_at
    [[ -s $1/groups ]] && read -r group leader_started_at < <(last_group "$1") && group_lives "$group" "$leader_started_at"
}

# Asks what was launched last in DIR to stop, and after the given tenths of a second ends it: stop_all DIR TENTHS
stop_all() {
    local group tenths=$2 _
    if is_running "$1"; then
        read -r group _ < <(last_group "$1")
        kill -TERM -- "-$group" 2>/dev/null || true
        while ((tenths-- > 0)) && is_running "$1"; do sleep 0.1; done
    fi
    kill_all "$1"
}

# Ends all that was launched in DIR, at once; what was confirmed as durable survives.
kill_all() {
    local group leader_started_at
    [[ -f $1/groups ]] || return 0
    while read -r group leader_started_at; do
        while group_lives "$group" "$leader_started_at"; do
            kill -KILL -- "-$group" 2>/dev/null || true
            sleep 0.02
        done
    done <"$1/groups"
    rm -f "$1/groups"
}

# Starts the server in DIR and waits until it answers: start_until_ready DIR LAUNCH READY LOG
# LAUNCH starts it, READY tells whether it answers, LOG is the file to show when it does not.
# A first start picks the ports; a later one in the same DIR keeps them, so that clients find the server again.
start_until_ready() {
    local dir=$1 launch_server=$2 is_ready=$3 log=$4 first_start deadline
    # Whatever ends this script early must not leave half a server behind.
    trap 'kill_all "$dir"' EXIT
    trap 'exit 143' TERM HUP
    trap 'exit 130' INT
    [[ -f $dir/ports ]] && first_start=no || first_start=yes
    for attempt in 1 2 3; do
        [[ $first_start = no ]] || free_ports >"$dir/ports"
        rm -f "$log"
        "$launch_server"
        deadline=$((SECONDS + READY_WITHIN_SECONDS))
        while is_running "$dir"; do
            if "$is_ready"; then
                trap - EXIT TERM HUP INT
                return
            fi
            ((SECONDS < deadline)) || break
            sleep 0.1
        done
        show_log "$dir" "$log"
        if is_running "$dir"; then
            fail "no answer within $READY_WITHIN_SECONDS s; the end of its log is above, all of it in $dir"
        fi
        kill_all "$dir"
        echo "${0##*/}: ended by itself at attempt $attempt; the end of its log is above" >&2
    done
    fail "did not start in three attempts; see $dir"
}

show_log() {
    local file
    for file in "$1/output" "$2"; do
        [[ ! -s $file ]] || { echo "--- the end of $file" && tail -n 25 "$file"; } >&2
    done
}
