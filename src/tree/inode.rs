//! An inode of a view: everything of a file that is not its name.
//!
//! A view holds an inode only for files that differ from the base in more than nothing: new ones,
//! changed ones, and those whose name a view's dentry holds.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Deserializer, Serialize};

use super::{Attr, ExtentMap, FileId, Kind, Name, Origin};

/// What a file holds, by its kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// Fifos, sockets and devices hold nothing.
    None,
    /// A regular file's bytes.
    File(ExtentMap),
    /// A symbolic link's target.
    Symlink(Arc<[u8]>),
    /// A directory's entries are dentries of the view and its origin's entries.
    Dir,
}

/// Values by name.
pub type OwnXattrs = BTreeMap<Box<[u8]>, Box<[u8]>>;

/// What names and values take together.
pub fn xattr_bytes(own: &OwnXattrs) -> usize {
    own.iter()
        .map(|(name, value)| name.len() + value.len())
        .sum()
}

/// The extended attributes of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Xattrs {
    /// Those of the file's origin in the base.
    OfOrigin,
    /// These.
    Own(#[serde(deserialize_with = "shared_if_empty")] Arc<OwnXattrs>),
}

/// Nearly every file has no extended attributes, so all of them share one table.
static NONE: LazyLock<Arc<OwnXattrs>> = LazyLock::new(Arc::default);

impl Xattrs {
    /// No extended attributes.
    pub fn none() -> Xattrs {
        Xattrs::Own(NONE.clone())
    }
}

fn shared_if_empty<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<OwnXattrs>, D::Error> {
    let own = OwnXattrs::deserialize(from)?;
    Ok(match own.is_empty() {
        true => NONE.clone(),
        false => Arc::new(own),
    })
}

/// One version of a file in a view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inode {
    /// What stat(2) shows; `blocks` is not kept up but computed.
    pub attr: Attr,
    /// A directory that has a name of it. For files with several names it is the one they were last
    /// reached by, and may have gone; a directory's is always right. The root is its own parent.
    pub parent: FileId,
    /// Its name there.
    pub name: Name,
    /// What it holds.
    pub content: Content,
    /// Its extended attributes.
    pub xattrs: Xattrs,
    /// The base object it was copied up from. A directory with an origin shows that directory's
    /// entries except where the view says otherwise; one without is opaque.
    pub origin: Option<Arc<Origin>>,
}

impl Inode {
    /// The extents of a regular file.
    pub fn extents(&self) -> Option<&ExtentMap> {
        match &self.content {
            Content::File(extents) => Some(extents),
            _ => None,
        }
    }

    /// Bytes of the store that its extents refer to.
    pub fn own_bytes(&self) -> u64 {
        self.extents().map_or(0, ExtentMap::own_bytes)
    }

    /// Blocks of 512 bytes to show in stat(2): what the extents cover.
    pub fn blocks(&self) -> u64 {
        match &self.content {
            Content::File(extents) => extents.bytes().div_ceil(4096) * 8,
            Content::Dir => 8,
            Content::Symlink(_) | Content::None => 0,
        }
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.attr.kind == Kind::Dir
    }
}
