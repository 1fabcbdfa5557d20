# Runs the scenarios one after another and says what became of each over the second serial port, a line of JSON for each event.
set -u
export HOME=/root
exec 3>/dev/ttyS1
stty -F /dev/ttyS1 raw -echo

say() {
    jq --null-input --compact-output --monochrome-output --ascii-output "$@" >&3
}

# send_trees SCENARIO: what it recorded, an event for each tree.
send_trees() {
    local scenario=$1 tree file
    for tree in /run/vm-test/trees/*/; do
        # Without any, the pattern stands for itself.
        [ -d "$tree" ] || continue
        cd "$tree" || continue
        set --
        for file in $(find . -type f -printf '%P\n'); do
            set -- "$@" --rawfile "$file" "$file"
        done
        say "$@" --arg scenario "$scenario" --arg tree "$(basename "$tree")" \
            '{event: "recorded", $scenario, $tree, files: ($ARGS.named | del(.scenario, .tree))}'
        cd /
    done
}

# What a scenario left behind must not be the next one's beginning.
clean() {
    systemctl stop 'vmtest-*' 'omnimind-*' omnimind.service
    systemctl reset-failed
    rm -rf /etc/omnimind /var/lib/omnimind* /run/omnimind* /etc/systemd/system/omnimind-* /etc/systemd/system/*.wants/omnimind-*
    rm -rf /run/systemd/system/vmtest-* /run/systemd/system.control/* /etc/systemd/system/vmtest-* /run/vm-test
    systemctl daemon-reload
} >/dev/null 2>&1

for file in /vm-test/scenarios/*.sh; do
    name=$(basename "$file" .sh)
    say --arg scenario "$name" '{event: "started", $scenario}'
    mkdir -p /run/vm-test
    began=$(cut -d . -f 1 /proc/uptime)
    timeout --kill-after=10 "$(cat /vm-test/limit)" sh -eu -c '. /vm-test/lib.sh; . "$1"' scenario "$file" \
        >/run/vm-test/log 2>&1 </dev/null
    status=$?
    passed=false
    case $status in
    0) passed=true ;;
    124 | 137) echo "FAILED: it took longer than $(cat /vm-test/limit) s" >>/run/vm-test/log ;;
    *) echo "it ended with status $status" >>/run/vm-test/log ;;
    esac
    if [ $passed = false ]; then
        { echo '--- journal ---' && journalctl --no-pager --lines=30 --output=short-monotonic; } >>/run/vm-test/log 2>&1
    fi
    send_trees "$name"
    tail --bytes=8000 /run/vm-test/log >/run/vm-test/evidence
    say --arg scenario "$name" --argjson passed $passed --argjson seconds $(($(cut -d . -f 1 /proc/uptime) - began)) \
        --rawfile evidence /run/vm-test/evidence '{event: "ended", $scenario, $passed, $seconds, $evidence}'
    clean
done
say '{event: "done"}'
