//! Free ids from the upper half.

use crate::tree::FileId;

use super::error::BaseError;

/// Where the next new id comes from. Nothing is given out twice until the cursor has come round.
pub(super) struct Allocator {
    used: Vec<u32>,
    start: u32,
    pub(super) cursor: u32,
    left: u32,
}

impl Allocator {
    pub(super) fn new(mut used: Vec<u32>, cursor: u32) -> Self {
        used.sort_unstable();
        let range = FileId::FIRST_NEW..FileId::FIRST_RESERVED;
        let start = if range.contains(&cursor) {
            cursor
        } else {
            range.start
        };
        Allocator {
            used,
            start,
            cursor: start,
            left: range.end - range.start,
        }
    }

    /// The next id that is neither `used` nor `taken`.
    pub(super) fn next(&mut self, taken: impl Fn(u32) -> bool) -> Result<FileId, BaseError> {
        while self.left > 0 {
            let id = self.cursor;
            self.left -= 1;
            self.cursor = match id + 1 {
                FileId::FIRST_RESERVED => FileId::FIRST_NEW,
                next => next,
            };
            if self.used.binary_search(&id).is_err() && !taken(id) {
                return Ok(FileId(id));
            }
        }
        debug_assert_eq!(self.cursor, self.start);
        Err(BaseError::IdsExhausted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_ends_after_one_round() {
        let mut round = Allocator {
            used: vec![],
            start: 9,
            cursor: 9,
            left: 0,
        };
        assert!(matches!(
            round.next(|_| false),
            Err(BaseError::IdsExhausted)
        ));
    }
}
