//! Bases with many files, and how the time of one operation is taken.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// Files in one directory.
const PER_DIRECTORY: u64 = 500;

/// Makes `count` small files below `dir`, in directories of 500, with several threads.
pub fn fill(dir: &Path, count: u64, content: &[u8]) -> io::Result<()> {
    let directories = count.div_ceil(PER_DIRECTORY);
    let threads = 4;
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || -> io::Result<()> {
                    for number in (thread..directories).step_by(threads as usize) {
                        let path = dir.join(format!("d{number}"));
                        fs::create_dir(&path)?;
                        let first = number * PER_DIRECTORY;
                        for file in first..count.min(first + PER_DIRECTORY) {
                            fs::write(path.join(format!("f{file}")), content)?;
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        let join = |worker: std::thread::ScopedJoinHandle<'_, io::Result<()>>| {
            worker
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
        };
        workers.into_iter().try_for_each(join)
    })
}

/// Makes the kernel forget every file that nobody has open.
pub fn drop_caches() -> Result<(), Box<dyn std::error::Error>> {
    fs::write("/proc/sys/vm/drop_caches", "2")
        .map_err(|error| format!("dropping the kernel's caches needs root: {error}").into())
}

/// How long one call takes.
pub fn time<T>(call: impl FnOnce() -> io::Result<T>) -> io::Result<(T, Duration)> {
    let start = Instant::now();
    let value = call()?;
    Ok((value, start.elapsed()))
}

/// The median of some times, in milliseconds.
pub fn median_ms(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_has_as_many_files_as_asked_for() {
        let dir = tempfile::tempdir().expect("a directory");
        fill(dir.path(), 1201, b"x").expect("fill it");
        let directories: Vec<_> = fs::read_dir(dir.path()).expect("list").collect();
        assert_eq!(directories.len(), 3);
        let files: usize = directories
            .into_iter()
            .map(|d| {
                fs::read_dir(d.expect("an entry").path())
                    .expect("list")
                    .count()
            })
            .sum();
        assert_eq!(files, 1201);
    }

    #[test]
    fn the_median_ignores_one_slow_call() {
        let times = [1, 1000, 2, 3, 2].map(Duration::from_millis).to_vec();
        assert_eq!(median_ms(times), 2.0);
    }
}
