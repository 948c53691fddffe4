//! What lies in `contrib/` does what it says.

use std::path::PathBuf;

use super::{branches, small_base};
use crate::harness::Workspace;
use crate::harness::process::run;

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

/// Goes from branch to branch with the functions in `file`; a main branch has no prompt.
#[track_caller]
fn check_shell(shell: &[&str], prompt: &str, file: &str) {
    let ws = Workspace::with_base(|base| drop(base.mkdir("deep")));
    ws.fork("a").fork("b").remove_all("deep");
    let script = format!(
        "cd deep; {prompt}; bcd a; pwd; {prompt}; echo
        bcd a/b; pwd; {prompt}; echo; bcd -c c; bbranch; bcd; pwd; cd /; bcd a"
    );
    let file = contrib(file).display().to_string();
    let (program, options) = shell.split_first().expect("a shell");
    let source = format!("source '{file}'; {script}");
    let done = run(
        ws.mountpoint(),
        program,
        &[options, &["-c", &source]].concat(),
    );
    let root = ws.mountpoint().display();
    assert_eq!(
        done.out,
        format!(
            "{root}/@branches/a/deep\n (a)\n{root}/@branches/a/@branches/b\n (a/b)\n\
             main/c\n{root}\n"
        ),
        "{}",
        done.err
    );
    assert_eq!(done.err, "bcd: not in a branchfs workspace\n");
    assert_ne!(done.code, 0);
}

#[test]
fn the_functions_for_bash_show_the_branch_and_change_to_it() {
    check_shell(&["bash", "--norc"], "branchfs_ps1", "shell/branchfs.sh");
}

#[test]
fn the_functions_for_zsh_show_the_branch_and_change_to_it() {
    check_shell(&["zsh", "-f"], "branchfs_ps1", "shell/branchfs.sh");
}

#[test]
fn the_functions_for_fish_show_the_branch_and_change_to_it() {
    check_shell(
        &["fish", "--no-config"],
        "branchfs_prompt",
        "shell/branchfs.fish",
    );
}
