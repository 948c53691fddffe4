//! The byte encoding of plans, events and ids: little-endian numbers, length-prefixed bytes.
//!
//! No framing and no checksum of its own: plans carry a crc, records are framed by the journal. The
//! reader never panics and never allocates more than its input is long.

use crate::sys::inode::Xattrs;
use crate::tree::{Attr, Kind, Time};

use super::Ident;

/// Appends values to a buffer.
#[derive(Default)]
pub(super) struct Writer {
    pub(super) buf: Vec<u8>,
}

impl Writer {
    pub(super) fn u8(&mut self, value: u8) {
        self.buf.push(value);
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.buf.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.buf.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn bytes(&mut self, value: &[u8]) {
        self.u32(u32::try_from(value.len()).expect("a name, path or xattr fits 4 GiB"));
        self.buf.extend_from_slice(value);
    }

    pub(super) fn time(&mut self, value: Time) {
        self.u64(value.sec as u64);
        self.u32(value.nsec);
    }

    pub(super) fn option<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Self, T)) {
        self.u8(value.is_some() as u8);
        if let Some(value) = value {
            put(self, value);
        }
    }

    pub(super) fn ident(&mut self, value: Ident) {
        self.u64(value.ino);
        self.option(value.btime, Writer::time);
    }

    pub(super) fn attr(&mut self, attr: &Attr) {
        self.u8(attr.kind as u8);
        for value in [attr.mode, attr.uid, attr.gid, attr.rdev, attr.nlink] {
            self.u32(value);
        }
        self.u64(attr.size);
        self.u64(attr.blocks);
        for value in [attr.atime, attr.mtime, attr.ctime] {
            self.time(value);
        }
    }

    pub(super) fn pairs(&mut self, pairs: &[(Vec<u8>, Vec<u8>)]) {
        self.u32(u32::try_from(pairs.len()).expect("the number of xattrs fits 32 bits"));
        for (name, value) in pairs {
            self.bytes(name);
            self.bytes(value);
        }
    }
}

/// The bytes ended early or hold an impossible value, at this offset.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Damaged(pub(super) usize);

/// Takes values from a buffer, in the order in which they were put.
pub(super) struct Reader<'a> {
    buf: &'a [u8],
    pos: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(buf: &'a [u8]) -> Self {
        Reader { buf, pos: 0 }
    }

    /// An error at the current place.
    pub(super) fn damaged<T>(&self) -> Result<T, Damaged> {
        Err(Damaged(self.pos))
    }

    /// Whether everything was taken.
    pub(super) fn finish(self) -> Result<(), Damaged> {
        if self.pos == self.buf.len() {
            Ok(())
        } else {
            self.damaged()
        }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Damaged> {
        let rest = &self.buf[self.pos..];
        if len > rest.len() {
            return self.damaged();
        }
        self.pos += len;
        Ok(&rest[..len])
    }

    pub(super) fn u8(&mut self) -> Result<u8, Damaged> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn u32(&mut self) -> Result<u32, Damaged> {
        Ok(u32::from_le_bytes(
            self.take(4)?.try_into().expect("4 bytes were taken"),
        ))
    }

    pub(super) fn u64(&mut self) -> Result<u64, Damaged> {
        Ok(u64::from_le_bytes(
            self.take(8)?.try_into().expect("8 bytes were taken"),
        ))
    }

    pub(super) fn bytes(&mut self) -> Result<Vec<u8>, Damaged> {
        let len = self.u32()? as usize;
        Ok(self.take(len)?.to_vec())
    }

    pub(super) fn time(&mut self) -> Result<Time, Damaged> {
        Ok(Time {
            sec: self.u64()? as i64,
            nsec: self.u32()?,
        })
    }

    pub(super) fn option<T>(
        &mut self,
        get: impl FnOnce(&mut Self) -> Result<T, Damaged>,
    ) -> Result<Option<T>, Damaged> {
        match self.u8()? {
            0 => Ok(None),
            1 => get(self).map(Some),
            _ => self.damaged(),
        }
    }

    pub(super) fn kind(&mut self) -> Result<Kind, Damaged> {
        let n = self.u8()?;
        Kind::from_u8(n).map_or_else(|| self.damaged(), Ok)
    }

    pub(super) fn ident(&mut self) -> Result<Ident, Damaged> {
        Ok(Ident {
            ino: self.u64()?,
            btime: self.option(Reader::time)?,
        })
    }

    pub(super) fn attr(&mut self) -> Result<Attr, Damaged> {
        Ok(Attr {
            kind: self.kind()?,
            mode: self.u32()?,
            uid: self.u32()?,
            gid: self.u32()?,
            rdev: self.u32()?,
            nlink: self.u32()?,
            size: self.u64()?,
            blocks: self.u64()?,
            atime: self.time()?,
            mtime: self.time()?,
            ctime: self.time()?,
        })
    }

    pub(super) fn pairs(&mut self) -> Result<Xattrs, Damaged> {
        let count = self.u32()?;
        let mut pairs = Vec::new();
        for _ in 0..count {
            pairs.push((self.bytes()?, self.bytes()?));
        }
        Ok(pairs)
    }
}
