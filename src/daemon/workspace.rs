//! From a base directory to a mounted workspace: what is checked, what is opened, what is built.
//!
//! The base and the store are opened before anything is mounted, and reached by those descriptors
//! from then on; the paths are for messages.

use std::ffi::OsStr;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags};

use super::detach::{absolute, clear_dead_mount};
use super::ending;
use super::error::DaemonError;
use super::mounted::{Kernel, MountConfig};
use super::mountinfo::MountTable;
use super::options::{MountOptions, Policy, Publish};
use super::serve::{DaemonConfig, serve};
use super::visitor::MountVisitor;
use super::write_back::WriteBack;
use crate::branch::{self, Places, PublishMode, Workspace, WorkspaceOptions};
pub use crate::branch::{Finding, Verified};
use crate::ctlfs;
use crate::vfs::{CacheWrites, Vfs, VfsConfig};

/// The store's name in a base.
pub const STORE_NAME: &str = ".branchfs";
/// The file in a store that says which base it belongs to.
const BASE_FILE: &str = "base";

/// What is to be mounted.
#[derive(Clone, Debug)]
pub struct Request {
    /// The base directory.
    pub base: PathBuf,
    /// Where to mount; over the base if `None`.
    pub mountpoint: Option<PathBuf>,
    /// The store's directory; `BASE/.branchfs` if `None`.
    pub store: Option<PathBuf>,
    /// What `-o` said.
    pub options: MountOptions,
    /// How the process runs.
    pub daemon: DaemonConfig,
}

/// Mounts a workspace; see [`serve`] for when it returns.
pub fn mount_workspace(mut request: Request) -> Result<(), DaemonError> {
    request.options.read_only |= request.options.rescue;
    clear_dead_mount(&request.base)?;
    let base = canonical(&request.base)?;
    let mountpoint = match &request.mountpoint {
        Some(path) => {
            clear_dead_mount(path)?;
            canonical(path)?
        }
        None => base.clone(),
    };
    let in_place = mountpoint == base;
    if request.options.writeback && !in_place {
        return Err(DaemonError::WritebackElsewhere { base });
    }
    refuse_mounted(&base)?;
    refuse_inside_store(&base)?;
    let root = open_dir(&base)?;
    open_dir(&mountpoint)?;
    let named = request.store.as_ref().or(request.options.store.as_ref());
    let read_only = request.options.read_only;
    let (store, store_path) = open_store(named.map(PathBuf::as_path), &base, &root, read_only)?;
    ending::wait(&store, &base)?;
    let hide = store_path
        .strip_prefix(&base)
        .ok()
        .map(|path| path.as_os_str().as_bytes().to_vec())
        .filter(|path| !path.is_empty());
    let options = request.options.clone();
    let places = Places {
        base: root,
        store,
        hide,
        exclusive: in_place,
    };
    let names = [&base, &store_path, &mountpoint].map(|path| path.display().to_string());
    let flushed = mountpoint.clone();
    let mut mount = MountConfig {
        options,
        ..MountConfig::new(base, mountpoint)
    };
    mount.session.no_xattr = request.options.no_xattr;
    mount.session.keeps_pages = in_place;
    mount.session.writeback = request.options.writeback;
    let options = request.options;
    serve(mount, &request.daemon, move |kernel| {
        build(places, &options, kernel, names, flushed)
    })
}

fn workspace_options(options: &MountOptions) -> WorkspaceOptions {
    WorkspaceOptions {
        policy: options.policy.map(|policy| match policy {
            Policy::FirstWinner => branch::Policy::FirstWinner,
            Policy::Merge => branch::Policy::Merge,
        }),
        publish: match options.publish {
            Publish::Sync => PublishMode::Sync,
            Publish::Async => PublishMode::Async,
            Publish::Manual => PublishMode::Manual,
        },
        trash: options.trash,
        read_only: options.read_only,
        rescue: options.rescue,
        maxima: options.maxima,
    }
}

/// Why a workspace cannot be served.
#[derive(Debug, thiserror::Error)]
enum BuildError {
    #[error(transparent)]
    Branch(#[from] branch::BranchError),
    #[error("{0}; branchfs mount BASE -o rescue shows, read-only, what can still be read")]
    Damaged(branch::BranchError),
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

fn build(
    places: Places,
    options: &MountOptions,
    kernel: Kernel,
    [base, store, mountpoint]: [String; 3],
    flushed: PathBuf,
) -> Result<Arc<Vfs>, BuildError> {
    let exclusive = places.exclusive;
    let cache_writes = Arc::new(CacheWrites::default());
    let visitor = MountVisitor::start(flushed.clone())?;
    let write_back = WriteBack::start(flushed, cache_writes.clone())?;
    let workspace = Workspace::open(places, workspace_options(options));
    let workspace = Arc::new(workspace.map_err(|error| match error.is_damage() {
        true => BuildError::Damaged(error),
        false => BuildError::Branch(error),
    })?);
    if workspace.options.publish == PublishMode::Sync
        && let Err(error) = workspace.publish()
    {
        // What a commit was killed before is still main's; the reason is told at the next commit.
        log::warn!("main is not published: {error}");
    }
    let config = ctlfs::config(
        &workspace,
        &base,
        &store,
        &mountpoint,
        &[
            ("show_ctl", options.show_ctl),
            ("noxattr", options.no_xattr),
            ("writeback", options.writeback),
            ("rescue", options.rescue),
        ],
    );
    let vfs = Vfs::new(
        workspace,
        VfsConfig {
            cache: kernel.cache,
            metrics: kernel.metrics,
            exclusive,
            show_reserved: options.show_ctl,
            writeback: options.writeback,
            config,
            write_back: Box::new(move || write_back.begin()),
            cache_writes,
            visitor: Some(Arc::new(visitor)),
        },
    );
    vfs.start_background()?;
    Ok(Arc::new(vfs))
}

fn canonical(path: &Path) -> Result<PathBuf, DaemonError> {
    path.canonicalize().map_err(|source| DaemonError::Path {
        path: path.to_path_buf(),
        source,
    })
}

fn open_dir(path: &Path) -> Result<OwnedFd, DaemonError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|error| DaemonError::Path {
        path: path.to_path_buf(),
        source: error.into(),
    })
}

/// A base that a branchfs mount shows is no plain directory.
fn refuse_mounted(base: &Path) -> Result<(), DaemonError> {
    let table = MountTable::read()?;
    let mut at = Some(base);
    while let Some(path) = at {
        if let Some(mount) = table.top_at(path) {
            if !mount.is_branchfs() {
                return Ok(());
            }
            let pid = pid_of(path);
            return Err(DaemonError::AlreadyMounted {
                path: path.to_path_buf(),
                pid,
            });
        }
        at = path.parent();
    }
    Ok(())
}

/// The daemon of a living mount, as its `@self/config` says.
fn pid_of(mountpoint: &Path) -> Option<u32> {
    let config = std::fs::read_to_string(mountpoint.join("@self/config")).ok()?;
    config
        .lines()
        .find_map(|line| line.strip_prefix("pid ")?.parse().ok())
}

/// A directory of a store is nobody's workspace.
fn refuse_inside_store(base: &Path) -> Result<(), DaemonError> {
    for path in base.ancestors() {
        let is_store = path.join("superblock").is_file() && path.join("journal").is_dir();
        if is_store || path.file_name() == Some(OsStr::new(STORE_NAME)) {
            let (path, store) = (base.to_path_buf(), path.to_path_buf());
            return Err(DaemonError::InsideStore { path, store });
        }
    }
    Ok(())
}

/// Opens the store's directory, and makes it where there is none. The one in the base is not
/// reached through a symbolic link: whoever may write in the base could lead root anywhere.
fn open_store(
    named: Option<&Path>,
    base: &Path,
    root: &OwnedFd,
    read_only: bool,
) -> Result<(OwnedFd, PathBuf), DaemonError> {
    let path = match named {
        Some(path) => absolute(path)?,
        None => base.join(STORE_NAME),
    };
    let (dir, name, link) = match named {
        Some(_) => (CWD, path.as_path(), OFlags::empty()),
        None => (root.as_fd(), Path::new(STORE_NAME), OFlags::NOFOLLOW),
    };
    let failed = |source: std::io::Error| DaemonError::Store {
        path: path.clone(),
        source,
    };
    if !read_only {
        match rustix::fs::mkdirat(dir, name, Mode::RWXU) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(failed(error.into())),
        }
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | link;
    let store = rustix::fs::openat(dir, name, flags, Mode::empty());
    let store = store.map_err(|error| failed(error.into()))?;
    refuse_foreign(&store, &path)?;
    let device = |fd: &OwnedFd| rustix::fs::fstat(fd).map(|stat| stat.st_dev);
    let same = device(&store).and_then(|a| Ok(a == device(root)?));
    if !same.map_err(|error| failed(error.into()))? {
        let (store, base) = (path, base.to_path_buf());
        return Err(DaemonError::OtherFilesystem { store, base });
    }
    if !read_only {
        write_base(&store, base).map_err(failed)?;
    }
    Ok((store, canonical(&path)?))
}

/// What a store says is done with the rights of who opens it, so nobody else may have written it.
fn refuse_foreign(store: &OwnedFd, path: &Path) -> Result<(), DaemonError> {
    let stat = rustix::fs::fstat(store).map_err(|error| DaemonError::Store {
        path: path.to_path_buf(),
        source: error.into(),
    })?;
    let ours = stat.st_uid == 0 || stat.st_uid == rustix::process::geteuid().as_raw();
    if ours && stat.st_mode & 0o002 == 0 {
        return Ok(());
    }
    Err(DaemonError::ForeignStore {
        path: path.to_path_buf(),
        owner: stat.st_uid,
        mode: stat.st_mode & 0o7777,
    })
}

/// Notes in the store which base it belongs to.
fn write_base(store: &OwnedFd, base: &Path) -> std::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW;
    let mode = Mode::from_raw_mode(0o644);
    let file = rustix::fs::openat(store, BASE_FILE, flags | OFlags::CLOEXEC, mode)?;
    std::fs::File::from(file).write_all(base.as_os_str().as_bytes())
}

/// Opens a store that is not mounted, with its base, for maintenance. `store` is its directory.
fn open_unmounted(store: &Path) -> Result<Workspace, DaemonError> {
    let store = canonical(store)?;
    let failed = |source| DaemonError::Store {
        path: store.clone(),
        source,
    };
    if !store.join("superblock").is_file() {
        return Err(failed(std::io::Error::new(
            std::io::ErrorKind::NotFound,
            "there is no superblock in it; a store is BASE/.branchfs or what --store named",
        )));
    }
    let dir = open_dir(&store)?;
    refuse_foreign(&dir, &store)?;
    let base = std::fs::read(store.join(BASE_FILE)).map_err(failed)?;
    let base = PathBuf::from(OsStr::from_bytes(&base));
    let root = open_dir(&base)?;
    let hide = store
        .strip_prefix(&base)
        .ok()
        .map(|path| path.as_os_str().as_bytes().to_vec());
    let places = Places {
        base: root,
        store: dir,
        hide,
        exclusive: false,
    };
    let options = workspace_options(&MountOptions::default());
    Workspace::open(places, options).map_err(|error| DaemonError::Build {
        said: error.to_string(),
    })
}

/// Frees what nothing reaches in a store that is not mounted.
pub fn collect_store(store: &Path) -> Result<(), DaemonError> {
    let workspace = open_unmounted(store)?;
    let collected = workspace
        .expire_old()
        .and_then(|_| workspace.reclaim(&Vec::new))
        .and_then(|_| workspace.checkpoint())
        .and_then(|()| Ok(workspace.store.close()?));
    collected.map_err(|error| DaemonError::Build {
        said: error.to_string(),
    })
}

/// Checks a store that is not mounted.
pub fn check_store(store: &Path) -> Result<Verified, DaemonError> {
    let dir = open_dir(store)?;
    branch::verify_store(dir).map_err(|error| DaemonError::Build {
        said: error.to_string(),
    })
}
