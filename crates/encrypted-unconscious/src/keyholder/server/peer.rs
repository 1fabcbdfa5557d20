//! Who is at the other end of a socket, as the system says it.

use std::{io, os::unix::net::UnixStream};

use super::super::Caller;

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn caller(stream: &UnixStream) -> io::Result<Caller> {
    use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
    let peer = getsockopt(stream, PeerCredentials)?;
    // 0 for a process that this one cannot see.
    Ok(Caller { uid: peer.uid(), pid: u32::try_from(peer.pid()).unwrap_or(0) })
}

/// Which process it is cannot be told: 0.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn caller(stream: &UnixStream) -> io::Result<Caller> {
    let (uid, _) = nix::unistd::getpeereid(stream)?;
    Ok(Caller { uid: uid.as_raw(), pid: 0 })
}
