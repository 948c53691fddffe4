//! What branchfs aims at: ratios of its median to another system's, and differences, by row.

use super::system::Kind;

/// (rows that begin with this, the system that is the measure, the ratio that branchfs may have).
const TARGETS: &[(&str, Kind, f64)] = &[
    ("fork (ops)", Kind::Overlayfs, 1.0),
    ("fork (floor", Kind::Floor, 1.25),
    ("commit of one small file", Kind::Plain, 1.5),
    ("commit of 10,000", Kind::Plain, 0.5),
    ("stat", Kind::Overlayfs, 1.0),
    ("open+read+close", Kind::Overlayfs, 1.0),
    ("find, warm", Kind::Overlayfs, 1.0),
    ("grep -r, warm", Kind::Overlayfs, 1.0),
    ("cat every file, warm", Kind::Overlayfs, 1.0),
    ("git status", Kind::Overlayfs, 1.0),
    ("build", Kind::Overlayfs, 1.03),
    ("create+write+close", Kind::Floor, 1.25),
    ("create+write+close", Kind::FuseOverlayfs, 0.35),
    ("create+write+close", Kind::Overlayfs, 3.0),
    ("unlink", Kind::Floor, 1.25),
    ("unlink", Kind::FuseOverlayfs, 0.35),
    ("unlink", Kind::Overlayfs, 3.0),
    ("mkdir", Kind::Floor, 1.25),
    ("mkdir", Kind::FuseOverlayfs, 0.35),
    ("mkdir", Kind::Overlayfs, 3.0),
    ("rename", Kind::Floor, 1.25),
    ("rename", Kind::FuseOverlayfs, 0.35),
    ("rename", Kind::Overlayfs, 3.0),
    ("untar", Kind::Floor, 1.25),
    ("untar", Kind::FuseOverlayfs, 0.35),
    ("untar", Kind::Overlayfs, 3.0),
    ("rm -r", Kind::Floor, 1.25),
    ("rm -r", Kind::FuseOverlayfs, 0.35),
    ("rm -r", Kind::Overlayfs, 3.0),
    ("sequential read, cold", Kind::Plain, 1.25),
    ("sequential read, warm", Kind::Plain, 1.05),
    ("sequential write", Kind::Overlayfs, 1.43),
    ("random write 4 KB", Kind::Floor, 1.2),
    (
        "first open and write of a large file",
        Kind::Overlayfs,
        0.005,
    ),
];

/// The same of a branch with a mount option.
const OF_VARIANTS: &[(&str, Kind, Kind, f64)] =
    &[("random write 4 KB", Kind::Writeback, Kind::Overlayfs, 1.5)];

/// (rows that begin with this, how much more than the plain file system branchfs may take, in the
/// row's unit).
const BEYOND_PLAIN: &[(&str, f64)] = &[
    ("run -- true, isolated", 15.0),
    ("run -- true, not isolated", 5.0),
];

/// For each target of the row, the aim and whether it is reached.
pub fn verdicts(row: &str, of: impl Fn(Kind) -> Option<f64>) -> Vec<String> {
    let own = TARGETS
        .iter()
        .map(|&(prefix, other, aim)| (prefix, Kind::Branchfs, other, aim))
        .chain(OF_VARIANTS.iter().copied())
        .filter(|(prefix, ..)| row.starts_with(prefix) && !row.ends_with("p99"));
    let verdict = |(_, own, other, aim): (&str, Kind, Kind, f64)| {
        let ratio = of(own)? / of(other)?;
        let word = if ratio <= aim { "yes" } else { "no" };
        let with = own
            .option()
            .map_or(String::new(), |name| format!("{name} "));
        Some(format!("{with}{aim} {}: {word} ({ratio:.2})", other.name()))
    };
    let beyond = BEYOND_PLAIN
        .iter()
        .filter(|(prefix, _)| row.starts_with(prefix));
    let difference = |&(_, aim): &(&str, f64)| {
        let more = of(Kind::Branchfs)? - of(Kind::Plain)?;
        let word = if more <= aim { "yes" } else { "no" };
        Some(format!("{aim} more than plain: {word} ({more:.2})"))
    };
    own.filter_map(verdict)
        .chain(beyond.filter_map(difference))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_reached_or_not() {
        let of = |kind| match kind {
            Kind::Branchfs => Some(2.0),
            Kind::Floor => Some(1.0),
            Kind::Overlayfs => Some(1.5),
            _ => None,
        };
        let said = verdicts("unlink", of);
        assert_eq!(said, ["1.25 floor: no (2.00)", "3 overlayfs: yes (1.33)"]);
        assert!(verdicts("unlink, p99", of).is_empty());
        let of = |kind| Some(if kind == Kind::Plain { 1.0 } else { 7.0 });
        let said = verdicts("run -- true, not isolated", of);
        assert_eq!(said, ["5 more than plain: no (6.00)"]);
    }
}
