//! What lies in `contrib/` does what it says.

use std::path::PathBuf;

use super::{branches, small_base};
use crate::harness::Workspace;
use crate::harness::process::{run, sh};

fn contrib(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("contrib")
        .join(path)
}

#[track_caller]
fn check(program: &str, script: &str) {
    let ws = Workspace::with_base(small_base);
    let root = ws.mountpoint().to_str().expect("ASCII").to_owned();
    let script = contrib(script).to_str().expect("ASCII").to_owned();
    let race = |fixes: &[&str]| {
        let args = [&[script.as_str(), &root, "grep -q fixed file"], fixes].concat();
        run(std::path::Path::new("/"), program, &args)
    };
    let done = race(&["exit 1", "echo nothing > file", "echo fixed > file"]).ok();
    assert_eq!(done.out, "3\n", "{}", done.err);
    ws.main().check("file", b"fixed\n");
    assert!(branches(&ws).is_empty());
    assert_eq!(race(&["exit 1", "echo broken > file"]).code, 1);
    assert!(branches(&ws).is_empty());
    ws.main().check("file", b"fixed\n");
}

#[test]
fn a_race_in_plain_sh() {
    check("sh", "examples/race.sh");
}

#[test]
fn a_race_in_python() {
    check("python3", "examples/race.py");
}

#[test]
fn a_race_in_javascript() {
    check("node", "examples/race.mjs");
}

#[test]
fn the_shell_functions_show_the_branch_and_change_to_it() {
    let ws = Workspace::with_base(|base| drop(base.mkdir("deep")));
    ws.fork("a").fork("b").remove_all("deep");
    let script =
        "source \"$1\"; cd deep; [ -z \"$(branchfs_ps1)\" ]; bcd a; pwd; branchfs_ps1; echo
        bcd a/b; pwd; branchfs_ps1; echo; bcd -c c; bbranch; bcd; pwd; cd /; ! bcd a";
    let done = sh(ws.mountpoint(), script, &[contrib("shell/branchfs.sh")]).ok();
    let root = ws.mountpoint().display();
    assert_eq!(
        done.out,
        format!(
            "{root}/@branches/a/deep\n (a)\n{root}/@branches/a/@branches/b\n (a/b)\n\
             main/c\n{root}\n"
        )
    );
}
