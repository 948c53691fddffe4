//! What an isolated trial sees: its branch where the workspace is, and no other.

use super::{branches, branchfs, fifo, hear, json, small_base, start};
use crate::harness::process::{finish, limited, sh};
use crate::harness::{Workspace, requirements, run_dir};

#[track_caller]
fn says(ws: &Workspace, args: &[&str], script: &str) -> String {
    let (code, told) = json(ws, "run", &[args, &["--", "sh", "-c", script]].concat());
    assert_eq!(code, 0, "{told}");
    told["result"]["stdout"].as_str().expect("text").to_owned()
}

#[test]
fn the_branch_is_the_workspace_and_no_other_view_is_in_reach() {
    let ws = Workspace::with_base(small_base);
    ws.fork("sibling").write("secret", b"of the sibling");
    let root = ws.mountpoint().display();
    let script = format!(
        "echo changed > {root}/file; ls {root}/@branches; cat {root}/@branches/sibling/secret
         ls -d {root}/../base/@branches/* 2>&1; ls /proc/*/cwd -d | wc -l"
    );
    let said = says(&ws, &["--isolate"], &format!("{script}; true"));
    assert!(!said.contains("sibling\n"), "{said}");
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

#[test]
fn an_ordinary_user_isolates_trials() {
    requirements::root();
    let ws = Workspace::build().base(small_base).unmounted();
    let base = ws.base().to_str().expect("ASCII");
    sh(
        std::path::Path::new("/"),
        "chown -R 65534:65534 \"$1\"",
        &[base],
    )
    .ok();
    // The trial sees its branch at the workspace's path, and no sibling; it cannot take that apart,
    // and its daemon ends with it.
    let trial = "setsid sleep 1000 & echo changed > \"$1/file\"; ls \"$1/@branches\"; id -u
        umount -l \"$1\" 2>&- || unshare -Urm umount -l \"$1\" 2>&- || echo kept";
    let script = format!(
        "\"$1\" mount \"$2\"; cd \"$2\"; mkdir @branches/sibling
        \"$1\" run --isolate -- sh -c '{trial}' sh \"$2\"
        cat file; ls @branches; cd /; \"$1\" umount \"$2\""
    );
    let mut command = limited("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.args(["bash", "-euc", &script, "bash"]);
    command.arg(run_dir::binary()).arg(base).current_dir("/");
    let done = finish(command).ok();
    assert_eq!(done.out, "65534\nkept\nchanged\n", "{}", done.err);
}

#[test]
fn where_user_namespaces_are_off_one_is_told_and_can_do_without() {
    requirements::root();
    let ws = Workspace::with_base(small_base);
    let (binary, root) = (run_dir::binary(), ws.mountpoint());
    let off = |args: &str| {
        let script = format!(
            "echo 0 > /proc/sys/user/max_user_namespaces; exec \"$1\" {args} -w \"$2\" -- \
             sh -c 'pwd'"
        );
        let mut command = limited("unshare");
        command.args(["--user", "--map-root-user", "sh", "-c", &script, "sh"]);
        command.arg(binary).arg(root).current_dir("/");
        finish(command)
    };
    let hint = "hint: allow user namespaces (sysctl user.max_user_namespaces";
    for args in ["run --isolate", "run --ro-root"] {
        let done = off(args);
        assert_eq!(done.code, 126, "{}", done.err);
        assert!(
            done.err.contains("cannot make user, mount and pid") && done.err.contains(hint),
            "{}",
            done.err
        );
    }
    let done = off("best-of-n -n 2 --isolate");
    assert!(done.code == 4 && done.err.contains(hint), "{}", done.err);
    // Where isolation is not asked for by name, one is told once that there is none.
    let done = off("run").ok();
    assert!(done.out.contains("/@branches/run-"), "{}", done.out);
    assert_eq!(done.err.matches("are not isolated here").count(), 1);
    assert_eq!(off("run --no-isolate").ok().err, "");
    assert!(branches(&ws).is_empty());
}

#[test]
fn what_is_unmounted_outside_is_not_held_by_a_trial() {
    requirements::root();
    let (ws, other) = (
        Workspace::with_base(small_base),
        Workspace::with_base(small_base),
    );
    let scratch = ws.scratch();
    let (ready, gate) = (fifo(&scratch, "ready"), fifo(&scratch, "gate"));
    let script = format!(
        "cat {0}/file > {1}; read x < {2}; cat {0}/file > {1}",
        other.mountpoint().display(),
        ready.display(),
        gate.display()
    );
    let mut trial = start(&ws, "run", &["--isolate", "--", "sh", "-c", &script]);
    assert_eq!(hear(&ready), "base");
    // Waits for the end of the daemon, which has one only once nobody has its mount any more.
    other.unmount();
    std::fs::write(&gate, "go\n").expect("open the gate");
    assert_eq!(hear(&ready), "base", "the base itself, by now");
    assert!(trial.wait().expect("wait").success());
}
