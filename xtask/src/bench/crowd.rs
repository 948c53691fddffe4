//! Many branches building at once: the time per build against how many there are.
//!
//! A worktree builds as the plain file system does, and what the floor holds is in memory, so
//! neither is here.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::plot::Series;
use super::system::{Kind, System};
use super::{Context, Res, builds};

/// 1 to 32 builds of a small C program at once, each in a workspace of its own.
pub fn run(context: &Context, kinds: &[Kind]) -> Res<Series> {
    let mut series = Series::new("crowd", "builds at once", "ms per build");
    let tree = context.backing().join("crowd-tree");
    builds::make_program(&tree, context.pick(8, 2))?;
    let measured = kinds
        .iter()
        .copied()
        .filter(|kind| !kind.works_like_plain() && *kind != Kind::Floor)
        .filter(|kind| kind.option().is_none());
    for kind in measured {
        let mut system = match System::start(context, kind, &tree, "crowd") {
            Ok(system) => system,
            Err(error) => {
                eprintln!("crowd: not measured: {}: {error}", kind.name());
                continue;
            }
        };
        for number in context.pick(&[1, 2, 4, 8, 16, 32][..], &[1, 4]) {
            let number = *number;
            eprintln!("crowd: {number} builds on {}", kind.name());
            let forks: Res<Vec<_>> = (0..number).map(|_| system.fork()).collect();
            let workspaces: Vec<_> = forks?.into_iter().map(|(path, _)| path).collect();
            let start = Instant::now();
            let mut running = Vec::new();
            for workspace in &workspaces {
                let mut make = Command::new("make");
                make.args(["--silent", "-C"]).arg(workspace);
                running.push(make.stdin(Stdio::null()).spawn()?);
            }
            for mut build in running {
                if !build.wait()?.success() {
                    return Err(format!("a build on {} failed", kind.name()).into());
                }
            }
            let took = start.elapsed().as_secs_f64() * 1e3;
            series.add(kind.name(), number as f64, took / number as f64);
            for workspace in &workspaces {
                system.end(workspace)?;
            }
        }
        system.stop()?;
    }
    fs::remove_dir_all(tree)?;
    Ok(series)
}
