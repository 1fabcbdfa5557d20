# What scenarios are written with. Services are called vmtest-*: the runner stops and removes those after each scenario.
# Variables of functions here are local, as scenarios have some of the same names.

EATER='/vm-test/vm-helper vm-helper eat'
omnimind=/vm-test/omnimind

fail() {
    echo "FAILED: $*"
    exit 1
}

# expect CLAIM COMMAND...: it must succeed; its output is evidence only if it does not.
expect() {
    local claim=$1 output status
    shift
    if output=$("$@" 2>&1); then
        echo "ok: $claim"
    else
        status=$?
        echo "$output"
        fail "$claim (status $status of: $*)"
    fi
}

# expect_failure CLAIM COMMAND...: it must not succeed.
expect_failure() {
    local claim=$1 output
    shift
    if output=$("$@" 2>&1); then
        echo "$output"
        fail "$claim (it succeeded: $*)"
    fi
    echo "ok: $claim"
}

# expect_number CLAIM LEFT -lt|-le|-eq|-ge|-gt RIGHT: the numbers are evidence.
expect_number() {
    # A test of what is no number is an error, and must not count as false or true.
    case "$2$4" in
    *[!0-9]* | '') fail "$1: '$2' $3 '$4' compares what is no number" ;;
    esac
    if [ "$2" "$3" "$4" ]; then
        echo "ok: $1 ($2 $3 $4)"
    else
        fail "$1 (not $2 $3 $4)"
    fi
}

# expect_same CLAIM ACTUAL EXPECTED: of several lines only what differs is evidence.
expect_same() {
    if [ "$2" = "$3" ]; then
        echo "ok: $1 ($(echo "$2" | head -n 1)$(echo "$2" | awk 'END { if (NR > 1) print " and " NR - 1 " more lines" }'))"
        return
    fi
    mkdir -p /run/vm-test
    echo "$2" >/run/vm-test/is
    echo "$3" >/run/vm-test/should-be
    diff -U 0 /run/vm-test/should-be /run/vm-test/is || true
    fail "$1: - is what it should be, + what it is"
}

# expect_within SECONDS CLAIM COMMAND...: it must succeed some time.
expect_within() {
    local limit=$1 claim=$2 waited=0 output
    shift 2
    until output=$("$@" 2>&1); do
        if [ "$waited" -ge "$limit" ]; then
            echo "$output"
            fail "$claim, within $limit s"
        fi
        waited=$((waited + 1))
        sleep 1
    done
    echo "ok: $claim (after some $waited s)"
}

# make_service NAME MIB [LINE...]: vmtest-NAME.service, which fills so much memory, with more lines in [Service].
make_service() {
    local unit=vmtest-$1.service
    printf '%s\n' '[Service]' Type=notify "ExecStart=$EATER $2" TimeoutStartSec=180 >"/run/systemd/system/$unit"
    shift 2
    [ $# = 0 ] || printf '%s\n' "$@" >>"/run/systemd/system/$unit"
    systemctl daemon-reload
}

# start_service NAME MIB [LINE...]: returns when its memory is filled.
start_service() {
    make_service "$@"
    expect "vmtest-$1 has filled $2 MiB" systemctl start "vmtest-$1.service"
}

# press MIB [NAME]: fills so much memory in a service without limits, to press on the others.
press() {
    start_service "${2:-pressure}" "$1" OOMScoreAdjust=500
}

property() {
    systemctl show --property="$2" --value "$1"
}

main_pid() {
    property "vmtest-$1.service" MainPID
}

is_active() {
    systemctl is-active --quiet "vmtest-$1.service"
}

# In KiB, of the main process of vmtest-NAME.service.
swap_of() {
    awk '/^VmSwap:/ { print $2 }' "/proc/$(main_pid "$1")/status"
}

rss_of() {
    awk '/^VmRSS:/ { print $2 }' "/proc/$(main_pid "$1")/status"
}

# swap_out NAME MIB: has the kernel put so much of a service's memory into swap. It may do less and say EAGAIN.
swap_out() {
    local group
    group=/sys/fs/cgroup$(property "vmtest-$1.service" ControlGroup)
    echo "$2M" 2>/dev/null >"$group/memory.reclaim" || true
}

# configure LINE...: the omnimind.toml of this scenario: the table [memory] with these lines, and two services.
configure() {
    export OMNIMIND_CONFIG=/etc/omnimind/omnimind.toml
    mkdir -p /etc/omnimind
    {
        printf '%s\n' '[memory]' "$@"
        printf '%s\n' '[memory.services."vmtest-critical.service"]' 'priority = "critical"' 'critical_share = 0.9'
        printf '%s\n' '[memory.services."vmtest-low.service"]' 'priority = "low"'
    } >$OMNIMIND_CONFIG
}

# What is set for vmtest-NAME.service, and what the kernel has.
limits_of() {
    systemctl show --property=MemoryLow,MemoryHigh,MemoryMax,MemorySwapMax "vmtest-$1.service"
    (cd "/sys/fs/cgroup$(property "vmtest-$1.service" ControlGroup)" &&
        grep . memory.low memory.high memory.max memory.swap.max)
}

# field FILTER: of the JSON on standard input; what is missing or null is a failure.
field() {
    jq --exit-status --raw-output "$1"
}

# How often the kernel has killed for want of memory, anywhere.
oom_kills() {
    awk '$1 == "oom_kill" { print $2 }' /proc/vmstat
}

# record NAME: what omnimind reads of this machine at this moment, as files. `vm-test --record DIR` puts them into DIR/NAME, and
# scenarios of `cargo test` go on from there. Without it this is one question after a file. NAME is of a-z, 0-9 and hyphens.
record() {
    [ -e /vm-test/record ] || return 0
    local tree=/run/vm-test/tree group=sys/fs/cgroup pid file
    rm -rf $tree
    mkdir -p $tree/proc /run/vm-test/trees
    # Of this only the line is read that says when the machine was booted.
    grep '^btime ' /proc/stat >$tree/proc/stat
    (
        cd /
        set -- proc/meminfo proc/uptime proc/pressure/memory proc/sys/vm/swappiness $group/cgroup.controllers
        # There are kernels without zswap.
        [ ! -e sys/module/zswap ] || set -- "$@" sys/module/zswap/parameters/enabled
        for pid in 1 $(cat $group/system.slice/vmtest-*.service/cgroup.procs); do
            set -- "$@" "proc/$pid/status" "proc/$pid/stat" "proc/$pid/cgroup"
        done
        for file in cgroup.procs memory.low memory.high memory.max memory.swap.max memory.current memory.pressure; do
            set -- "$@" $group/system.slice/$file $group/system.slice/vmtest-*.service/$file
        done
        # The kernel says of these files that they are empty; cp reads them nevertheless, and tar would not.
        cp --parents "$@" $tree
    ) || fail "recording $1"
    mv $tree "/run/vm-test/trees/$1"
    echo "ok: recorded $1"
}
