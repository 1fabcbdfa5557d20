# Limits do here what everything else builds upon: what may not be swapped is not, what is limited is, and nobody dies.
kills=$(oom_kills)
start_service critical 120 MemorySwapMax=0
start_service low 150 MemoryHigh=60M
expect_number "KiB of the low service in swap, beyond its MemoryHigh" "$(swap_of low)" -gt 40000
press 460
expect_number "KiB of the critical service in swap, under pressure" "$(swap_of critical)" -eq 0
expect_number "KiB of the critical service in RAM" "$(rss_of critical)" -gt 120000
expect_number "KiB of the machine's swap in use" "$(awk '$1 == "SwapTotal:" { t = $2 } $1 == "SwapFree:" { print t - $2 }' /proc/meminfo)" \
    -gt 100000
expect_number "processes killed for want of memory" $(($(oom_kills) - kills)) -eq 0
expect "the critical service lives" is_active critical
expect "the low service lives" is_active low
