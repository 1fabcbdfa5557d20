# Pages of a critical service that went to swap come back where RAM has room.
configure
start_service critical 120
start_service low 60
swap_out critical 80
swap_out low 40
before=$(swap_of critical)
low=$(swap_of low)
expect_number "KiB of the critical service in swap, before" "$before" -gt 40000
record vm-bring-back-swapped
comes_back() {
    $omnimind memory apply && [ "$(swap_of critical)" -lt $((before / 4)) ]
}
expect_within 60 "the critical service's pages come back" comes_back
expect_number "KiB of it in swap, after" "$(swap_of critical)" -lt $((before / 4))
expect_number "KiB of it in RAM" "$(rss_of critical)" -gt 100000
# The last tenth is not critical and may stay.
expect_number "KiB of the low service still in swap" "$(swap_of low)" -ge $((low - 2048))
expect "it lives" is_active critical
record vm-bring-back-done
