//! Which features of the kernel are asked for at INIT.
//!
//! **Cached pages.** With AUTO_INVAL_DATA the kernel drops a file's pages whenever its mtime turns
//! out to have moved, so also after each write(2) of its own: the read(2) or stat(2) that follows
//! finds a new mtime. Where nobody but this mount changes files, EXPLICIT_INVAL_DATA is asked for
//! instead and pages stay until they are invalidated (`fs/fuse/inode.c`,
//! `fuse_change_attributes`). What a node holds then changes only by requests of the kernel on that
//! node, which keep its pages in step themselves: a commit gives what it replaces new nodes. The
//! reserved files are the exception, and `vfs` drops their pages.
//!
//! **Writes** go through to the daemon one by one, so that each reports its errno and a kill loses
//! none. With `writeback` they wait in the page cache. The kernel then knows a regular file's
//! length and times better than we do and ignores ours, so nobody else may change files. OPEN is
//! served, since only an open can say that a reserved file is not to be cached, and SEEK_HOLE has
//! to know which files may have writes that wait. Whatever freezes or compares a branch has the
//! kernel write first, as it does for shared mappings.
//!
//! Not asked for, and why:
//! - POSIX_LOCKS, FLOCK_LOCKS: the kernel's own locks per inode are right for a file system that
//!   has one mount, and a lock that waits here would hold a server thread;
//! - ATOMIC_O_TRUNC: it rides on OPEN, which is never sent;
//! - SPLICE_*: fuser copies;
//! - SETXATTR_EXT (fuser panics on it), SECURITY_CTX, CREATE_SUPP_GROUP, ALLOW_IDMAP, HAS_RESEND,
//!   OVER_IO_URING, REQUEST_TIMEOUT, SUBMOUNTS: fuser accepts them and does not serve them.

use fuser::{InitFlags, KernelConfig};

use super::session::SessionConfig;

/// Largest WRITE, and with MAX_PAGES largest READ, in bytes.
const MAX_WRITE_BYTES: u32 = 1 << 20;

/// Requests that nobody waits for (readahead, write-back of mappings) which may be under way at
/// once.
const MAX_BACKGROUND: u16 = 256;

/// What makes the mount fast or convenient where the kernel has it.
const WANTED: InitFlags = InitFlags::FUSE_ASYNC_READ
    .union(InitFlags::FUSE_BIG_WRITES)
    .union(InitFlags::FUSE_ASYNC_DIO)
    .union(InitFlags::FUSE_PARALLEL_DIROPS)
    .union(InitFlags::FUSE_DO_READDIRPLUS)
    .union(InitFlags::FUSE_READDIRPLUS_AUTO)
    .union(InitFlags::FUSE_CACHE_SYMLINKS)
    .union(InitFlags::FUSE_MAX_PAGES)
    .union(InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP)
    // A read after an abort says ECONNABORTED, so an abort can be told from an unmount.
    .union(InitFlags::FUSE_ABORT_ERROR)
    // Without it every write(2) is preceded by GETXATTR security.capability. `Ops` strips the bits.
    .union(InitFlags::FUSE_HANDLE_KILLPRIV_V2);

/// What the mount is wrong without.
const NEEDED: InitFlags = InitFlags::FUSE_NO_OPENDIR_SUPPORT
    // The kernel checks permissions by ACLs too. `Ops` keeps mode and ACL in step, and since a
    // default ACL takes the place of the umask it needs the mode before the umask.
    .union(InitFlags::FUSE_POSIX_ACL)
    .union(InitFlags::FUSE_DONT_MASK);

/// Asks for what the kernel offers of these; without extended attributes there are no access
/// control lists that the kernel would have to ask for.
pub fn negotiate(config: &mut KernelConfig, session: &SessionConfig) {
    let offered = config.capabilities();
    let mut needed = NEEDED;
    if session.no_xattr {
        needed -= InitFlags::FUSE_POSIX_ACL;
    }
    needed |= match session.writeback {
        true => InitFlags::FUSE_WRITEBACK_CACHE,
        false => InitFlags::FUSE_NO_OPEN_SUPPORT,
    };
    needed |= match session.keeps_pages {
        true => InitFlags::FUSE_EXPLICIT_INVAL_DATA,
        false => InitFlags::FUSE_AUTO_INVAL_DATA,
    };
    let asked = (WANTED | needed) & offered;
    config
        .add_capabilities(asked)
        .expect("only what is offered is asked for");
    for (name, _) in (needed - offered).iter_names() {
        log::warn!("this kernel lacks {name}: some files may show as they were");
    }
    for (name, _) in (WANTED - offered).iter_names() {
        log::info!("this kernel lacks {name}");
    }
    config
        .set_max_write(MAX_WRITE_BYTES)
        .expect("fuser takes up to 16 MiB");
    config
        .set_max_background(MAX_BACKGROUND)
        .expect("it is not zero");
    let abi = config.kernel_abi();
    log::debug!("FUSE {}.{}, features {asked:?}", abi.0, abi.1);
}
