//! What an isolated trial sees: its branch where the workspace is, and no other.

use super::{branches, branchfs, json, small_base};
use crate::harness::{Workspace, requirements};

#[track_caller]
fn says(ws: &Workspace, args: &[&str], script: &str) -> String {
    let (code, told) = json(ws, "run", &[args, &["--", "sh", "-c", script]].concat());
    assert_eq!(code, 0, "{told}");
    told["result"]["stdout"].as_str().expect("text").to_owned()
}

#[test]
fn the_branch_is_the_workspace_and_no_other_view_is_in_reach() {
    let ws = Workspace::with_base(small_base);
    ws.fork("sibling").write("secret", b"x");
    let root = ws.mountpoint().display();
    let script = format!(
        "echo changed > {root}/file; ls {root}/@branches; cat {root}/@branches/sibling/secret
         ls -d {root}/../base/@branches/* 2>&1; ls /proc/*/cwd -d | wc -l"
    );
    let said = says(&ws, &["--isolate"], &format!("{script}; true"));
    assert!(!said.contains("sibling\n") && !said.contains('x'), "{said}");
    ws.main().check("file", b"changed\n");
}

#[test]
fn the_way_back_to_the_whole_workspace_is_closed() {
    requirements::root();
    let ws = Workspace::with_base(small_base);
    ws.fork("sibling");
    let root = ws.mountpoint().display();
    let script = format!(
        "umount -l {root} && echo unmounted
         unshare -m umount -l {root} && echo unmounted
         nsenter -t 1 -m ls {root}/@branches && echo entered
         ls /proc/1/root{root}/@branches | grep sibling && echo seen
         mount --move {root} /mnt && echo moved; true"
    );
    let said = says(&ws, &["--isolate"], &script);
    assert_eq!(said, "", "a trial got out");
}

#[test]
fn a_base_elsewhere_and_a_store_outside_are_out_of_reach() {
    let ws = Workspace::build()
        .base(small_base)
        .elsewhere()
        .store_outside()
        .mount();
    ws.fork("sibling").write("file", b"x");
    let (base, store) = (
        ws.base().display().to_string(),
        ws.store().display().to_string(),
    );
    let script = format!("echo y > {base}/file; ls -A {store}");
    let said = says(
        &ws,
        &["--isolate", "-b", "mine", "--on-success", "keep"],
        &script,
    );
    assert_eq!(said, "", "the store is seen");
    assert_eq!(
        std::fs::read(ws.base().join("file")).expect("read"),
        b"base\n"
    );
    ws.main().child("mine").check("file", b"y\n");
}

#[test]
fn a_trial_runs_trials_of_its_own() {
    let ws = Workspace::with_base(small_base);
    let binary = crate::harness::run_dir::binary().display().to_string();
    let script = format!(
        "{binary} speculate -c 'exit 1' -c 'echo inner > inner' && {binary} run -- \
         sh -c 'echo $BRANCHFS_BRANCH > who' && cat inner who"
    );
    let said = says(&ws, &["--isolate", "-b", "outer"], &script);
    assert!(said.contains("inner\nmain/outer/run-"), "{said}");
    ws.main().check("inner", b"inner\n");
    assert!(branches(&ws).is_empty());
}

#[test]
fn everything_else_can_be_read_only() {
    let ws = Workspace::with_base(small_base);
    let scratch = ws.scratch();
    let script = format!(
        "echo x > {0}/file 2>/dev/null && echo written
         echo x > new && echo t > /tmp/t && cat /tmp/t",
        scratch.root().display()
    );
    assert_eq!(says(&ws, &["--ro-root"], &script), "t\n");
    assert!(ws.main().exists("new") && !scratch.exists("file"));
}

#[test]
fn a_trial_without_network_has_a_loopback() {
    let ws = Workspace::with_base(small_base);
    let script = "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '
        python3 -c 'import socket; s = socket.create_server((\"127.0.0.1\", 0))
socket.create_connection(s.getsockname()); print(\"connected\")'";
    let said = says(&ws, &["--no-network"], script);
    assert!(said.ends_with("connected\n"), "{said}");
    assert!(!said.contains("eth"), "{said}");
}

#[test]
fn users_and_groups_keep_their_numbers() {
    requirements::root();
    let ws = Workspace::with_base(small_base);
    let done = branchfs(
        &ws,
        "run",
        &["--isolate", "--", "chown", "12345:23456", "file"],
    );
    done.ok();
    let stat = ws.main().stat("file");
    use std::os::unix::fs::MetadataExt;
    assert_eq!((stat.uid(), stat.gid()), (12345, 23456));
}
