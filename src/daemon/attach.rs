//! Making the mount: mount(2) for root, fusermount3 for everybody else.
//!
//! findmnt shows type `fuse.branchfs`, the base as source, and the options. mount(2) takes the
//! source as an argument of its own, so it may hold any byte; fusermount3 takes it as an option,
//! escaped.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::StatVfsMountFlags;
use rustix::mount::MountFlags;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType,
};

use super::error::DaemonError;
use super::options::{MountOptions, escape};

const SUBTYPE: &str = "branchfs";

/// A mount to be made.
pub(super) struct Attach<'a> {
    /// What findmnt shows as source: the base.
    pub(super) source: &'a Path,
    /// Where; absolute and without symlinks.
    pub(super) mountpoint: &'a Path,
    /// The same place, opened before; mount(2) then mounts there whatever the path has become.
    pub(super) mountpoint_fd: Option<BorrowedFd<'a>>,
    /// What the user asked for.
    pub(super) options: &'a MountOptions,
}

impl Attach<'_> {
    /// Makes the mount; the descriptor is its connection, on which INIT waits.
    pub(super) fn attach(&self) -> Result<OwnedFd, DaemonError> {
        if rustix::process::geteuid().is_root() {
            self.by_mount()
        } else {
            self.by_fusermount()
        }
    }

    fn by_mount(&self) -> Result<OwnedFd, DaemonError> {
        let device = File::options().read(true).write(true).open("/dev/fuse");
        let device = device.map_err(|source| DaemonError::Device { source })?;
        let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
        let data = format!(
            "fd={},rootmode=40000,user_id={},group_id={},default_permissions,allow_other,\
             subtype={SUBTYPE}",
            device.as_raw_fd(),
            uid.as_raw(),
            gid.as_raw(),
        );
        let data = CString::new(data).expect("numbers and names have no NUL byte");
        let target = match self.mountpoint_fd {
            Some(fd) => PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd())),
            None => self.mountpoint.to_path_buf(),
        };
        let flags = self.options.mount_flags(flags_of(self.source));
        rustix::mount::mount(self.source, &target, "fuse", flags, data.as_c_str())
            .map_err(|error| self.refused(error.into()))?;
        Ok(device.into())
    }

    fn by_fusermount(&self) -> Result<OwnedFd, DaemonError> {
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(|error| DaemonError::NoDescriptor {
            source: error.into(),
        })?;
        // Its standard input is the socket, so no other descriptor has to be made inheritable.
        let child = Command::new("fusermount3")
            .arg("-o")
            .arg(self.fusermount_options())
            .arg("--")
            .arg(self.mountpoint)
            .env("_FUSE_COMMFD", "0")
            .env("LC_ALL", "C")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(no_fusermount)?;
        let received = receive_descriptor(ours.as_fd());
        let output = child.wait_with_output().map_err(no_fusermount)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(DaemonError::Fusermount { said });
        }
        received.map_err(|source| DaemonError::NoDescriptor { source })
    }

    fn fusermount_options(&self) -> OsString {
        let mut list = b"default_permissions,subtype=".to_vec();
        list.extend_from_slice(SUBTYPE.as_bytes());
        if self.options.allow_other {
            list.extend_from_slice(b",allow_other");
        }
        list.extend_from_slice(if self.options.read_only {
            b",ro"
        } else {
            b",rw"
        });
        for name in self.options.flag_names() {
            list.push(b',');
            list.extend_from_slice(name.as_bytes());
        }
        list.extend_from_slice(b",fsname=");
        list.extend_from_slice(&escape(self.source.as_os_str().as_bytes()));
        OsString::from_vec(list)
    }

    fn refused(&self, source: io::Error) -> DaemonError {
        DaemonError::Mount {
            mountpoint: self.mountpoint.to_path_buf(),
            source,
        }
    }
}

/// The restrictions of the file system that `path` is on, none where it cannot be asked.
pub(super) fn flags_of(path: &Path) -> MountFlags {
    let Ok(stat) = rustix::fs::statvfs(path) else {
        return MountFlags::empty();
    };
    let mut flags = MountFlags::empty();
    for (shown, flag) in [
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
    ] {
        flags.set(flag, stat.f_flag.contains(shown));
    }
    flags
}

pub(super) fn no_fusermount(source: io::Error) -> DaemonError {
    DaemonError::NoFusermount { source }
}

/// Takes the one descriptor that fusermount3 sends.
fn receive_descriptor(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    loop {
        let mut parts = [IoSliceMut::new(&mut byte)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        match rustix::net::recvmsg(socket, &mut parts, &mut control, flags) {
            Ok(_) => break,
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
    }
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    descriptor.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}
