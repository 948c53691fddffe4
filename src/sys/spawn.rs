//! The descriptors that a program gets from the one that starts it.
//!
//! Those beyond the standard three go through a socket that is the program's standard input. To
//! place them between fork and exec instead would take a fork(2) that copies the page tables of the
//! whole process, where posix_spawn(3) shares them.
#![allow(unsafe_code)]

use std::io::{self, IoSlice, IoSliceMut};
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

/// Sends descriptors, at most four.
pub fn send(socket: &UnixStream, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
    sendmsg(
        socket,
        &[IoSlice::new(&[WITH])],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

/// Receives what one [`send`] has sent, at numbers from 10 on.
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
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn descriptors_arrive_and_what_is_written_afterwards_too() {
        let (mut near, mut far) = UnixStream::pair().unwrap();
        let (mut read, write) = io::pipe().unwrap();
        send(&near, &[write.as_fd(), write.as_fd()]).unwrap();
        near.write_all(b"text").unwrap();
        drop((near, write));
        let fds = receive(&far).unwrap();
        assert_eq!(fds.len(), 2);
        assert!(fds.iter().all(|fd| fd.as_raw_fd() >= 10));
        rustix::io::write(&fds[1], b"through").unwrap();
        drop(fds);
        let (mut piped, mut text) = (String::new(), String::new());
        read.read_to_string(&mut piped).unwrap();
        far.read_to_string(&mut text).unwrap();
        assert_eq!((piped.as_str(), text.as_str()), ("through", "text"));
    }

    #[test]
    fn a_socket_that_is_closed_has_none() {
        let (near, far) = UnixStream::pair().unwrap();
        drop(near);
        let error = receive(&far).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
