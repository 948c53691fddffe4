//! What `-o` says: the options of a mount, typed.
//!
//! One list of names, separated by commas; a backslash takes the next byte as it is, so a path may
//! hold commas. What only mount(8), fstab(5) or systemd cares for is accepted and ignored. Anything
//! else that is not known is an error that names it, so a misspelt option never silently does
//! nothing.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

use rustix::mount::MountFlags;
use thiserror::Error;

use crate::branch::{MAX_DEPTH, Maxima};
use crate::proto::parse_size;

/// When a commit is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The first branch to commit wins; its siblings are lost.
    FirstWinner,
    /// Siblings survive a commit; only changes to the same path conflict.
    Merge,
}

/// When main's changes are moved into the base.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Publish {
    /// At every commit into main, before it returns.
    #[default]
    Sync,
    /// Soon after a commit into main.
    Async,
    /// When told to, and at unmount.
    Manual,
}

/// A flag of mount(2) that an option sets or clears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MountFlag {
    name: &'static str,
    flag: MountFlags,
    set: bool,
}

/// The options of a mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountOptions {
    /// `policy=first-winner|merge`: what happens to the siblings of a branch that commits; as it
    /// was before (first-winner in a new store) if `None`.
    pub policy: Option<Policy>,
    /// `publish=sync|async|manual`: when main's changes reach the base.
    pub publish: Publish,
    /// `trash=24h`: how long lost and aborted branches can be restored; a number with `s`, `m`,
    /// `h`, `d` or `w`, and 0 keeps none.
    pub trash: Duration,
    /// `max_bytes=10G`, `max_branches=1000`, `max_depth=50`: what all branches may be together.
    pub maxima: Maxima,
    /// `show_ctl`: the reserved files are listed.
    pub show_ctl: bool,
    /// `noxattr`: extended attributes and access control lists are neither shown nor taken, which
    /// saves a request for each file that is made or listed by `ls -l`.
    pub no_xattr: bool,
    /// `writeback`: writes wait in the kernel's page cache until they are asked for by fsync(2), a
    /// close, a fork or a commit, or the kernel has time.
    pub writeback: bool,
    /// `rescue`: show what a damaged store still holds; a mount with it is always read-only.
    pub rescue: bool,
    /// `store=DIR`: where the branches are kept, instead of `.branchfs` in the base.
    pub store: Option<PathBuf>,
    /// `allow_other`: users other than the one who mounts may use the mount (always, for root).
    pub allow_other: bool,
    /// `ro`: nothing can be changed through the mount.
    pub read_only: bool,
    /// `remount`: change the options of a mount that is there.
    pub remount: bool,
    /// `nosuid`, `suid`, `nodev`, `noexec`, `noatime` and the like, in the order given.
    pub flags: Vec<MountFlag>,
}

impl Default for MountOptions {
    fn default() -> MountOptions {
        MountOptions {
            policy: None,
            publish: Publish::default(),
            trash: Duration::from_secs(24 * 60 * 60),
            maxima: Maxima::default(),
            show_ctl: false,
            no_xattr: false,
            writeback: false,
            rescue: false,
            store: None,
            allow_other: false,
            read_only: false,
            remount: false,
            flags: Vec::new(),
        }
    }
}

/// What is wrong with a list of options.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum OptionError {
    /// There is no such option.
    #[error("unknown mount option {name:?}")]
    Unknown {
        /// What was given.
        name: OsString,
    },
    /// An option that takes a value got none, or one that it does not take.
    #[error("mount option {name}={value:?}: expected {expected}")]
    Value {
        /// Which option.
        name: &'static str,
        /// What was given.
        value: OsString,
        /// What it takes.
        expected: &'static str,
    },
}

/// Options of mount(8), fstab(5) and systemd.mount(5) that say nothing to a file system. The last
/// line is how every mount of ours is, and what mount.fuse adds of its own.
const IGNORED: &[&str] = &[
    "rw",
    "defaults",
    "auto",
    "noauto",
    "nofail",
    "_netdev",
    "user",
    "nouser",
    "users",
    "nousers",
    "owner",
    "noowner",
    "group",
    "nogroup",
    "async",
    "silent",
    "loud",
    "mand",
    "nomand",
    "iversion",
    "noiversion",
    "default_permissions",
    "nonempty",
    "big_writes",
];

/// Options with a value that say nothing to a file system. The last three are what the mount table
/// shows of a FUSE mount, which mount(8) hands back at a remount.
const IGNORED_WITH_VALUE: &[&str] = &[
    "user", "comment", "helper", "uhelper", "user_id", "group_id", "rootmode",
];

/// Flags that are how fusermount3 mounts in any case, by names that it does not know.
const UNKNOWN_TO_FUSERMOUNT: &[&str] = &["relatime", "atime", "diratime"];

/// Option, flag of mount(2), and whether it sets the flag or clears it.
const FLAGS: &[(&str, MountFlags, bool)] = &[
    ("nosuid", MountFlags::NOSUID, true),
    ("suid", MountFlags::NOSUID, false),
    ("nodev", MountFlags::NODEV, true),
    ("dev", MountFlags::NODEV, false),
    ("noexec", MountFlags::NOEXEC, true),
    ("exec", MountFlags::NOEXEC, false),
    ("noatime", MountFlags::NOATIME, true),
    ("atime", MountFlags::NOATIME, false),
    ("nodiratime", MountFlags::NODIRATIME, true),
    ("diratime", MountFlags::NODIRATIME, false),
    ("relatime", MountFlags::RELATIME, true),
    ("norelatime", MountFlags::RELATIME, false),
    ("strictatime", MountFlags::STRICTATIME, true),
    ("nostrictatime", MountFlags::STRICTATIME, false),
    ("lazytime", MountFlags::LAZYTIME, true),
    ("nolazytime", MountFlags::LAZYTIME, false),
    ("nosymfollow", MountFlags::NOSYMFOLLOW, true),
    ("symfollow", MountFlags::NOSYMFOLLOW, false),
    ("sync", MountFlags::SYNCHRONOUS, true),
    ("dirsync", MountFlags::DIRSYNC, true),
];

impl MountOptions {
    /// Applies a list as `-o` gives it; a later option overrides an earlier one.
    pub fn apply(&mut self, list: &OsStr) -> Result<(), OptionError> {
        match self.apply_known(list)?.into_iter().next() {
            None => Ok(()),
            Some(name) => Err(OptionError::Unknown { name }),
        }
    }

    /// As [`MountOptions::apply`]; what it does not know it passes over, and returns.
    pub fn apply_known(&mut self, list: &OsStr) -> Result<Vec<OsString>, OptionError> {
        let mut unknown = Vec::new();
        for option in split(list.as_bytes()) {
            match self.apply_one(&option) {
                Err(OptionError::Unknown { name }) => unknown.push(name),
                other => other?,
            }
        }
        Ok(unknown)
    }

    fn apply_one(&mut self, option: &[u8]) -> Result<(), OptionError> {
        let (name, value) = match option.iter().position(|&b| b == b'=') {
            Some(at) => (&option[..at], Some(&option[at + 1..])),
            None => (option, None),
        };
        match (name, value.unwrap_or_default()) {
            (b"policy", b"first-winner") => self.policy = Some(Policy::FirstWinner),
            (b"policy", b"merge") => self.policy = Some(Policy::Merge),
            (b"policy", other) => return Err(bad("policy", other, "first-winner or merge")),
            (b"publish", b"sync") => self.publish = Publish::Sync,
            (b"publish", b"async") => self.publish = Publish::Async,
            (b"publish", b"manual") => self.publish = Publish::Manual,
            (b"publish", other) => return Err(bad("publish", other, "sync, async or manual")),
            (b"trash", text) => {
                let expected = "a time such as 90s, 30m, 24h or 7d";
                self.trash = duration(text).ok_or_else(|| bad("trash", text, expected))?;
            }
            (b"max_bytes", text) => {
                let expected = "a size in bytes such as 500M or 10G";
                let bytes = parse_size(text).map_err(|_| bad("max_bytes", text, expected))?;
                self.maxima.bytes = Some(bytes);
            }
            (b"max_branches", text) => {
                let expected = "a number of branches";
                let number = number(text).ok_or_else(|| bad("max_branches", text, expected))?;
                self.maxima.branches = Some(number);
            }
            (b"max_depth", text) => {
                let depth = number(text).and_then(|n| u32::try_from(n).ok());
                let depth = depth.filter(|depth| (1..=MAX_DEPTH).contains(depth));
                let expected = "a number from 1 to 100";
                self.maxima.depth = depth.ok_or_else(|| bad("max_depth", text, expected))?;
            }
            (b"store", b"") => return Err(bad("store", b"", "a directory")),
            (b"store", path) => self.store = Some(PathBuf::from(OsStr::from_bytes(path))),
            _ if value.is_some() => return ignored_with_value(option, name),
            (b"show_ctl", _) => self.show_ctl = true,
            (b"noxattr", _) => self.no_xattr = true,
            (b"writeback", _) => self.writeback = true,
            (b"rescue", _) => self.rescue = true,
            (b"allow_other", _) => self.allow_other = true,
            (b"ro", _) => self.read_only = true,
            (b"rw", _) => self.read_only = false,
            (b"remount", _) => self.remount = true,
            _ => return self.apply_flag(name),
        }
        Ok(())
    }

    fn apply_flag(&mut self, name: &[u8]) -> Result<(), OptionError> {
        if let Some(&(name, flag, set)) = FLAGS.iter().find(|(n, ..)| n.as_bytes() == name) {
            self.flags.push(MountFlag { name, flag, set });
            return Ok(());
        }
        let ignored = IGNORED.iter().any(|known| known.as_bytes() == name);
        if ignored || name.starts_with(b"x-") || name.starts_with(b"X-") {
            return Ok(());
        }
        Err(OptionError::Unknown {
            name: OsString::from_vec(name.to_vec()),
        })
    }

    /// The flags for mount(2), over those that are `inherited` from the file system below.
    pub(super) fn mount_flags(&self, inherited: MountFlags) -> MountFlags {
        let mut flags = inherited;
        for MountFlag { flag, set, .. } in &self.flags {
            flags.set(*flag, *set);
            if *set
                && MountFlags::RELATIME
                    .union(MountFlags::STRICTATIME)
                    .contains(*flag)
            {
                flags -= MountFlags::NOATIME;
            }
        }
        flags.set(MountFlags::RDONLY, self.read_only);
        flags
    }

    /// The names of the flags that were given, for fusermount3.
    pub(super) fn flag_names(&self) -> impl Iterator<Item = &'static str> {
        let names = self.flags.iter().map(|flag| flag.name);
        names.filter(|name| !UNKNOWN_TO_FUSERMOUNT.contains(name))
    }
}

/// `user=NAME`, `x-...=...` and the like are for others; any other `NAME=VALUE` is unknown.
fn ignored_with_value(option: &[u8], name: &[u8]) -> Result<(), OptionError> {
    let known = IGNORED_WITH_VALUE.iter().any(|n| n.as_bytes() == name);
    if known || name.starts_with(b"x-") || name.starts_with(b"X-") {
        return Ok(());
    }
    Err(OptionError::Unknown {
        name: OsString::from_vec(option.to_vec()),
    })
}

/// Decimal digits alone.
fn number(text: &[u8]) -> Option<u64> {
    let digits = text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text)
        .ok()
        .filter(|_| digits)?
        .parse()
        .ok()
}

fn bad(name: &'static str, value: &[u8], expected: &'static str) -> OptionError {
    OptionError::Value {
        name,
        value: OsString::from_vec(value.to_vec()),
        expected,
    }
}

/// The options of a list, without empty ones.
fn split(list: &[u8]) -> Vec<Vec<u8>> {
    let mut options = vec![Vec::new()];
    let mut bytes = list.iter();
    while let Some(&byte) = bytes.next() {
        let last = options
            .last_mut()
            .expect("it starts with one and never shrinks");
        match byte {
            b',' => options.push(Vec::new()),
            b'\\' => last.extend(bytes.next()),
            _ => last.push(byte),
        }
    }
    options.retain(|option| !option.is_empty());
    options
}

/// Makes `text` a value in a list of options, the opposite of [`split`].
pub(super) fn escape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for &byte in text {
        if matches!(byte, b',' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out
}

fn duration(text: &[u8]) -> Option<Duration> {
    let text = std::str::from_utf8(text).ok()?;
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds_per_unit = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        "w" => 7 * 24 * 60 * 60,
        "" if digits == "0" => 1,
        _ => return None,
    };
    Some(Duration::from_secs(
        digits.parse::<u64>().ok()?.checked_mul(seconds_per_unit)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(list: &str) -> Result<MountOptions, OptionError> {
        let mut options = MountOptions::default();
        options.apply(OsStr::new(list)).map(|()| options)
    }

    #[test]
    fn every_option_of_ours_is_read() {
        let list = [
            "policy=merge,publish=manual,trash=30m,show_ctl,noxattr,writeback",
            "max_bytes=2G,max_branches=9,max_depth=3",
            "store=/a\\,b,allow_other,ro,rescue,noexec",
        ]
        .join(",");
        let options = parse(&list).unwrap();
        let noexec = MountFlag {
            name: "noexec",
            flag: MountFlags::NOEXEC,
            set: true,
        };
        let expect = MountOptions {
            policy: Some(Policy::Merge),
            publish: Publish::Manual,
            trash: Duration::from_secs(1800),
            maxima: Maxima {
                bytes: Some(2 << 30),
                branches: Some(9),
                depth: 3,
            },
            show_ctl: true,
            no_xattr: true,
            writeback: true,
            rescue: true,
            store: Some("/a,b".into()),
            allow_other: true,
            read_only: true,
            remount: false,
            flags: vec![noexec],
        };
        assert_eq!(options, expect);
    }

    #[test]
    fn what_is_meant_for_others_is_ignored() {
        let list = "rw,,defaults,nofail,_netdev,user=me,x-systemd.requires-mounts-for=/b,comment=x";
        assert_eq!(parse(list).unwrap(), MountOptions::default());
    }

    #[test]
    fn an_option_that_is_unknown_or_badly_given_is_named() {
        for (list, expect) in [
            ("ro,shwo_ctl", "unknown mount option \"shwo_ctl\""),
            ("ro=1", "unknown mount option \"ro=1\""),
            (
                "policy=last",
                "mount option policy=\"last\": expected first-winner or merge",
            ),
            (
                "max_depth=101",
                "mount option max_depth=\"101\": expected a number from 1 to 100",
            ),
            (
                "max_branches=+1",
                "mount option max_branches=\"+1\": expected a number of branches",
            ),
            (
                "publish",
                "mount option publish=\"\": expected sync, async or manual",
            ),
            (
                "trash=24",
                "mount option trash=\"24\": expected a time such as 90s, 30m, 24h or 7d",
            ),
            ("store=", "mount option store=\"\": expected a directory"),
        ] {
            assert_eq!(parse(list).unwrap_err().to_string(), expect, "{list}");
        }
    }

    #[test]
    fn a_later_flag_overrides_an_earlier_one_and_what_is_inherited() {
        let flags = parse("nosuid,suid,nodev")
            .unwrap()
            .mount_flags(MountFlags::NOEXEC);
        assert_eq!(flags, MountFlags::NODEV | MountFlags::NOEXEC);
        let flags = parse("exec,ro")
            .unwrap()
            .mount_flags(MountFlags::NOEXEC | MountFlags::NODEV);
        assert_eq!(flags, MountFlags::NODEV | MountFlags::RDONLY);
    }

    #[test]
    fn escaping_is_undone_by_splitting() {
        let path = b"/a,b\\c,";
        assert_eq!(
            split(&[b"ro,".as_slice(), &escape(path)].concat()),
            [b"ro".to_vec(), path.to_vec()]
        );
    }
}
