# A service that holds models is asked for memory before anything is taken from it: idle models leave for its store, the one in use
# stays, locked into RAM, and all come back when they are wanted.
socket=/run/vmtest-low/release
configure 'ram_high = 0.4' 'ram_critical = 0.95' 'hold_s = 1'
# The last table is that of the low service.
echo "release_socket = \"$socket\"" >>$OMNIMIND_CONFIG
# What is freed goes back to the kernel at once, whatever glibc would keep.
printf '%s\n' '[Service]' Type=notify RuntimeDirectory=vmtest-low StateDirectory=vmtest-low TimeoutStartSec=180 \
    Environment=MALLOC_MMAP_THRESHOLD_=1048576 \
    "ExecStart=/vm-test/vm-helper vm-helper hold 10 $socket /var/lib/vmtest-low/store" >/run/systemd/system/vmtest-low.service
systemctl daemon-reload
expect "the models are here" systemctl start vmtest-low.service
press 150
before=$(rss_of low)
expect_number "KiB of it in RAM, with ten models of 12 MiB" "$before" -gt 122880
expect_number "KiB of it locked into RAM, those of the model in use" \
    "$(awk '/^VmLck:/ { print $2 }' "/proc/$(main_pid low)/status")" -ge 12288

applied=/run/vm-test/applied
asked='.applied.done[] | select(.recommendation.action == "ask_to_release")'
is_asked() {
    $omnimind memory apply --json >$applied && jq --exit-status "$asked" $applied
}
expect_within 60 "it is asked to release memory" is_asked
expect_same "whether that had an effect" "$(jq "$asked | .took_effect" $applied)" true
expect_same "what was reclaimed of it in the same call" "$(jq '[.applied.done[] | select(.recommendation.action == "reclaim")]' $applied)" '[]'
expect_number "KiB by which it became smaller" $((before - $(rss_of low))) -ge 11000
expect_number "KiB of it in swap" "$(swap_of low)" -eq 0
expect_number "KiB of it still locked into RAM" "$(awk '/^VmLck:/ { print $2 }' "/proc/$(main_pid low)/status")" -ge 12288

systemctl stop vmtest-pressure.service
touch $socket.back
are_whole() {
    journalctl --no-pager --unit=vmtest-low.service | grep 'all 10 models are whole, [1-9] of them by way of the store'
}
expect_within 120 "all models are whole, those from the store within their bound" are_whole
journalctl --no-pager --output=cat --unit=vmtest-low.service | grep 'models are'
expect "it lives" is_active low
expect "taking back works" $omnimind memory apply --undo
systemctl stop vmtest-low.service
rm -r /var/lib/vmtest-low
