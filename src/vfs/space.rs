//! statfs(2): the space of the file system below, and of that what limits leave.

use super::Inner;
use super::ops::{FsStat, OpResult};
use crate::branch::BranchError;
use crate::overlay::MAX_NAME_BYTES;
use crate::tree::NodeId;

impl Inner {
    /// What statfs(2) shows in the branch of `node`: no more than its limits and the store's.
    pub(super) fn space(&self, node: NodeId) -> OpResult<FsStat> {
        let branch = self.branch_of(node)?;
        let below = self.workspace().base.statvfs().map_err(BranchError::from)?;
        let mut shown = FsStat {
            blocks: below.f_blocks,
            blocks_free: below.f_bfree,
            blocks_available: below.f_bavail,
            files: below.f_files,
            files_free: below.f_ffree,
            block_bytes: u32::try_from(below.f_frsize).unwrap_or(4096),
            name_bytes: MAX_NAME_BYTES as u32,
        };
        let (limits, usage) = {
            let state = branch.state.read();
            (state.meta.limits, state.usage)
        };
        let left = |limit: u64, used: i64| limit.saturating_sub(used.max(0) as u64);
        if let Some(limit) = limits.bytes {
            bound_bytes(&mut shown, limit, left(limit, usage.bytes));
        }
        if let (Some(limit), Some(left)) = (
            self.workspace().options.maxima.bytes,
            self.workspace().room_left(),
        ) {
            bound_bytes(&mut shown, limit, left);
        }
        if let Some(limit) = limits.inodes {
            let left = left(limit, usage.inodes);
            // A file system that counts no inodes shows 0 of them.
            shown.files_free = match shown.files {
                0 => left,
                _ => shown.files_free.min(left),
            };
            shown.files = limit;
        }
        Ok(shown)
    }
}

/// Bounds the size to `limit` bytes and what is free of it to `left` bytes, in whole blocks.
fn bound_bytes(shown: &mut FsStat, limit: u64, left: u64) {
    let block = u64::from(shown.block_bytes);
    let left = left / block;
    shown.blocks = shown.blocks.min(limit.div_ceil(block));
    shown.blocks_free = shown.blocks_free.min(left);
    shown.blocks_available = shown.blocks_available.min(left);
}
