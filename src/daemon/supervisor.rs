//! Telling the service manager how the daemon is: sd_notify(3), one datagram to `NOTIFY_SOCKET`.
//!
//! For a daemon in the foreground only: one in the background is nobody's main process. Without
//! the variable there is nobody to tell, and an error is only logged: the mount matters more.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

const VARIABLE: &str = "NOTIFY_SOCKET";

/// The mount at `mountpoint` answers.
pub(super) fn ready(mountpoint: &Path) {
    let status = format!("READY=1\nSTATUS=Serving {}\n", mountpoint.display());
    tell(&status);
}

/// The mount is gone, or about to be; what is left is published.
pub(super) fn stopping() {
    tell("STOPPING=1\nSTATUS=Publishing\n");
}

fn tell(state: &str) {
    let Some(socket) = std::env::var_os(VARIABLE).filter(|name| !name.is_empty()) else {
        return;
    };
    if let Err(error) = send(&socket.into_vec(), state) {
        log::warn!("the service manager is not told: {error}");
    }
}

/// A name that begins with `@` is in the abstract namespace of unix(7).
fn send(socket: &[u8], state: &str) -> io::Result<()> {
    let address = match socket.split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(socket))?,
    };
    let sender = UnixDatagram::unbound()?;
    sender.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_socket_are_spoken_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let abstract_name = format!("branchfs-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        for (receiver, name) in [
            (
                UnixDatagram::bind(&path).unwrap(),
                path.to_str().unwrap().to_owned(),
            ),
            (
                UnixDatagram::bind_addr(&address).unwrap(),
                format!("@{abstract_name}"),
            ),
        ] {
            send(name.as_bytes(), "READY=1\n").unwrap();
            let mut text = [0; 64];
            let length = receiver.recv(&mut text).unwrap();
            assert_eq!(&text[..length], b"READY=1\n", "{name}");
        }
    }
}
