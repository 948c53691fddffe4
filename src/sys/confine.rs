//! What a process does to itself before it runs a program that it does not trust: mounts made
//! read-only, descriptors that stay behind, a loopback of its own.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, RawFd};

fn done(result: libc::c_long) -> io::Result<()> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Makes the mount at `path`, and those below it where `recursive`, read-only or writable.
///
/// mount_setattr(2), Linux 5.12.
pub fn set_read_only(path: &CStr, read_only: bool, recursive: bool) -> io::Result<()> {
    let bit = libc::MOUNT_ATTR_RDONLY;
    let attr = libc::mount_attr {
        attr_set: if read_only { bit } else { 0 },
        attr_clr: if read_only { 0 } else { bit },
        propagation: 0,
        userns_fd: 0,
    };
    let flags = if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path ends with a zero byte, and the struct is alive and of the size given.
    done(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            flags,
            &raw const attr,
            mem::size_of::<libc::mount_attr>(),
        )
    })
}

/// Lets no descriptor from `first` on outlive an exec.
pub fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    let first = first.cast_unsigned();
    let flags = libc::CLOSE_RANGE_CLOEXEC;
    // SAFETY: setting a flag on descriptors touches no memory and closes nothing now. Not every
    // libc wraps the call.
    done(unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, flags) })
}

/// Brings up `lo` of this network namespace, so that a program can talk to itself.
pub fn loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    )?;
    // SAFETY: an all-zero ifreq is a valid one.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    request.ifr_name[0] = b'l'.cast_signed();
    request.ifr_name[1] = b'o'.cast_signed();
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    let (socket, request) = (socket.as_raw_fd(), &raw const request);
    // SAFETY: SIOCSIFFLAGS reads one ifreq, which is alive.
    done(unsafe { libc::ioctl(socket, libc::SIOCSIFFLAGS as _, request) }.into())
}
