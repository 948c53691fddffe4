//! The systems that are compared, each as "a fresh workspace of this tree, please".
//!
//! A [`System`] stands on a tree of its own on the backing file system. [`System::fork`] gives a
//! directory that shows the whole tree and can be written to; [`System::end`] throws it away.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::mount::MountFlags;

use super::backing::{self, Mount};
use super::earlier::Earlier;
use super::{Context, Res};
use crate::install;
use crate::mounted::{Mounted, quiet};

/// A way to have many workspaces of one tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A copy by `cp -a`, used as it is: the backing file system itself.
    Plain,
    /// The kernel's overlayfs.
    Overlayfs,
    /// overlayfs in user space.
    FuseOverlayfs,
    /// Snapshots of a subvolume, on a btrfs of its own.
    Btrfs,
    /// `git worktree add`.
    Worktree,
    /// The crate branchfs 0.1.1, another file system with branches.
    Earlier,
    /// The null server: what FUSE itself costs.
    Floor,
    /// A branch.
    Branchfs,
    /// A branch of a mount without extended attributes.
    NoXattr,
    /// A branch of a mount whose writes wait in the page cache.
    Writeback,
}

impl Kind {
    /// All of them, in the order of the table.
    pub const ALL: [Kind; 10] = [
        Kind::Plain,
        Kind::Overlayfs,
        Kind::FuseOverlayfs,
        Kind::Btrfs,
        Kind::Worktree,
        Kind::Earlier,
        Kind::Floor,
        Kind::Branchfs,
        Kind::NoXattr,
        Kind::Writeback,
    ];

    /// The mount option that makes it another than [`Kind::Branchfs`].
    pub fn option(self) -> Option<&'static str> {
        match self {
            Kind::NoXattr => Some("noxattr"),
            Kind::Writeback => Some("writeback"),
            _ => None,
        }
    }

    /// As it is named in the table and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Plain => "plain",
            Kind::Overlayfs => "overlayfs",
            Kind::FuseOverlayfs => "fuse-overlayfs",
            Kind::Btrfs => "btrfs",
            Kind::Worktree => "worktree",
            Kind::Earlier => "branchfs-0.1.1",
            Kind::Floor => "floor",
            Kind::Branchfs => "branchfs",
            Kind::NoXattr => "noxattr",
            Kind::Writeback => "writeback",
        }
    }

    /// The system of that name; the backing file systems and cp are `plain`.
    pub fn of_name(name: &str) -> Option<Kind> {
        match name {
            "xfs" | "ext4" | "cp" => Some(Kind::Plain),
            _ => Kind::ALL.into_iter().find(|kind| kind.name() == name),
        }
    }

    /// Whether a workspace of it is a directory like any other, so that what it does once forked is
    /// what `plain` does.
    pub fn works_like_plain(self) -> bool {
        self == Kind::Worktree
    }
}

enum Running {
    Directory,
    Btrfs(Mount),
    Earlier(Earlier),
    Floor { server: Child, mount: PathBuf },
    Branchfs(Mounted),
}

/// A system with a tree of its own.
pub struct System {
    /// Which.
    pub kind: Kind,
    home: PathBuf,
    base: PathBuf,
    running: Running,
    forks: u64,
}

impl System {
    /// Sets `kind` up over a copy of `tree`.
    pub fn start(context: &Context, kind: Kind, tree: &Path, name: &str) -> Res<System> {
        let home = context.backing().join(format!("{name}-{}", kind.name()));
        fs::create_dir(&home)?;
        let base = home.join("base");
        let running = match kind {
            Kind::Btrfs => {
                let missing = !install::has("mkfs.btrfs");
                if missing {
                    return Err("mkfs.btrfs is missing (package btrfs-progs)".into());
                }
                let image = format!("{name}-btrfs");
                let mount = backing::image(context.memory(), &image, "btrfs", 8)?;
                let subvolume = mount.path().join("base");
                quiet(
                    Command::new("btrfs")
                        .args(["subvolume", "create"])
                        .arg(&subvolume),
                )?;
                quiet(
                    Command::new("cp")
                        .arg("-a")
                        .arg(tree.join("."))
                        .arg(&subvolume),
                )?;
                let (home, base) = (mount.path().to_owned(), subvolume);
                return Ok(System {
                    kind,
                    home,
                    base,
                    running: Running::Btrfs(mount),
                    forks: 0,
                });
            }
            Kind::FuseOverlayfs if !install::has("fuse-overlayfs") => {
                return Err("fuse-overlayfs is missing (package fuse-overlayfs)".into());
            }
            Kind::Worktree if !tree.join(".git").exists() => {
                return Err("the tree is no git repository".into());
            }
            Kind::Floor => {
                let mount = home.join("mnt");
                fs::create_dir(&mount)?;
                let server = start_floor(context, &mount)?;
                Running::Floor { server, mount }
            }
            _ => Running::Directory,
        };
        copy(tree, &base)?;
        let running = match kind {
            Kind::Earlier => Running::Earlier(Earlier::start(&home, &base)?),
            Kind::Branchfs => Running::Branchfs(Mounted::mount(context.binary(), &base)?),
            _ => match kind.option() {
                Some(option) => {
                    Running::Branchfs(Mounted::mount_with(context.binary(), &base, option)?)
                }
                None => running,
            },
        };
        Ok(System {
            kind,
            home,
            base,
            running,
            forks: 0,
        })
    }

    /// A fresh workspace, and how long it took to make.
    pub fn fork(&mut self) -> Res<(PathBuf, Duration)> {
        self.forks += 1;
        let name = format!("w{}", self.forks);
        let path = match &self.running {
            Running::Branchfs(mounted) => mounted.branch(&name),
            Running::Earlier(earlier) => earlier.workspace(&name),
            Running::Floor { mount, .. } => mount.join(&name),
            _ => self.home.join(&name),
        };
        let start = Instant::now();
        let path = self.make(path)?;
        Ok((path, start.elapsed()))
    }

    fn make(&self, path: PathBuf) -> Res<PathBuf> {
        match self.kind {
            Kind::Plain | Kind::Floor => copy(&self.base, &path)?,
            Kind::Overlayfs => {
                let merged = self.layers(&path)?;
                let options = format!(
                    "lowerdir={},upperdir={},workdir={}",
                    self.base.display(),
                    path.join("upper").display(),
                    path.join("work").display()
                );
                let options = std::ffi::CString::new(options)?;
                rustix::mount::mount(
                    "overlay",
                    &merged,
                    "overlay",
                    MountFlags::empty(),
                    options.as_c_str(),
                )?;
                return Ok(merged);
            }
            Kind::FuseOverlayfs => {
                let merged = self.layers(&path)?;
                let options = format!(
                    "lowerdir={},upperdir={},workdir={}",
                    self.base.display(),
                    path.join("upper").display(),
                    path.join("work").display()
                );
                let mut mount = Command::new("fuse-overlayfs");
                quiet(mount.arg("-o").arg(options).arg(&merged))?;
                return Ok(merged);
            }
            Kind::Btrfs => {
                let mut snapshot = Command::new("btrfs");
                quiet(
                    snapshot
                        .args(["subvolume", "snapshot"])
                        .arg(&self.base)
                        .arg(&path),
                )?;
            }
            Kind::Worktree => {
                let mut add = Command::new("git");
                add.arg("-C").arg(&self.base);
                quiet(add.args(["worktree", "add", "--detach"]).arg(&path))?;
            }
            Kind::Earlier => {
                if let Running::Earlier(earlier) = &self.running {
                    earlier.create(&path)?;
                }
            }
            Kind::Branchfs | Kind::NoXattr | Kind::Writeback => fs::create_dir(&path)?,
        }
        Ok(path)
    }

    fn layers(&self, path: &Path) -> Res<PathBuf> {
        for name in ["upper", "work", "merged"] {
            fs::create_dir_all(path.join(name))?;
        }
        Ok(path.join("merged"))
    }

    /// The directory that everything of it is in.
    pub fn root(&self) -> &Path {
        match &self.running {
            Running::Floor { mount, .. } => mount,
            _ => &self.home,
        }
    }

    /// Throws a workspace away.
    pub fn end(&self, workspace: &Path) -> Res<()> {
        match self.kind {
            Kind::Overlayfs | Kind::FuseOverlayfs => {
                drop(Mount::at(workspace));
                let layers = workspace.parent().ok_or("a workspace has a parent")?;
                // The server of fuse-overlayfs may still be on its way out.
                quiet(Command::new("rm").arg("-rf").arg(layers))
            }
            // Its branches go with its storage.
            Kind::Earlier => Ok(()),
            Kind::Branchfs | Kind::NoXattr | Kind::Writeback => Ok(fs::remove_dir(workspace)?),
            Kind::Btrfs => {
                let mut delete = Command::new("btrfs");
                quiet(delete.args(["subvolume", "delete"]).arg(workspace))
            }
            Kind::Worktree => {
                let mut remove = Command::new("git");
                remove.arg("-C").arg(&self.base);
                quiet(
                    remove
                        .args(["worktree", "remove", "--force"])
                        .arg(workspace),
                )
            }
            Kind::Plain | Kind::Floor => quiet(Command::new("rm").arg("-rf").arg(workspace)),
        }
    }

    /// Takes it down and gives its space back.
    pub fn stop(self) -> Res<()> {
        match self.running {
            Running::Branchfs(mounted) => mounted.unmount()?,
            Running::Floor { mut server, mount } => {
                drop(Mount::at(&mount));
                server.wait()?;
            }
            Running::Earlier(earlier) => earlier.stop()?,
            Running::Btrfs(mount) => {
                drop(mount);
                return Ok(());
            }
            Running::Directory => {}
        }
        quiet(Command::new("rm").arg("-rf").arg(&self.home))
    }
}

fn copy(tree: &Path, to: &Path) -> Res<()> {
    quiet(Command::new("cp").arg("-a").arg(tree).arg(to))
}

/// Starts the null server and waits until it answers; it reads as far ahead as branchfs does.
fn start_floor(context: &Context, at: &Path) -> Res<Child> {
    use std::os::unix::fs::MetadataExt;
    let below = fs::metadata(at)?.dev();
    let mut server = Command::new(context.floor())
        .arg(at)
        .stdin(Stdio::null())
        .spawn()?;
    let start = Instant::now();
    let device = loop {
        let device = fs::metadata(at)?.dev();
        if device != below {
            break device;
        }
        if server.try_wait()?.is_some() || start.elapsed() > Duration::from_secs(10) {
            return Err("the null server does not mount".into());
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    fs::write(
        format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb"),
        "1024",
    )?;
    Ok(server)
}
