//! The files of control groups, in a directory that imitates them.

use super::*;

fn tree() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[track_caller]
fn check(dir: &Path, file: &str, expect: &str) {
    assert_eq!(
        fs::read_to_string(dir.join(file)).unwrap(),
        expect,
        "{file}"
    );
}

fn limits() -> Limits {
    Limits {
        memory_bytes: Some(512 << 20),
        memory_high_bytes: Some(256 << 20),
        cpus: Some(0.5),
        oom_group: true,
    }
}

#[test]
fn version_2_hands_on_the_controllers_and_limits_each_trial() {
    let root = tree();
    let hierarchies = Hierarchies {
        v2: vec![root.path().to_owned()],
        ..Hierarchies::default()
    };
    let all = Limits {
        memory_bytes: Some(1 << 30),
        ..Limits::default()
    };
    let group = Group::create(&hierarchies, "run", &all, &limits()).unwrap();
    check(&root.path().join("run"), "memory.max", "1073741824");
    // The last write stands in the imitation; the kernel adds each.
    check(root.path(), "cgroup.subtree_control", "+cpu");
    check(&root.path().join("run"), "cgroup.subtree_control", "+cpu");
    let trial = group.trial("0", &limits()).unwrap();
    let dir = root.path().join("run/0");
    assert_eq!(trial.procs(), [dir.join("cgroup.procs")]);
    check(&dir, "memory.max", "536870912");
    check(&dir, "memory.high", "268435456");
    check(&dir, "memory.swap.max", "0");
    check(&dir, "memory.oom.group", "1");
    check(&dir, "cpu.max", "50000 100000");
    assert!(trial.kills_whole_group());
}

#[test]
fn controllers_that_are_handed_on_already_are_left_alone() {
    let root = tree();
    fs::write(
        root.path().join("cgroup.subtree_control"),
        "cpu memory pids\n",
    )
    .unwrap();
    v2::create(root.path(), "run", true, true).unwrap();
    check(root.path(), "cgroup.subtree_control", "cpu memory pids\n");
}

#[test]
fn version_2_says_what_was_used() {
    let dir = tree();
    fs::write(dir.path().join("memory.peak"), "1234\n").unwrap();
    fs::write(
        dir.path().join("memory.events"),
        "low 0\noom 3\noom_kill 2\n",
    )
    .unwrap();
    fs::write(
        dir.path().join("cpu.stat"),
        "nr_periods 9\nnr_throttled 7\n",
    )
    .unwrap();
    let used = v2::used(dir.path());
    assert_eq!(
        used,
        Used {
            peak_bytes: Some(1234),
            oom_kills: 2,
            throttled: 7
        }
    );
    assert_eq!(v2::used(&dir.path().join("gone")), Used::default());
}

#[test]
fn version_1_is_used_where_version_2_has_no_place() {
    let root = tree();
    let hierarchies = Hierarchies {
        v2: vec![root.path().join("missing")],
        v1: v1::Dirs {
            memory: Some(root.path().join("memory")),
            cpu: Some(root.path().join("cpu")),
        },
    };
    fs::create_dir(root.path().join("memory")).unwrap();
    fs::create_dir(root.path().join("cpu")).unwrap();
    let group = Group::create(&hierarchies, "run", &Limits::default(), &limits()).unwrap();
    let trial = group.trial("0", &limits()).unwrap();
    check(
        &root.path().join("memory/run/0"),
        "memory.limit_in_bytes",
        "536870912",
    );
    check(&root.path().join("cpu/run/0"), "cpu.cfs_quota_us", "50000");
    assert_eq!(trial.procs().len(), 2);
    assert!(!trial.kills_whole_group());
}

#[test]
fn where_there_are_no_groups_the_error_says_what_was_tried() {
    let root = tree();
    let hierarchies = Hierarchies {
        v2: vec![root.path().join("missing")],
        ..Hierarchies::default()
    };
    let error = Group::create(&hierarchies, "run", &Limits::default(), &limits()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("missing") && text.contains("memory controller"),
        "{text}"
    );
}

#[test]
fn a_delegated_group_is_found_from_the_inside_out() {
    let mountinfo = "31 24 0:27 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    let found = Hierarchies::parse(mountinfo, "0::/user.slice/user-1000.slice/run.scope\n");
    let dirs: Vec<String> = found
        .v2
        .iter()
        .map(|dir| dir.display().to_string())
        .collect();
    assert_eq!(
        dirs,
        [
            "/sys/fs/cgroup/user.slice/user-1000.slice/run.scope",
            "/sys/fs/cgroup/user.slice/user-1000.slice",
            "/sys/fs/cgroup/user.slice",
            "/sys/fs/cgroup",
        ]
    );
}

#[test]
fn controllers_of_version_1_are_found_where_they_are_mounted() {
    let mountinfo = "\
        30 29 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
        31 29 0:27 /jail /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        32 29 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
    let found = Hierarchies::parse(mountinfo, "5:memory:/jail/own\n4:cpu,cpuacct:/\n0::/\n");
    assert_eq!(found.v1.memory, Some("/sys/fs/cgroup/memory/own".into()));
    assert_eq!(found.v1.cpu, Some("/sys/fs/cgroup/cpu".into()));
    assert_eq!(found.v2, [PathBuf::from("/sys/fs/cgroup/unified")]);
}
