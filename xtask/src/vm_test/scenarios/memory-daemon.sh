# The daemon under systemd: it survives a service that dies while it is at work and a restart of the system bus, and systemd
# starts it again when it hangs beyond its watchdog.
unit=omnimind-memory-monitor.service
configure 'ram_high = 0.4' 'ram_critical = 0.5' 'interval_s = 1' 'hold_s = 1'
start_service critical 120
start_service low 80
press 150
# Before the monitor has set anything.
record vm-daemon-pressed
systemctl stop vmtest-low.service
expect "installing works" $omnimind systemd install
# Quicker than as installed, so that the scenario is short.
mkdir -p /run/systemd/system/$unit.d
printf '%s\n' '[Service]' WatchdogSec=20 RestartSec=1 >/run/systemd/system/$unit.d/vmtest.conf
systemctl daemon-reload
expect "the monitor says when it is ready" systemctl restart $unit
expect_same "how systemd knows that" "$(property $unit Type)" notify
pid=$(property $unit MainPID)
same_process() {
    systemctl status --no-pager --lines=20 $unit
    [ "$(property $unit MainPID)" = "$pid" ] && systemctl is-active --quiet $unit
}
is_kept_out_of_swap() {
    [ "$(property vmtest-critical.service MemorySwapMax)" = 0 ]
}

# A service under strain, ended again and again at changing moments, so that some are ended between a look and a deed.
# Its drop-in would do what the daemon is to do.
systemctl set-property --runtime vmtest-critical.service MemorySwapMax=infinity
for pause in 0.3 0.7 1.1 1.6 2.0; do
    systemctl start vmtest-low.service
    sleep $pause
    systemctl kill --signal=KILL vmtest-low.service
    systemctl reset-failed vmtest-low.service
done
expect "it survives services that die" same_process
was_at_work() {
    journalctl --no-pager --unit=$unit --grep='vmtest-low.service: (reclaim|set)'
}
expect "it was at work with them meanwhile" was_at_work
expect_within 30 "the critical service is kept out of swap" is_kept_out_of_swap

expect "the system bus restarts" systemctl restart dbus.service
sleep 3
expect "it survives that" same_process
systemctl set-property --runtime vmtest-critical.service MemorySwapMax=infinity
expect_within 60 "it still acts after that" is_kept_out_of_swap

systemctl kill --signal=STOP --kill-whom=main $unit
is_restarted() {
    [ "$(property $unit MainPID)" != "$pid" ] && systemctl is-active --quiet $unit
}
expect_within 180 "systemd starts it again when it hangs" is_restarted
expect_number "restarts" "$(property $unit NRestarts)" -ge 1
rm -r /run/systemd/system/$unit.d
expect "removing works" $omnimind systemd uninstall
# Set by a daemon that was killed, and written down.
expect_same "MemorySwapMax of the critical service, taken back" "$(property vmtest-critical.service MemorySwapMax)" infinity
expect_failure "nothing is left in /run" test -e /run/omnimind
expect "the critical service lives" is_active critical
