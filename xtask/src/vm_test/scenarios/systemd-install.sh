# Drop-ins and the monitor's unit: systemd finds nothing wrong with them, the monitor is well locked in, installing twice changes
# nothing, and removing them leaves no trace.
# What it says at its beginning shows that it found the configuration.
journal_names_services() {
    journalctl --no-pager --unit=omnimind-memory-monitor.service | grep 'services: .*vmtest-critical.service'
}
configure
make_service critical 20
make_service low 20
listing() {
    (cd /etc/systemd && find . -mindepth 1 -exec ls -ld --time-style=+ {} + | sort && find . -type f -exec sha256sum {} + | sort)
}
before=$(listing)
expect "installing works" $omnimind systemd install
installed=$(listing)
[ "$installed" != "$before" ] || fail "installing changed nothing in /etc/systemd"
echo "$installed" | grep omnimind || true
expect "there is a unit of the monitor" test -s /etc/systemd/system/omnimind-memory-monitor.service
expect "there is a drop-in of the critical service" sh -c 'ls /etc/systemd/system/vmtest-critical.service.d/*.conf'
for unit in omnimind-memory-monitor vmtest-critical vmtest-low; do
    expect_same "what verify says of $unit" "$(systemd-analyze verify --man=no $unit.service 2>&1)" ""
done
exposure=$(systemd-analyze security --no-pager omnimind-memory-monitor.service | tail -n 1)
echo "$exposure"
expect "its exposure is at most 3.0" \
    systemd-analyze security --no-pager --threshold=30 omnimind-memory-monitor.service
expect_same "MemorySwapMax of the critical service, by its drop-in" \
    "$(property vmtest-critical.service MemorySwapMax)" 0
expect "the critical service starts with it" systemctl start vmtest-critical.service
expect "the monitor starts" systemctl start omnimind-memory-monitor.service
expect "the monitor runs" systemctl is-active omnimind-memory-monitor.service
expect "the monitor has found the configuration" journal_names_services
expect "it keeps what it sets in /run" test -d /run/omnimind

expect "installing twice works" $omnimind systemd install
expect_same "what the second time changed" "$(listing)" "$installed"
expect "the monitor still runs" systemctl is-active omnimind-memory-monitor.service
expect "removing works" $omnimind systemd uninstall
expect_same "what is left in /etc/systemd" "$(listing)" "$before"
expect_failure "nothing is left in /run" test -e /run/omnimind
expect_failure "the monitor is gone" systemctl is-active omnimind-memory-monitor.service
expect_same "MemorySwapMax of the critical service" "$(property vmtest-critical.service MemorySwapMax)" infinity
expect "the critical service lives" is_active critical
expect "removing twice works" $omnimind systemd uninstall
