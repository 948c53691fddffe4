//! Which file goes where.
//!
//! mount(8) and umount(8) look for their programs in /sbin and nowhere else, whatever the prefix;
//! on a system of today that is /usr/sbin.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::Done;
use crate::cargo::root;

/// The names that mount(8) and umount(8) call the program by.
const MOUNT_NAMES: [&str; 4] = [
    "mount.branchfs",
    "mount.fuse.branchfs",
    "umount.branchfs",
    "umount.fuse.branchfs",
];

/// Installs everything below `destdir`, for the time when it is at `/`.
pub fn install(binary: &Path, destdir: &Path, prefix: &Path) -> Done {
    let prefix = prefix.strip_prefix("/").unwrap_or(prefix);
    let at = destdir.join(prefix);
    put(binary, &at.join("bin/branchfs"), 0o755)?;
    let sbin = destdir.join("usr/sbin");
    fs::create_dir_all(&sbin)?;
    let program = Path::new("/").join(prefix).join("bin/branchfs");
    for name in MOUNT_NAMES {
        let link = sbin.join(name);
        if link.is_symlink() {
            fs::remove_file(&link)?;
        }
        symlink(&program, &link)?;
    }
    for page in files(&root().join("man"))? {
        let section = page.rsplit('.').next().unwrap_or_default();
        let to = at.join(format!("share/man/man{section}")).join(&page);
        put(&root().join("man").join(&page), &to, 0o644)?;
    }
    let contrib = root().join("contrib");
    // Debian's zsh looks in another directory for what packages bring.
    let zsh = match prefix == Path::new("usr") {
        true => "share/zsh/vendor-completions/_branchfs",
        false => "share/zsh/site-functions/_branchfs",
    };
    for (from, to) in [
        (
            "bash/branchfs",
            "share/bash-completion/completions/branchfs",
        ),
        ("zsh/_branchfs", zsh),
        (
            "fish/branchfs.fish",
            "share/fish/vendor_completions.d/branchfs.fish",
        ),
    ] {
        put(&contrib.join("completions").join(from), &at.join(to), 0o644)?;
    }
    let program = program.to_str().ok_or("the prefix is not UTF-8")?;
    for folder in ["system", "user"] {
        let from = contrib.join("systemd").join(folder);
        for unit in files(&from)? {
            let to = at.join("lib/systemd").join(folder).join(&unit);
            put(&from.join(&unit), &to, 0o644)?;
            let text = fs::read_to_string(&to)?;
            fs::write(&to, text.replace("/usr/bin/branchfs", program))?;
        }
    }
    let doc = at.join("share/doc/branchfs");
    for example in files(&contrib.join("systemd"))? {
        let from = contrib.join("systemd").join(&example);
        put(&from, &doc.join("examples").join(&example), 0o644)?;
    }
    put(&root().join("README.md"), &doc.join("README.md"), 0o644)?;
    put(&root().join("LICENSE"), &doc.join("copyright"), 0o644)
}

/// The names of the files in a directory.
fn files(dir: &Path) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Copies a file, in a way that replaces a program that runs.
fn put(from: &Path, to: &Path, mode: u32) -> Done {
    let dir = to.parent().ok_or("a file without a directory")?;
    fs::create_dir_all(dir)?;
    let new = dir.join(".branchfs-new");
    fs::copy(from, &new)
        .map_err(|e| format!("copy {} to {}: {e}", from.display(), to.display()))?;
    fs::set_permissions(&new, fs::Permissions::from_mode(mode))?;
    Ok(fs::rename(&new, to)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_where_a_system_looks_for_it() {
        let dir = tempfile::tempdir().expect("a directory");
        install(Path::new("/bin/true"), dir.path(), Path::new("/usr/local")).expect("install");
        for name in [
            "usr/local/bin/branchfs",
            "usr/local/share/man/man1/branchfs.1",
            "usr/local/share/man/man8/mount.branchfs.8",
            "usr/local/share/bash-completion/completions/branchfs",
            "usr/local/share/zsh/site-functions/_branchfs",
            "usr/local/lib/systemd/user/branchfs@.service",
        ] {
            assert!(dir.path().join(name).is_file(), "no {name}");
        }
        let link = fs::read_link(dir.path().join("usr/sbin/mount.branchfs")).expect("a link");
        assert_eq!(link, Path::new("/usr/local/bin/branchfs"));
        let unit = dir
            .path()
            .join("usr/local/lib/systemd/system/branchfs@.service");
        let unit = fs::read_to_string(unit).expect("a unit");
        assert!(unit.contains("ExecStart=/usr/local/bin/branchfs"), "{unit}");
        install(Path::new("/bin/true"), dir.path(), Path::new("/usr/local")).expect("again");
    }
}
