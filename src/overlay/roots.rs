//! The roots of branches as nodes.

use super::Overlay;
use crate::branch::Branch;
use crate::tree::{FileId, NodeId};
use std::sync::Arc;

impl Overlay {
    /// The root of a branch: live, or as the trash shows it.
    pub fn root(&self, branch: &Arc<Branch>) -> NodeId {
        let state = branch.state.read();
        let incarnation = match &state.ended {
            Some(ending) => ending.incarnation,
            None => state.meta.incarnation,
        };
        NodeId::new(incarnation, FileId::ROOT)
    }

    /// Counts a lookup of a branch's root.
    pub fn looked_up_root(&self, branch: &Arc<Branch>, root: NodeId) {
        self.mounted_branch(branch)
            .nodes
            .lock()
            .looked_up_again(root);
    }
}
