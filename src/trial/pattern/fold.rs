//! What becomes of a file that more than one branch has written.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::proto::Text;
use crate::trial::TrialError;
use crate::trial::carry::at;
use crate::trial::runner::{Action, Runner};

/// The rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fold {
    /// The last in the order given stands.
    #[default]
    Last,
    /// What each has added stands behind what the ones before left.
    Append,
    /// A shell command gets the files as they were, as they are and as the next one has them, as
    /// `$1`, `$2` and `$3`, and leaves the result in the second, as a merge driver of git does.
    Merge(OsString),
}

impl Fold {
    /// Folds `theirs` into `ours`; whether it did. Only regular files are folded: of others the
    /// last stands.
    pub fn apply(
        &self,
        runner: &Runner<'_>,
        (base, ours, theirs): (&Path, &Path, &Path),
        path: &Path,
    ) -> Result<bool, TrialError> {
        let is_file = |path: &Path| fs::symlink_metadata(path).is_ok_and(|file| file.is_file());
        if !is_file(ours) || !is_file(theirs) {
            return Ok(false);
        }
        match self {
            Fold::Last => Ok(false),
            Fold::Append => {
                let before = fs::read(base).unwrap_or_default();
                let all = fs::read(theirs).map_err(at(path))?;
                let added = all.strip_prefix(before.as_slice()).unwrap_or(&all);
                let file = OpenOptions::new().append(true).open(ours);
                let written = file.and_then(|mut file| file.write_all(added));
                written.map_err(at(path))?;
                Ok(true)
            }
            Fold::Merge(command) => {
                let none = Path::new("/dev/null");
                let base = if is_file(base) { base } else { none };
                let files = [base, ours, theirs].map(OsString::from).to_vec();
                let ended = runner.consult_outside(&Action::Shell(command.clone(), files));
                if ended.succeeded() {
                    return Ok(true);
                }
                Err(TrialError::Fold {
                    path: Text::from(path.as_os_str().as_bytes()),
                    reason: format!(
                        "exit code {} {}",
                        ended.exit_code(),
                        String::from_utf8_lossy(ended.stderr.trim_ascii())
                    ),
                })
            }
        }
    }
}
