//! What each mount option means, in words: the manual's and the README's.
//!
//! Beside [`MountOptions`](super::MountOptions), which reads them; a test holds the two together.

/// A mount option for people.
#[derive(Clone, Copy, Debug)]
pub struct OptionText {
    /// How it is written.
    pub name: &'static str,
    /// What it takes after `=`, if anything.
    pub value: Option<&'static str>,
    /// What it does, in sentences.
    pub text: &'static str,
}

const fn flag(name: &'static str, text: &'static str) -> OptionText {
    OptionText {
        name,
        value: None,
        text,
    }
}

const fn valued(name: &'static str, value: &'static str, text: &'static str) -> OptionText {
    OptionText {
        name,
        value: Some(value),
        text,
    }
}

/// The options of a branchfs mount, beside those that every file system has.
pub const OPTION_TEXTS: &[OptionText] = &[
    valued(
        "policy",
        "first-winner|merge",
        "What a commit into main does to the other children of main. With first-winner, the \
         default of a new store, those that were forked before it are lost. With merge they go \
         on, and a commit is refused only where main changed the same path. The store remembers \
         the last policy that was given. A remount can change it.",
    ),
    valued(
        "publish",
        "sync|async|manual",
        "When main's changes reach the base. With sync, the default, a commit into main returns \
         after its changes are in the base. With async they go there soon after, with manual when \
         somebody says so. An unmount publishes in any case.",
    ),
    valued(
        "trash",
        "TIME",
        "How long aborted and lost branches can be restored: a number with s, m, h, d or w. The \
         default is 24h; 0 keeps none.",
    ),
    valued(
        "max_bytes",
        "SIZE",
        "How much all branches may hold on disk together, those in the trash included; K, M, G and \
         T are powers of 1024. Beyond it a write fails with ENOSPC, and the oldest branch in the \
         trash makes room. A commit and a publish need no room. There is no limit by default.",
    ),
    valued(
        "max_branches",
        "COUNT",
        "How many live branches there may be, main not counted. Beyond it a fork or restore fails \
         with EDQUOT. There is no limit by default.",
    ),
    valued(
        "max_depth",
        "COUNT",
        "How deep branches may nest, from 1 (children of main alone) to 100. Beyond it a fork or \
         restore fails with EDQUOT. The default is 50.",
    ),
    valued(
        "store",
        "DIR",
        "Where branches are kept, instead of .branchfs in the base. It must be on the base's file \
         system.",
    ),
    flag("show_ctl", "List the reserved files in directory listings."),
    flag(
        "allow_other",
        "Let other users use the mount. A mount that root makes always does; without root it needs \
         user_allow_other in /etc/fuse.conf.",
    ),
    flag(
        "noxattr",
        "Serve no extended attributes and no ACLs: the kernel then asks for none.",
    ),
    flag(
        "writeback",
        "Let writes wait in the kernel's page cache, for databases and whatever else writes many \
         small pieces: write(2) then takes about as long as on a disk file system. A file's writes \
         reach the branch at fsync(2), at close(2), before every fork, commit and publish, and \
         when the kernel has time. What waits is lost if the daemon is killed, as it is elsewhere \
         if the machine crashes. That there is no space, or that a limit is reached, is told by \
         fsync(2) or close(2) instead of write(2). Opening a file costs a request. Only for a \
         mount in place.",
    ),
    flag(
        "ro",
        "Refuse every change, and change nothing in the store or the base either. A remount with \
         rw does not undo it, unless ro was given at a remount.",
    ),
    flag(
        "rescue",
        "Mount a store that is damaged, which is refused otherwise, and show what it still holds: \
         every record of it that checks by itself. Implies ro, and changes nothing in the store or \
         the base. What is lost and what is left out with it, the log says; copy what is needed to \
         another place.",
    ),
    flag(
        "remount",
        "Change the options of a mount that is there: ro, rw, the ones that every file system has, \
         and policy. Another option that is not as before is an error that names it.",
    ),
];

#[cfg(test)]
mod tests {
    use super::super::MountOptions;
    use super::*;

    #[test]
    fn every_option_that_is_described_is_read() {
        for OptionText { name, value, .. } in OPTION_TEXTS {
            let given = match value {
                None => (*name).to_owned(),
                Some("TIME") => format!("{name}=7d"),
                Some("SIZE") => format!("{name}=10G"),
                Some("COUNT") => format!("{name}=7"),
                Some("DIR") => format!("{name}=/somewhere"),
                Some(words) => format!("{name}={}", words.split('|').next_back().unwrap()),
            };
            let mut options = MountOptions::default();
            options.apply(given.as_ref()).unwrap();
            assert_ne!(options, MountOptions::default(), "{given} changes nothing");
        }
    }
}
