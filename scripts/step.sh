# SPDX-License-Identifier: GPL-2.0-or-later
# Sourced: shows one long step after the other. The caller has set $logs to
# the folder for what they say.

# percent LOG: the last that ninja ("[done/all]") or tests/kernel/build ("N %")
# said there of how far it is
percent()
{
    tail -c 2000 "$1" | tr '\r' '\n' |
        sed -n -e 's|.*\[\([0-9]*\)/\([0-9]*\)\].*|\1 \2|p' \
            -e 's|.* \([0-9]*\) % .*|\1 100|p' |
        awk '$2 { n = int($1 * 100 / $2) } END { print n + 0 }'
}

# show_progress NAME PROCESS LOG: on a terminal a line that changes every
# second, else a line for every tenth
show_progress()
{
    shown=0 seconds=0
    while kill -0 "$2" 2>/dev/null; do
        sleep 1
        seconds=$((seconds + 1)) done=$(percent "$3")
        if [ -t 1 ]; then
            printf '\r     %5d s  %s %d %% ' $seconds "$1" "$done"
        elif [ "$done" -ge $((shown + 10)) ]; then
            shown=$((done / 10 * 10))
            printf '     %5d s  %s %d %%\n' $seconds "$1" "$done"
        fi
    done
    [ ! -t 1 ] || printf '\r%60s\r' ''
}

# step NAME COMMAND...: COMMAND's words go to a log, to the terminal only
# that it passed, or how it failed; then the caller ends
step()
{
    name=$1
    shift
    log=$logs/$name.log
    begin=$(date +%s)
    mkdir -p "$logs"
    "$@" > "$log" 2>&1 &
    show_progress "$name" $! "$log"
    if ! wait $!; then
        tail -n 10 "$log"
        echo "FAILED        $name: the log is $log"
        exit 1
    fi
    printf 'ok   %5d s  %s\n' $(($(date +%s) - begin)) "$name"
}
