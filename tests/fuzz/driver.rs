//! Runs cases of a target in a process of their own, and says which seed was running when it ended.
//!
//! The process has a limit on its memory and a disk of its own, in memory and of limited size, so
//! that a case which takes without bound fails instead of the machine. A panic on any thread ends
//! it; a case that takes longer than [`CASE_SECONDS`] is a hang. Each case follows from one number.
//!
//! Without variables it runs the same cases every time. `FUZZ_SECONDS` goes on with fresh seeds for
//! that long, `FUZZ_SEED` repeats one case: `cargo xtask fuzz` sets them.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, mount};
use rustix::process::{Resource, Rlimit, setrlimit};

/// How long one case may take: what takes this long does not end.
const CASE_SECONDS: u64 = 30;
/// The address space of the process: many times what any case needs.
const MEMORY_BYTES: u64 = 3 << 30;
/// The size of its disk.
const DISK: &std::ffi::CStr = c"size=512m,mode=755";
/// Says that this process is the one that runs the cases, and where it notes its progress.
const CHILD: &str = "FUZZ_CHILD";

/// Runs the case of a seed in an empty directory.
pub type Cases = Box<dyn FnMut(u64, &Path)>;

/// A way to break something.
pub struct Target {
    /// The test that runs it.
    pub name: &'static str,
    /// Cases in an ordinary run: a few seconds.
    pub cases: u64,
    /// Makes what all cases share in an empty directory, and returns what runs one case in
    /// another.
    pub prepare: fn(&Path) -> Cases,
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let parsed = text.parse();
    Some(parsed.unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// Runs a target, as the test of its name.
pub fn run(target: &Target) {
    match std::env::var_os(CHILD) {
        Some(progress) => run_cases(target, Path::new(&progress)),
        None => supervise(target),
    }
}

/// Runs the cases in this process.
fn run_cases(target: &Target, progress: &Path) {
    let progress = File::options()
        .write(true)
        .open(progress)
        .expect("the progress");
    let disk = own_disk();
    let limit = Rlimit {
        current: Some(MEMORY_BYTES),
        maximum: Some(MEMORY_BYTES),
    };
    setrlimit(Resource::As, limit).expect("limit the memory");
    let usual = std::panic::take_hook();
    // A panic of a thread that nobody waits for counts too.
    std::panic::set_hook(Box::new(move |info| {
        usual(info);
        std::process::exit(101);
    }));
    let corpus = disk.join("corpus");
    fs::create_dir(&corpus).expect("mkdir");
    let mut case = (target.prepare)(&corpus);
    let note = |done: u64, seed: u64| {
        let mut text = [0; 16];
        text[..8].copy_from_slice(&done.to_le_bytes());
        text[8..].copy_from_slice(&seed.to_le_bytes());
        progress.write_all_at(&text, 0).expect("note the progress");
    };
    let start = Instant::now();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let fresh = now.expect("it is after 1970").as_micros() as u64;
    let (first, count, seconds) = match (number("FUZZ_SEED"), number("FUZZ_SECONDS")) {
        (Some(seed), _) => (seed, 1, None),
        (None, Some(seconds)) => (fresh, u64::MAX, Some(seconds)),
        (None, None) => (1, target.cases, None),
    };
    let mut done = 0;
    while done < count && seconds.is_none_or(|s| start.elapsed() < Duration::from_secs(s)) {
        note(done, first + done);
        let dir = disk.join("case");
        fs::create_dir(&dir).expect("mkdir");
        case(first + done, &dir);
        fs::remove_dir_all(&dir).expect("remove what a case left");
        done += 1;
    }
    note(done, 0);
}

/// A disk that nobody else sees and that goes with this process.
fn own_disk() -> PathBuf {
    let at = PathBuf::from("/var/tmp");
    mount("none", &at, "tmpfs", MountFlags::empty(), DISK)
        .expect("mount a tmpfs over /var/tmp for this process: the tests run as root");
    at
}

/// Starts a process that runs the cases, and watches it.
fn supervise(target: &Target) {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test needs root: run `sudo -E cargo xtask test`"
    );
    let directory = tempfile::tempdir().expect("a temporary directory");
    let progress = directory.path().join("progress");
    fs::write(&progress, [0; 16]).expect("make the progress");
    let mut said = tempfile::tempfile().expect("a temporary file");
    let program = std::env::current_exe().expect("this program");
    let mut child = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--"])
        .arg(program)
        .args(["--exact", target.name, "--nocapture", "--test-threads", "1"])
        .env(CHILD, &progress)
        // Each thread's own heap takes 128 MiB of addresses.
        .env("MALLOC_ARENA_MAX", "2")
        .env("RUST_BACKTRACE", "1")
        .stdin(Stdio::null())
        .stdout(said.try_clone().expect("dup"))
        .stderr(said.try_clone().expect("dup"))
        .spawn()
        .expect("start unshare");
    let now = || -> (u64, u64) {
        let bytes = fs::read(&progress).expect("read the progress");
        let at = |from: usize| u64::from_le_bytes(bytes[from..from + 8].try_into().expect("8"));
        (at(0), at(8))
    };
    let (mut last, mut since) = (now(), Instant::now());
    let ended = loop {
        if let Some(status) = child.try_wait().expect("wait for the cases") {
            break Some(status);
        }
        if now() != last {
            (last, since) = (now(), Instant::now());
        }
        if since.elapsed() > Duration::from_secs(CASE_SECONDS) {
            child.kill().expect("end the cases");
            child.wait().expect("wait for the cases");
            break None;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let (done, seed) = now();
    let how = match ended {
        Some(status) if status.success() => {
            println!(
                "{}: {done} inputs, no panic, no hang, no unbounded memory",
                target.name
            );
            return;
        }
        Some(status) => match status.signal() {
            Some(signal) => format!("ended by signal {signal}"),
            None => "a panic, or no memory".to_owned(),
        },
        None => format!("no end after {CASE_SECONDS} s"),
    };
    let mut text = String::new();
    std::io::Seek::rewind(&mut said).expect("rewind");
    said.read_to_string(&mut text).expect("read what it said");
    panic!(
        "{how}: cargo xtask fuzz {} --seed {seed}\n{text}",
        target.name
    );
}
