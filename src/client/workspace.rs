//! Finding the workspace that a path is in.
//!
//! A directory is the root of a branch if it lies on FUSE and `@self/status` in it answers. From
//! the nearest one up, the status says which branch it is (`main/fix-a/sub`) and the path says
//! where `main` is: `@branches/NAME` is stripped once per name. Where the path does not end so (a
//! branch that is bound somewhere else, as in a private mount namespace), `main` is out of view,
//! and only that branch and what is below it can be addressed.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::address::{Address, split_last};
use super::branch::Branch;
use super::error::ClientError;
use super::files;
use crate::proto::{BranchName, BranchPath, Status, TrashName, reserved};

/// Tells whether a directory is on a filesystem that can be branchfs.
pub type IsMount = fn(&Path) -> io::Result<bool>;

/// `FUSE_SUPER_MAGIC` of linux/magic.h.
const FUSE_SUPER_MAGIC: u64 = 0x6573_5546;

/// Asks statfs(2) whether `dir` is on FUSE.
pub fn is_fuse(dir: &Path) -> io::Result<bool> {
    let stat = rustix::fs::statfs(dir)?;
    Ok(stat.f_type as u64 == FUSE_SUPER_MAGIC)
}

/// A workspace, seen from one of its branches.
#[derive(Clone, Debug)]
pub struct Workspace {
    /// The root of the outermost branch that can be reached, and which one that is.
    top: (BranchPath, PathBuf),
    /// The branch that the search began in.
    here: BranchPath,
}

impl Workspace {
    /// Finds the workspace that `path` is in; the current directory's if `None`.
    pub fn find(path: Option<&Path>, is_mount: IsMount) -> Result<Workspace, ClientError> {
        let start = match path {
            None => {
                std::env::current_dir().map_err(|source| ClientError::NoCurrentDir { source })?
            }
            Some(path) => absolute(path, is_mount)?,
        };
        for dir in start.ancestors() {
            if let Some(status) = branch_root(dir, is_mount)? {
                return Ok(Workspace::at(dir, status.branch));
            }
        }
        Err(ClientError::NotAWorkspace { path: start })
    }

    fn at(dir: &Path, here: BranchPath) -> Workspace {
        let top = match main_root(dir, &here) {
            Some(root) => (BranchPath::MAIN, root.to_owned()),
            None => (here.clone(), dir.to_owned()),
        };
        Workspace { top, here }
    }

    /// The root of the outermost branch in view: the mount, unless only a branch of it is here.
    pub fn root(&self) -> &Path {
        &self.top.1
    }

    /// The branch that the search began in.
    pub fn here(&self) -> &BranchPath {
        &self.here
    }

    /// The outermost branch in view: `main`, unless only a branch of it is here.
    pub fn top(&self) -> Branch {
        let (path, dir) = self.top.clone();
        Branch { path, dir }
    }

    /// The branch at `address`; whether it exists shows when something is done with it.
    pub fn branch(&self, address: &Address) -> Result<Branch, ClientError> {
        let path = address.resolve(&self.here);
        let (top, root) = &self.top;
        let Some(below) = path.below(top) else {
            return Err(ClientError::Unreachable {
                branch: path,
                here: top.clone(),
            });
        };
        let dir = if below == BranchPath::MAIN {
            root.clone()
        } else {
            root.join(below.dir())
        };
        Ok(Branch { path, dir })
    }

    /// Splits the address of a branch that does not exist yet into its parent and its name.
    pub fn new_branch(&self, address: &[u8]) -> Result<(Branch, BranchName), ClientError> {
        let path = Address::parse(address)?.resolve(&self.here);
        let name = path.names().last().cloned().ok_or(ClientError::ForkMain)?;
        let (parent, _) = split_last(address)?;
        Ok((self.branch(&parent)?, name))
    }

    /// Splits the address of a trash entry into the branch whose trash it is in and its name there.
    pub fn trash_entry(&self, address: &[u8]) -> Result<(Branch, TrashName), ClientError> {
        let (parent, entry) = split_last(address)?;
        Ok((self.branch(&parent)?, TrashName::new(entry)?))
    }
}

/// Resolves symlinks: the path of the mount has to be in it.
fn absolute(path: &Path, is_mount: IsMount) -> Result<PathBuf, ClientError> {
    path.canonicalize().map_err(|source| {
        if is_dead(&source) {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            return dead_mount(&path, is_mount);
        }
        ClientError::Path {
            path: path.to_owned(),
            source,
        }
    })
}

/// The status of the branch whose root `dir` is; `None` if it is no branch's root.
fn branch_root(dir: &Path, is_mount: IsMount) -> Result<Option<Status>, ClientError> {
    match is_mount(dir) {
        Ok(true) => {}
        Ok(false) => return Ok(None),
        Err(e) if is_dead(&e) => return Err(dead_mount(dir, is_mount)),
        // The path of a current directory can lead through directories that no longer exist.
        Err(_) => return Ok(None),
    }
    let file = dir.join(reserved::SELF).join(reserved::STATUS);
    match files::read(&file) {
        Ok(json) => Ok(Status::parse(&json).ok()),
        Err(e) if is_dead(&e) => Err(dead_mount(dir, is_mount)),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Err(ClientError::Path {
            path: file,
            source: e,
        }),
        Err(_) => Ok(None),
    }
}

/// What the kernel answers for a mount whose daemon is gone.
fn is_dead(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOTCONN)
}

/// The dead mount that `dir` is in: it begins at the outermost directory that does not answer.
fn dead_mount(dir: &Path, is_mount: IsMount) -> ClientError {
    let dead = dir
        .ancestors()
        .take_while(|dir| is_mount(dir).is_err_and(|e| is_dead(&e)));
    ClientError::DeadMount {
        path: dead.last().unwrap_or(dir).to_owned(),
    }
}

/// Strips `@branches/NAME` from `dir` once per name of `branch`, innermost first.
fn main_root<'a>(dir: &'a Path, branch: &BranchPath) -> Option<&'a Path> {
    branch.names().iter().rev().try_fold(dir, |dir, name| {
        let parent = dir.parent()?;
        let named = dir.file_name()?.as_bytes() == name.as_bytes();
        let inside = parent.file_name()? == reserved::BRANCHES;
        (named && inside).then(|| parent.parent()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::*;

    #[track_caller]
    fn check(fake: &Fake, start: &str, here: &str, address: &str, dir: &str) {
        let start = fake.path(start);
        std::fs::create_dir_all(&start).unwrap();
        let workspace = Workspace::find(Some(&start), fake.is_mount()).unwrap();
        assert_eq!(workspace.here().to_string(), here);
        let branch = workspace
            .branch(&Address::parse(address.as_bytes()).unwrap())
            .unwrap();
        assert_eq!(branch.dir, fake.path(dir));
    }

    #[test]
    fn the_workspace_is_found_from_anywhere_in_it() {
        let fake = Fake::with(&["fix-a", "fix-a/sub", "fix-b"]);
        let sub = "@branches/fix-a/@branches/sub";
        check(&fake, "", "main", ".", "");
        check(&fake, "src/deep", "main", ".", "");
        check(&fake, "src/deep", "main", "fix-a/sub", sub);
        check(&fake, &format!("{sub}/src"), "main/fix-a/sub", ".", sub);
        check(&fake, &format!("{sub}/src"), "main/fix-a/sub", "main", "");
        check(&fake, sub, "main/fix-a/sub", "fix-b", "@branches/fix-b");
        check(&fake, "@branches", "main", ".", "");
        check(&fake, "@branches/fix-a", "main/fix-a", "./sub", sub);
    }

    #[test]
    fn a_directory_of_the_user_with_reserved_names_is_no_root() {
        let fake = Fake::with(&[]);
        let odd = fake.path("vendor/@self");
        std::fs::create_dir_all(&odd).unwrap();
        std::fs::write(odd.join("status"), "{}").unwrap();
        check(&fake, "vendor/@self", "main", ".", "");
    }

    #[test]
    fn a_branch_bound_elsewhere_is_all_there_is() {
        let fake = Fake::with(&["fix-a", "fix-a/sub"]);
        let elsewhere = fake.path("elsewhere");
        std::fs::rename(fake.path("@branches/fix-a"), &elsewhere).unwrap();
        let workspace = Workspace::find(Some(&elsewhere), fake.is_mount()).unwrap();
        assert_eq!(workspace.root(), elsewhere);
        let find = |text: &[u8]| workspace.branch(&Address::parse(text).unwrap());
        assert_eq!(
            find(b"fix-a/sub").unwrap().dir,
            elsewhere.join("@branches/sub")
        );
        assert_eq!(find(b".").unwrap().dir, elsewhere);
        assert!(matches!(
            find(b"main"),
            Err(ClientError::Unreachable { .. })
        ));
        assert!(matches!(
            find(b"fix-b"),
            Err(ClientError::Unreachable { .. })
        ));
    }

    #[test]
    fn elsewhere_there_is_no_workspace() {
        let dir = tempfile::tempdir().unwrap();
        let find = |is_mount: IsMount| Workspace::find(Some(dir.path()), is_mount).unwrap_err();
        assert!(matches!(
            find(|_| Ok(false)),
            ClientError::NotAWorkspace { .. }
        ));
        assert!(matches!(
            find(|_| Ok(true)),
            ClientError::NotAWorkspace { .. }
        ));
        let missing = Workspace::find(Some(&dir.path().join("x")), |_| Ok(false)).unwrap_err();
        assert!(matches!(missing, ClientError::Path { .. }));
    }

    #[test]
    fn a_dead_mount_is_named_by_its_mount_point() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("mnt/a/b");
        std::fs::create_dir_all(&deep).unwrap();
        let error = Workspace::find(Some(&deep), |dir| {
            let dead = dir.iter().any(|name| name == "mnt");
            if dead {
                Err(io::Error::from_raw_os_error(libc::ENOTCONN))
            } else {
                Ok(false)
            }
        });
        let Err(ClientError::DeadMount { path }) = error else {
            panic!("{error:?}")
        };
        assert_eq!(path, dir.path().canonicalize().unwrap().join("mnt"));
    }

    #[test]
    fn an_ordinary_directory_is_not_on_fuse() {
        assert!(!is_fuse(Path::new("/proc")).unwrap());
    }
}
