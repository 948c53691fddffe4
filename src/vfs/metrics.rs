//! What a mount counts: requests by operation, their errors and latencies, and notifications.
//!
//! Filled by `fuse/`, read by the control files; names no crate. Counters are relaxed atomics: each
//! is exact, a set of them read together is not one moment.

use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::in_flight::InFlight;

/// Latency classes: class `i` holds what took less than `2^(i + 10)` ns (1 us, 2 us, ... 8.6 s);
/// the last holds the rest.
pub const LATENCY_CLASSES: usize = 25;

macro_rules! ops {
    ($($op:ident $name:literal,)*) => {
        /// A request of the kernel, or a notification to it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs)]
        pub enum Op { $($op),* }

        impl Op {
            /// Every operation, in the order of their numbers.
            pub const ALL: &'static [Op] = &[$(Op::$op),*];

            /// The name that the metrics show.
            pub fn name(self) -> &'static str {
                match self { $(Op::$op => $name),* }
            }
        }
    };
}

ops! {
    Lookup "lookup",
    Forget "forget",
    Getattr "getattr",
    Setattr "setattr",
    Readlink "readlink",
    Mknod "mknod",
    Mkdir "mkdir",
    Unlink "unlink",
    Rmdir "rmdir",
    Symlink "symlink",
    Rename "rename",
    Link "link",
    Open "open",
    Create "create",
    Read "read",
    Write "write",
    Flush "flush",
    Release "release",
    Fsync "fsync",
    Opendir "opendir",
    Readdir "readdir",
    Readdirplus "readdirplus",
    Releasedir "releasedir",
    Fsyncdir "fsyncdir",
    Statfs "statfs",
    Setxattr "setxattr",
    Getxattr "getxattr",
    Listxattr "listxattr",
    Removexattr "removexattr",
    Access "access",
    Ioctl "ioctl",
    Poll "poll",
    Bmap "bmap",
    Fallocate "fallocate",
    Lseek "lseek",
    CopyFileRange "copy_file_range",
    InvalEntry "inval_entry",
    InvalInode "inval_inode",
    NewEpoch "new_epoch",
    Store "store",
}

/// The counters of one operation.
#[derive(Default)]
struct Counters {
    errors: AtomicU64,
    nanos: AtomicU64,
    classes: [AtomicU64; LATENCY_CLASSES],
}

/// The counters of one operation, as they were when read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// How often it was answered.
    pub count: u64,
    /// How often with an errno.
    pub errors: u64,
    /// The time that all of them took.
    pub total: Duration,
    /// How many fell in each class of latency, see [`LATENCY_CLASSES`].
    pub classes: [u64; LATENCY_CLASSES],
}

/// The counters of a mount.
pub struct Metrics {
    ops: Box<[Counters]>,
    in_flight: InFlight,
    late: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            ops: Op::ALL.iter().map(|_| Counters::default()).collect(),
            in_flight: InFlight::default(),
            late: AtomicU64::new(0),
        }
    }
}

impl Metrics {
    /// Counts one `op` that took `took`, and whether it failed.
    pub fn record(&self, op: Op, took: Duration, failed: bool) {
        let counters = &self.ops[op as usize];
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        counters.classes[class(nanos)].fetch_add(1, Relaxed);
        counters.nanos.fetch_add(nanos, Relaxed);
        if failed {
            counters.errors.fetch_add(1, Relaxed);
        }
    }

    /// What is being answered now.
    pub fn in_flight(&self) -> &InFlight {
        &self.in_flight
    }

    /// From now on so many requests are late.
    pub fn set_late(&self, count: u64) {
        self.late.store(count, Relaxed);
    }

    /// How often `op` was answered.
    pub fn count(&self, op: Op) -> u64 {
        self.ops[op as usize]
            .classes
            .iter()
            .map(|c| c.load(Relaxed))
            .sum()
    }

    /// How many requests were answered; notifications are not requests.
    pub fn requests(&self) -> u64 {
        let notifications = [Op::InvalEntry, Op::InvalInode, Op::NewEpoch, Op::Store];
        Op::ALL
            .iter()
            .filter(|op| !notifications.contains(op))
            .map(|&op| self.count(op))
            .sum()
    }

    /// Everything that is known of `op`.
    pub fn get(&self, op: Op) -> Counts {
        let counters = &self.ops[op as usize];
        let mut classes = [0; LATENCY_CLASSES];
        for (class, counter) in classes.iter_mut().zip(&counters.classes) {
            *class = counter.load(Relaxed);
        }
        Counts {
            count: classes.iter().sum(),
            errors: counters.errors.load(Relaxed),
            total: Duration::from_nanos(counters.nanos.load(Relaxed)),
            classes,
        }
    }

    /// Appends the counters of every operation that occurred in Prometheus's text format.
    pub fn write_prometheus(&self, out: &mut String) -> fmt::Result {
        let seen: Vec<(Op, Counts)> = (Op::ALL.iter().map(|&op| (op, self.get(op))))
            .filter(|(_, counts)| counts.count > 0)
            .collect();
        writeln!(
            out,
            "# HELP branchfs_request_errors_total Requests answered with an errno."
        )?;
        writeln!(out, "# TYPE branchfs_request_errors_total counter")?;
        for (op, counts) in &seen {
            let (op, errors) = (op.name(), counts.errors);
            writeln!(out, "branchfs_request_errors_total{{op=\"{op}\"}} {errors}")?;
        }
        writeln!(
            out,
            "# HELP branchfs_request_seconds Time from request to answer."
        )?;
        writeln!(out, "# TYPE branchfs_request_seconds histogram")?;
        for (op, counts) in &seen {
            write_histogram(out, op.name(), counts)?;
        }
        writeln!(
            out,
            "# HELP branchfs_requests_late Requests and jobs that have taken very long so far."
        )?;
        writeln!(out, "# TYPE branchfs_requests_late gauge")?;
        writeln!(out, "branchfs_requests_late {}", self.late.load(Relaxed))?;
        Ok(())
    }
}

fn write_histogram(out: &mut String, op: &str, counts: &Counts) -> fmt::Result {
    let name = "branchfs_request_seconds";
    let mut sum = 0;
    for (i, n) in counts.classes[..LATENCY_CLASSES - 1].iter().enumerate() {
        sum += n;
        let bound = Duration::from_nanos(1 << (i + 10)).as_secs_f64();
        writeln!(out, "{name}_bucket{{op=\"{op}\",le=\"{bound}\"}} {sum}")?;
    }
    writeln!(
        out,
        "{name}_bucket{{op=\"{op}\",le=\"+Inf\"}} {}",
        counts.count
    )?;
    writeln!(
        out,
        "{name}_sum{{op=\"{op}\"}} {}",
        counts.total.as_secs_f64()
    )?;
    writeln!(out, "{name}_count{{op=\"{op}\"}} {}", counts.count)
}

/// The class of a latency.
fn class(nanos: u64) -> usize {
    let bits = (u64::BITS - nanos.leading_zeros()) as usize;
    bits.saturating_sub(10).min(LATENCY_CLASSES - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_falls_below_the_bound_of_its_class() {
        for (nanos, expect) in [(0, 0), (1023, 0), (1024, 1), (2047, 1), (2048, 2)] {
            assert_eq!(class(nanos), expect, "{nanos} ns");
        }
        assert_eq!(class(u64::MAX), LATENCY_CLASSES - 1);
    }

    #[test]
    fn prometheus_text_counts_requests_and_errors() {
        let metrics = Metrics::default();
        metrics.record(Op::Read, Duration::from_nanos(100), false);
        metrics.record(Op::Read, Duration::from_micros(3), true);
        metrics.record(Op::InvalEntry, Duration::from_micros(3), false);
        assert_eq!((metrics.count(Op::Read), metrics.requests()), (2, 2));
        let mut text = String::new();
        metrics.write_prometheus(&mut text).unwrap();
        for line in [
            "branchfs_request_errors_total{op=\"read\"} 1",
            "branchfs_request_seconds_bucket{op=\"read\",le=\"0.000001024\"} 1",
            "branchfs_request_seconds_bucket{op=\"read\",le=\"0.000004096\"} 2",
            "branchfs_request_seconds_count{op=\"read\"} 2",
        ] {
            assert!(
                text.lines().any(|l| l == line),
                "no line {line:?} in\n{text}"
            );
        }
        assert!(
            !text.contains("write"),
            "an operation that never occurred shows:\n{text}"
        );
    }
}
