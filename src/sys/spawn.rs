//! The descriptors that a program gets from the one that starts it.
//!
//! Those beyond the standard three go through a socket that is the program's standard input. To
//! place them between fork and exec instead would take a fork(2) that copies the page tables of the
//! whole process, where posix_spawn(3) shares them.
#![allow(unsafe_code)]

use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// The most descriptors that [`send`] sends.
const MOST_FDS: usize = 4;

/// What the descriptors travel with; a socket carries none alone.
const WITH: u8 = b'\n';

/// Sends descriptors, at most four, and `bytes` after them.
pub fn send(mut socket: &UnixStream, fds: &[BorrowedFd<'_>], bytes: &[u8]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
    let parts = [IoSlice::new(&[WITH]), IoSlice::new(bytes)];
    let sent = sendmsg(socket, &parts, &mut control, SendFlags::NOSIGNAL)?;
    // It takes one byte at least, or fails.
    socket.write_all(&bytes[sent - 1..])
}

/// Receives the descriptors of one [`send`], at numbers from 10 on; the bytes are still to be read.
///
/// Fails with UnexpectedEof where the other side closed the socket before.
pub fn receive(socket: &UnixStream) -> io::Result<Vec<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut into = [IoSliceMut::new(&mut byte)];
    let got = recvmsg(socket, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if got.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            for fd in rights {
                fds.push(above_standard(fd)?);
            }
        }
    }
    Ok(fds)
}

/// `fd` at a number from 10 on, so that the numbers below are free for a program that is started.
pub fn above_standard(fd: OwnedFd) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(&fd, 10)?)
}

/// A copy of standard input at a number from 10 on.
pub fn standard_input() -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 10)?)
}

/// Puts `fd` at `number`, where a program that is executed finds it.
///
/// What had that number is closed: call it only for a number below 10 that nothing of this process
/// has, or for a standard stream.
pub fn place(fd: impl AsFd, number: RawFd) -> io::Result<()> {
    // SAFETY: by the contract above the number belongs to nothing that is owned here.
    match unsafe { libc::dup2(fd.as_fd().as_raw_fd(), number) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn descriptors_arrive_and_what_is_written_afterwards_too() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let (mut read, write) = io::pipe().unwrap();
        // More than the socket holds at once.
        let long = "text".repeat(1 << 20);
        let sent = long.clone();
        let sender = std::thread::spawn(move || {
            send(&near, &[write.as_fd(), write.as_fd()], sent.as_bytes()).unwrap();
        });
        let fds = receive(&far).unwrap();
        assert_eq!(fds.len(), 2);
        assert!(fds.iter().all(|fd| fd.as_raw_fd() >= 10));
        rustix::io::write(&fds[1], b"through").unwrap();
        drop(fds);
        let (mut piped, mut text) = (String::new(), String::new());
        far.read_to_string(&mut text).unwrap();
        read.read_to_string(&mut piped).unwrap();
        sender.join().unwrap();
        assert_eq!(piped, "through");
        assert!(text == long);
    }

    #[test]
    fn a_socket_that_is_closed_has_none() {
        let (near, far) = UnixStream::pair().unwrap();
        drop(near);
        let error = receive(&far).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
