//! Telling the kernel what changed: raw FUSE notifications, written to the connection.
//!
//! Raw, because fuser's notifier exists only once a session does and lacks INC_EPOCH. The messages
//! are those of `include/uapi/linux/fuse.h`: a `fuse_out_header` with `unique` 0 and the code in
//! `error`, then the body.
//!
//! **Blocking**: `inval_entry` waits while a request that changes or lists the parent is in flight,
//! `inval_inode` with data while a READ or WRITE on that inode is. So call both from threads that
//! serve no requests, holding nothing that a handler takes, and never from inside the request
//! waited for.
//!
//! Made before the mount, so that what is to be mounted can hold it: until [`Notifier::attach`] the
//! kernel has nothing cached and every call is a no-op.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crate::tree::NodeId;
use crate::vfs::metrics::{Metrics, Op};
use crate::vfs::ops::KernelCache;

const NOTIFY_INVAL_INODE: i32 = 2;
const NOTIFY_INVAL_ENTRY: i32 = 3;
const NOTIFY_STORE: i32 = 4;
/// Linux 6.16, FUSE 7.44.
const NOTIFY_INC_EPOCH: i32 = 8;

/// The kernel's cache of one mount.
pub struct Notifier {
    device: OnceLock<File>,
    has_epochs: AtomicBool,
    metrics: Arc<Metrics>,
}

impl Notifier {
    /// One that has no connection yet.
    pub fn new(metrics: Arc<Metrics>) -> Notifier {
        Notifier {
            device: OnceLock::new(),
            has_epochs: AtomicBool::new(false),
            metrics,
        }
    }

    /// Sends to `device` from now on, and finds out whether the kernel knows epochs.
    ///
    /// # Panics
    /// When it has a connection already.
    pub(super) fn attach(&self, device: File) {
        self.device
            .set(device)
            .expect("a notifier serves one connection");
        let probe = self.send(NOTIFY_INC_EPOCH, &[]);
        self.has_epochs.store(probe.is_ok(), Relaxed);
        if let Err(error) = probe {
            log::info!("the kernel has no epochs: {error}; names are invalidated one by one");
        }
    }

    fn send(&self, code: i32, body: &[&[u8]]) -> io::Result<()> {
        let Some(mut device) = self.device.get() else {
            return Ok(());
        };
        let len = 16 + body.iter().map(|part| part.len()).sum::<usize>();
        let mut header = [0; 16];
        header[..4].copy_from_slice(&(len as u32).to_ne_bytes());
        header[4..8].copy_from_slice(&code.to_ne_bytes());
        let mut parts = [IoSlice::new(&header), IoSlice::new(&[]), IoSlice::new(&[])];
        for (slot, part) in parts[1..].iter_mut().zip(body) {
            *slot = IoSlice::new(part);
        }
        // The device takes a whole message or none.
        device.write_vectored(&parts[..=body.len()]).map(|_| ())
    }

    /// Sends and counts. That the kernel does not know what it is to forget is as good as success.
    fn notify(&self, op: Op, code: i32, body: &[&[u8]]) {
        let start = Instant::now();
        let failed = match self.send(code, body) {
            Ok(()) => false,
            Err(error) => match error.raw_os_error() {
                Some(libc::ENOENT | libc::ENOTDIR) => false,
                // The connection is gone, and its cache with it.
                Some(libc::ENODEV | libc::ENOTCONN | libc::ECONNABORTED | libc::EPERM) => false,
                _ => {
                    log::error!("the kernel refused {}: {error}", op.name());
                    true
                }
            },
        };
        self.metrics.record(op, start.elapsed(), failed);
    }
}

impl KernelCache for Notifier {
    fn inval_entry(&self, parent: NodeId, name: &[u8]) {
        let mut body = [0; 16];
        body[..8].copy_from_slice(&parent.0.to_ne_bytes());
        body[8..12].copy_from_slice(&(name.len() as u32).to_ne_bytes());
        let terminated = [name, &[0]].concat();
        self.notify(Op::InvalEntry, NOTIFY_INVAL_ENTRY, &[&body, &terminated]);
    }

    fn inval_inode(&self, node: NodeId, data: bool) {
        // A negative offset leaves the pages, offset 0 with length 0 takes all of them.
        let offset: i64 = if data { 0 } else { -1 };
        let mut body = [0; 24];
        body[..8].copy_from_slice(&node.0.to_ne_bytes());
        body[8..16].copy_from_slice(&offset.to_ne_bytes());
        self.notify(Op::InvalInode, NOTIFY_INVAL_INODE, &[&body]);
    }

    fn extend(&self, node: NodeId, len_bytes: u64) {
        let Some(last) = len_bytes.checked_sub(1) else {
            return;
        };
        // Stores the last byte.
        let mut body = [0; 24];
        body[..8].copy_from_slice(&node.0.to_ne_bytes());
        body[8..16].copy_from_slice(&last.to_ne_bytes());
        body[16..20].copy_from_slice(&1_u32.to_ne_bytes());
        self.notify(Op::Store, NOTIFY_STORE, &[&body, &[0]]);
    }

    fn new_epoch(&self) -> bool {
        let known = self.has_epochs.load(Relaxed);
        if known {
            self.notify(Op::NewEpoch, NOTIFY_INC_EPOCH, &[]);
        }
        known
    }
}
