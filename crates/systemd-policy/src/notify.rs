//! What the daemon tells systemd: ready, alive, stopping.
