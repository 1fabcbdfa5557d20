# The report lists the configured services that run, with the process and the numbers that the kernel has of them.
configure
start_service critical 60
start_service low 60
swap_out low 40
expect_number "KiB of the low service in swap" "$(swap_of low)" -gt 20000
report=$($omnimind memory report --json)
of() {
    echo "$report" | field ".services[\"vmtest-$1.service\"].$2"
}
for name in critical low; do
    expect_same "the process of $name" "$(of $name pid)" "$(main_pid $name)"
    expect_same "the priority of $name" "$(of $name priority)" $name
    # The two looks are not at the same moment.
    for what in rss swap; do
        difference=$(($(of $name ${what}_bytes) / 1024 - $(${what}_of $name)))
        expect_number "KiB by which $what of $name differs from the kernel's" "${difference#-}" -le 2048
    done
done
expect_same "services that are configured by default and not here" \
    "$(echo "$report" | jq '.services | keys | map(select(startswith("vmtest-") | not)) | length')" 0
expect_number "bytes of RAM" "$(echo "$report" | field .system.ram_total_bytes)" -eq \
    "$(awk '/^MemTotal:/ { print $2 * 1024 }' /proc/meminfo)"
expect "pressure is told" sh -c 'echo "$1" | jq --exit-status .system.pressure' sh "$report"
for verb in swap budget forecast; do
    expect "memory $verb answers in JSON" sh -c '$1 memory $2 --json | jq --exit-status .' sh $omnimind $verb
done
holder=$($omnimind memory swap --json | field '.holders[0].unit')
expect_same "who holds most swap" "$holder" vmtest-low.service
