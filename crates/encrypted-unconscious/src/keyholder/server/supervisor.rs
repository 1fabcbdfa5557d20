//! Tells whoever started this process, such as systemd, how it goes: `sd_notify`, if it asked for that.

use std::{env, ffi::OsStr, io, os::unix::net::UnixDatagram};

/// Says `READY=1` or the like, where `$NOTIFY_SOCKET` asks for it. That nobody hears it is no reason not to serve.
pub(super) fn tell(what: &str) {
    if let Some(address) = env::var_os("NOTIFY_SOCKET") {
        let _ = send(&address, what);
    }
}

fn send(address: &OsStr, what: &str) -> io::Result<usize> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    #[cfg(target_os = "linux")]
    {
        use std::os::{
            linux::net::SocketAddrExt,
            unix::{ffi::OsStrExt, net::SocketAddr},
        };
        if let Some(name) = address.as_bytes().strip_prefix(b"@") {
            return socket.send_to_addr(what.as_bytes(), &SocketAddr::from_abstract_name(name)?);
        }
    }
    socket.send_to(what.as_bytes(), address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supervisor_hears_at_a_path_and_at_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let at_a_path = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), "READY=1").unwrap();
        let mut heard = [0; 16];
        assert_eq!(at_a_path.recv(&mut heard).unwrap(), 7);
        assert_eq!(&heard[..7], b"READY=1");
        assert!(send(folder.path().join("nobody").as_os_str(), "READY=1").is_err());
        #[cfg(target_os = "linux")]
        {
            use std::os::{linux::net::SocketAddrExt, unix::net::SocketAddr};
            let name = format!("encrypted-unconscious test {}", std::process::id());
            let at_a_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
            send(OsStr::new(&format!("@{name}")), "STOPPING=1").unwrap();
            assert_eq!(at_a_name.recv(&mut heard).unwrap(), 10);
        }
    }
}
