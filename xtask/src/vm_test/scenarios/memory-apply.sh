# Under pressure the critical service stays out of swap and the low one goes, after `memory apply`; limits are in effect until
# they are taken back; nothing is killed.
kills=$(oom_kills)
configure 'ram_high = 0.4' 'ram_critical = 0.5' 'hold_s = 1'
start_service critical 120
start_service low 150
record vm-apply-roomy
press 150
record vm-apply-pressed
critical_before=$(limits_of critical)
low_before=$(limits_of low)

expect "a dry run works" $omnimind memory apply --dry-run --json
expect_same "limits of the critical service after a dry run" "$(limits_of critical)" "$critical_before"
expect_same "limits of the low service after a dry run" "$(limits_of low)" "$low_before"

# One look alone counts for nothing, so the first call may do nothing.
applied=/run/vm-test/applied
is_kept_out_of_swap() {
    $omnimind memory apply --json >$applied && [ "$(property vmtest-critical.service MemorySwapMax)" = 0 ]
}
expect_within 60 "the critical service is kept out of swap" is_kept_out_of_swap
# Its slice protects nothing, so neither does its own MemoryLow=, and that is said.
protection='.applied.done[] | select(.recommendation.action == "protect")'
expect_same "whether its protection takes effect" "$(jq "$protection | .took_effect" $applied)" false
expect "it is said that the slice grants none" sh -c "jq '$protection | .note' $applied | grep system.slice"
is_taken_from() {
    $omnimind memory apply && [ "$(swap_of low)" -gt 4096 ]
}
expect_within 60 "memory is taken from the low service" is_taken_from
expect "the kernel has the limit" grep --line-regexp 0 \
    "/sys/fs/cgroup$(property vmtest-critical.service ControlGroup)/memory.swap.max"

press 330 more
expect_number "KiB of the critical service in swap, under pressure" "$(swap_of critical)" -eq 0
expect_number "KiB of the low service in swap" "$(swap_of low)" -gt 20000
expect_number "processes killed for want of memory" $(($(oom_kills) - kills)) -eq 0
for name in critical low pressure more; do
    expect "$name lives" is_active $name
done
record vm-apply-kept

expect "taking back works" $omnimind memory apply --undo
expect_same "limits of the critical service after taking back" "$(limits_of critical)" "$critical_before"
expect_same "limits of the low service after taking back" "$(limits_of low)" "$low_before"
expect "taking back twice works" $omnimind memory apply --undo

# What an operator is advised to do makes the protection real.
expect "the slice is given protection" systemctl set-property --runtime system.slice MemoryLow=300M
is_protected() {
    $omnimind memory apply --json >$applied && jq --exit-status "$protection | .took_effect" $applied
}
expect_within 60 "the critical service's protection takes effect" is_protected
expect_number "bytes that the kernel reclaims last" \
    "$(cat "/sys/fs/cgroup$(property vmtest-critical.service ControlGroup)/memory.low")" -gt 100000000
expect "taking back works, a third time" $omnimind memory apply --undo
expect_same "limits of the critical service after taking back, again" "$(limits_of critical)" "$critical_before"
expect "the slice is as it was" systemctl set-property --runtime system.slice MemoryLow=0
