//! What `branchfs run -- true` takes beyond `true`: with a user, mount and pid namespace around it
//! and without. Of branchfs alone, on a small repository.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::figures::Figures;
use super::system::Kind;
use super::{Context, Res};
use crate::mounted::Mounted;
use crate::scale::base::fill;

/// The rows, and what `run` is given in each.
const ROWS: [(&str, &str); 2] = [
    ("run -- true, isolated", "--isolate"),
    ("run -- true, not isolated", "--no-isolate"),
];

/// Adds the figures: `true` itself as the plain file system's. The three take turns.
pub fn run(context: &Context, figures: &mut Figures) -> Res<()> {
    let base = context.backing().join("overhead");
    fs::create_dir(&base)?;
    fill(&base, 100, b"content\n")?;
    let mounted = Mounted::mount(context.binary(), &base)?;
    for _ in 0..context.pick(200, 20) {
        for (row, isolation) in ROWS {
            let plain = ms(Command::new("true"), mounted.root())?;
            figures.add(Kind::Plain, row, "ms", plain);
            let mut run = Command::new(context.binary());
            run.args(["run", isolation, "--", "true"]);
            let took = ms(run, mounted.root())?;
            figures.add(Kind::Branchfs, row, "ms", took);
        }
    }
    mounted.unmount()?;
    Ok(fs::remove_dir_all(base)?)
}

/// How long a command takes, in milliseconds.
fn ms(mut command: Command, dir: &Path) -> Res<f64> {
    command.current_dir(dir).stdin(Stdio::null());
    let start = Instant::now();
    let status = command.status()?;
    let took = start.elapsed();
    match status.success() {
        true => Ok(took.as_secs_f64() * 1e3),
        false => Err(format!("{command:?}: {status}").into()),
    }
}
