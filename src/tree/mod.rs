//! The vocabulary and the in-memory data model: ids, attributes, inodes, extents, views.
//!
//! Pure values: no I/O, no locks, nothing of FUSE or of the store's files. Everything above shares
//! these types. A [`View`] is a persistent map, so cloning one is O(1) and shares its structure.

mod attr;
mod change;
mod extent;
mod extent_map;
mod hash;
mod id;
mod inode;
mod sound;
mod view;

pub use attr::{Attr, Kind, Time};
pub use change::{Change, parts, shortened};
pub use extent::{Extent, Origin, Piece, Source};
pub use extent_map::ExtentMap;
pub use hash::name_hash;
pub use id::{BranchId, FileId, NodeId};
pub use inode::{Content, Inode, OwnXattrs, Xattrs, xattr_bytes};
pub use sound::{is_file_name, is_owner};
pub use view::{Dentry, DentryKey, DentryRef, Name, Replaced, View};
