//! The texts of reserved files that readers are in the middle of, and what the kernel has of them.
//!
//! **Why**: where the kernel keeps pages until it is told otherwise (see `fuse::init`), a text that
//! is as long as the one before would be shown from the pages of the one before. So whoever looks
//! at a reserved file's attributes, which every open(2), stat(2) and read(2) that comes to the end
//! of the file does, is answered when the pages of older texts are gone.
//!
//! **Invariant**: pages that come of a READ or WRITE answered before a text was made are dropped
//! before the look that made this text is answered. A READ counts itself and takes its text in one
//! step, and a look keeps its text before it reads the count: so a READ of an older text is counted
//! when the look decides, and where it is not answered yet, dropping the page waits for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::tree::NodeId;

/// Files whose texts are kept; beyond it they are dropped, and made anew.
const MOST_TEXTS: usize = 256;

/// How long the text of the metrics stays as it is for whoever goes on reading an open file.
const METRICS_SETTLED: Duration = Duration::from_millis(100);

#[derive(Default)]
struct Kept {
    text: Option<Arc<Vec<u8>>>,
    /// How many READs and WRITEs there were: each may leave pages.
    touched: u64,
    /// How many of them there had been when the pages were last dropped.
    dropped: u64,
}

/// All of them.
#[derive(Default)]
pub(super) struct KeptTexts {
    files: Mutex<HashMap<NodeId, Kept>>,
    /// When the text of the metrics was made.
    metrics_made: Mutex<Option<Instant>>,
}

/// How many READs and WRITEs of a file there had been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Touches(u64);

impl KeptTexts {
    /// The length of the text that was kept last; 0 where none is.
    pub(super) fn len_bytes(&self, node: NodeId) -> u64 {
        let files = self.files.lock();
        let text = files.get(&node).and_then(|kept| kept.text.as_ref());
        text.map_or(0, |text| text.len() as u64)
    }

    /// Keeps `text` for the reads that follow.
    pub(super) fn keep(&self, node: NodeId, text: Arc<Vec<u8>>) {
        let mut files = self.files.lock();
        if files.len() >= MOST_TEXTS && !files.contains_key(&node) {
            files.retain(|_, kept| {
                kept.text = None;
                kept.touched != kept.dropped
            });
        }
        files.entry(node).or_default().text = Some(text);
    }

    /// A READ begins: the text to answer it from, if one is kept.
    pub(super) fn read(&self, node: NodeId) -> Option<Arc<Vec<u8>>> {
        let mut files = self.files.lock();
        let kept = files.entry(node).or_default();
        kept.touched += 1;
        kept.text.clone()
    }

    /// A WRITE begins.
    pub(super) fn write(&self, node: NodeId) {
        self.files.lock().entry(node).or_default().touched += 1;
    }

    /// Whether the kernel may have pages of `node`: what to tell [`KeptTexts::dropped`] after they
    /// have been dropped.
    pub(super) fn touches(&self, node: NodeId) -> Option<Touches> {
        let files = self.files.lock();
        let kept = files.get(&node)?;
        (kept.touched > kept.dropped).then_some(Touches(kept.touched))
    }

    /// The pages that came of these are gone.
    pub(super) fn dropped(&self, node: NodeId, touches: Touches) {
        if let Some(kept) = self.files.lock().get_mut(&node) {
            kept.dropped = kept.dropped.max(touches.0);
        }
    }

    /// Whether the metrics were looked at a moment ago. Reading them changes them: whoever reads
    /// them in several pieces would get pieces of several texts.
    pub(super) fn metrics_are_settled(&self) -> bool {
        (self.metrics_made.lock()).is_some_and(|made| made.elapsed() < METRICS_SETTLED)
    }

    /// The text of the metrics was made now.
    pub(super) fn settle_metrics(&self) {
        *self.metrics_made.lock() = Some(Instant::now());
    }

    /// Whoever looks at the metrics next gets them as they are then.
    pub(super) fn unsettle_metrics(&self) {
        *self.metrics_made.lock() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(7);

    #[test]
    fn pages_are_to_be_dropped_from_a_read_or_write_on_until_they_are() {
        let texts = KeptTexts::default();
        texts.keep(NODE, Arc::new(b"one".to_vec()));
        assert_eq!(texts.touches(NODE), None);
        assert_eq!(*texts.read(NODE).unwrap(), b"one");
        let first = texts.touches(NODE).unwrap();
        texts.write(NODE);
        texts.dropped(NODE, first);
        let second = texts.touches(NODE).expect("the write came after the drop");
        texts.dropped(NODE, second);
        texts.dropped(NODE, first);
        assert_eq!(texts.touches(NODE), None);
    }

    #[test]
    fn what_the_kernel_may_have_pages_of_is_not_forgotten_with_its_text() {
        let texts = KeptTexts::default();
        for number in 0..10 * MOST_TEXTS as u64 {
            texts.keep(NodeId(number), Arc::new(b"text".to_vec()));
            if number == 3 {
                texts.read(NodeId(number));
            }
        }
        assert!(texts.files.lock().len() <= MOST_TEXTS + 1);
        assert_eq!(texts.len_bytes(NodeId(3)), 0);
        assert!(texts.touches(NodeId(3)).is_some());
    }
}
