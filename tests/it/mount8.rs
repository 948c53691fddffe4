//! mount(8), umount(8) and fstab(5): what an administrator types works as for any file system.
//!
//! Each test is a script in a mount namespace of its own, in which `/sbin` has the four names of
//! the binary that mount(8) and umount(8) look for there, and nothing of the machine is changed.

use crate::harness::process::{Done, finish, limited};
use crate::harness::{Tree, Workspace, requirements, run_dir};

/// umount(8) asks for a helper only where its own table (utab) has the mount, which it does for an
/// `x-…`, `user` or `_netdev` option, or where `-c` tells it not to look, as systemd does.
///
/// `$base` and `$mnt` are a base and an empty directory; `fails WORDS... -- COMMAND` wants exit
/// code 32 and a message with each word in it; `fstab` replaces the table.
const PRELUDE: &str = r#"
base=$1 mnt=$2 branchfs=$3 work=$4
mkdir "$work/sbin"
mount -t tmpfs none "$work/sbin"
mkdir "$work/sbin/upper" "$work/sbin/work"
mount -t overlay -o "lowerdir=$(realpath /sbin),upperdir=$work/sbin/upper,workdir=$work/sbin/work" \
    overlay "$(realpath /sbin)"
for name in mount.branchfs mount.fuse.branchfs umount.branchfs umount.fuse.branchfs; do
    ln -s "$branchfs" "/sbin/$name"
done
fstab() {
    cat >"$work/fstab"
    [ -e /etc/fstab ] || touch /etc/fstab
    mount --bind "$work/fstab" /etc/fstab
}
option() { findmnt -no OPTIONS --mountpoint "$1" | tr , '\n' | grep -qx "$2"; }
is() { [ "$1" = "$2" ] || { echo "$1 is not $2" >&2; exit 1; }; }
fails() {
    local words=() said code=0
    while [ "$1" != -- ]; do words+=("$1"); shift; done
    shift
    said=$("$@" 2>&1) || code=$?
    is "$code" 32
    for word in "${words[@]}"; do
        [[ $said == *"$word"* ]] || { echo "no '$word' in: $said" >&2; exit 1; }
    done
}
"#;

/// Runs `script` after [`PRELUDE`]; its exit code has to be 0.
#[track_caller]
fn administer(ws: &Workspace, script: &str) -> Done {
    requirements::root();
    let scratch = ws.scratch();
    let mut command = limited("unshare");
    command.args(["--mount", "--propagation", "private", "bash", "-euc"]);
    command.arg(format!("{PRELUDE}{script}")).arg("bash");
    command
        .arg(ws.base())
        .arg(scratch.mkdir("mnt").root())
        .arg(run_dir::binary())
        .arg(scratch.mkdir("work").root())
        .current_dir("/");
    finish(command).ok()
}

fn workspace() -> Workspace {
    let fill = |base: &Tree| base.write("file", b"base");
    Workspace::build().base(fill).unmounted()
}

#[test]
fn mount_and_umount_work_by_type_and_wait_for_the_daemon() {
    let script = r#"
    mount -t branchfs "$base" "$mnt" -o policy=merge,noatime,nofail,_netdev,x-systemd.automount
    is "$(findmnt -no SOURCE,FSTYPE --mountpoint "$mnt")" "$base fuse.branchfs"
    option "$mnt" noatime
    is "$(df --output=source,target "$mnt" | tail -n1 | tr -s ' ')" "$base $mnt"
    grep -qx 'policy merge' "$mnt/.ctl"
    echo changed >"$mnt/file"
    pid=$(sed -n 's/^pid //p' "$mnt/@self/config")
    umount "$mnt"
    ! mountpoint -q "$mnt"
    is "$(cat "$base/file")" changed
    case $(ps -o stat= -p "$pid") in ''|Z*) ;; *) echo "the daemon goes on" >&2; exit 1 ;; esac
    mount -t fuse.branchfs "$base" "$mnt"
    grep -qx 'policy merge' "$mnt/.ctl"
    umount -l "$mnt"
    "#;
    administer(&workspace(), script);
}

#[test]
fn fstab_lines_are_mounted_in_place_and_elsewhere() {
    let ws = workspace();
    let other = ws.scratch().mkdir("other");
    other.write("file", b"other");
    let script = r#"
    other=$(dirname "$work")/other
    fstab <<END
$base   $base  branchfs  nofail,trash=7d,x-systemd.requires-mounts-for=$base  0  0
$other  $mnt   branchfs  noauto,user,policy=merge                             0  0
END
    mount -a
    mount -a
    is "$(findmnt -rno TARGET -t fuse.branchfs | grep -cFx "$base")" 1
    grep -qx 'trash 604800s' "$base/@self/config"
    ! mountpoint -q "$mnt"
    mount -o remount,ro "$base"
    option "$base" ro
    mkdir "$base/@branches/b" && exit 1
    mount -o remount,rw "$base"
    mkdir "$base/@branches/b"
    umount "$base"
    chmod 755 "$(dirname "$work")" && chown -R 65534 "$other" "$mnt"
    setpriv --reuid=65534 --regid=65534 --clear-groups mount "$mnt"
    for flag in nosuid nodev noexec user_id=65534; do option "$mnt" $flag; done
    is "$(setpriv --reuid=65534 --regid=65534 --clear-groups cat "$mnt/file")" other
    setpriv --reuid=65534 --regid=65534 --clear-groups umount "$mnt"
    ! mountpoint -q "$mnt"
    "#;
    administer(&ws, script);
}

#[test]
fn a_remount_changes_what_it_can_and_names_what_it_cannot() {
    let script = r#"
    mount -t branchfs "$base" "$mnt" -o noatime,nodev
    mount -o remount,ro,policy=merge "$mnt"
    for flag in ro noatime nodev; do option "$mnt" $flag; done
    mount -o remount,rw "$mnt"
    for flag in rw noatime nodev; do option "$mnt" $flag; done
    grep -qx 'policy merge' "$mnt/.ctl"
    mount -o remount,policy=first-winner,relatime,trash=24h,store="$base/.branchfs" "$mnt"
    option "$mnt" relatime
    grep -qx 'policy first-winner' "$mnt/.ctl"
    fails trash remount -- mount -o remount,trash=1h "$mnt"
    fails store remount -- mount -o remount,store="$work" "$mnt"
    fails nonsense -- mount -o remount,nonsense "$mnt"
    umount "$mnt"
    mount -t branchfs "$base" "$mnt" -o ro
    fails rw remount -- mount -o remount,rw "$mnt"
    option "$mnt" ro
    umount "$mnt"
    fails "$mnt" 'not a branchfs mount' -- /sbin/mount.branchfs "$base" "$mnt" -o remount,ro
    "#;
    administer(&workspace(), script);
}

#[test]
fn an_unknown_option_is_named_unless_the_mount_is_sloppy() {
    let script = r#"
    fails nonsense -- mount -t branchfs "$base" "$mnt" -o nofail,nonsense
    fails 'trash="soon"' -- mount -s -t branchfs "$base" "$mnt" -o trash=soon
    fails nonsense -- mount -f -t branchfs "$base" "$mnt" -o nonsense
    mount -f -t branchfs "$base" "$mnt" -o merge 2>/dev/null && exit 1
    ! mountpoint -q "$mnt"
    mount -s -t branchfs "$base" "$mnt" -o nonsense 2>"$work/said"
    grep -q nonsense "$work/said"
    umount "$mnt"
    code=0; /sbin/mount.branchfs "$base" 2>/dev/null || code=$?
    is $code 1
    code=0; /sbin/umount.branchfs 2>/dev/null || code=$?
    is $code 1
    "#;
    administer(&workspace(), script);
}

#[test]
fn umount_names_who_is_busy_and_its_flags_do_what_they_say() {
    let script = r#"
    mount -t branchfs "$base" "$mnt"
    exec 7<"$mnt/file"
    fails busy "pid $$" -- umount -c "$mnt"
    umount -c -r "$mnt"
    option "$mnt" ro
    exec 7<&-
    umount "$mnt"
    mount -t branchfs "$base" "$mnt"
    exec 7<"$mnt/file"
    umount -l "$mnt"
    ! mountpoint -q "$mnt"
    is "$(cat <&7)" base
    exec 7<&-
    mount -t branchfs "$base" "$mnt"
    exec 7<"$mnt/file"
    umount -c -f "$mnt"
    ! mountpoint -q "$mnt"
    fails "$mnt" 'not a branchfs mount' -- /sbin/umount.branchfs "$mnt"
    "#;
    administer(&workspace(), script);
}

#[test]
fn a_mount_waits_for_the_daemon_that_an_unmount_has_left_behind() {
    let script = r#"
    for round in 1 2 3 4 5; do
        mount -t branchfs "$base" "$mnt"
        for n in {1..200}; do echo $round >"$mnt/$n"; done
        umount -i "$mnt"
    done
    mount -t branchfs "$base" "$mnt"
    is "$(cat "$mnt/200")" 5
    exec 7<"$mnt/file"
    fails 'in use by process' -- mount -t branchfs "$base" "$work"
    exec 7<&-
    umount "$mnt"
    "#;
    administer(&workspace(), script);
}

#[test]
fn umount_goes_on_where_main_cannot_be_published_and_says_so() {
    let script = r#"
    mount -t branchfs "$base" "$mnt" -o publish=manual
    echo ours >"$mnt/file"
    echo theirs >"$base/file"
    umount -c "$mnt" 2>"$work/said"
    grep -q file "$work/said"
    ! mountpoint -q "$mnt"
    is "$(cat "$base/file")" theirs
    mount -t branchfs "$base" "$mnt" -o publish=manual
    is "$(cat "$mnt/file")" ours
    umount "$mnt" 2>/dev/null
    "#;
    administer(&workspace(), script);
}

#[test]
fn the_helpers_work_in_another_mount_namespace() {
    let script = r#"
    unshare --mount --propagation private sleep 60 & sleeper=$!
    while [ "$(readlink /proc/$sleeper/ns/mnt)" = "$(readlink /proc/self/ns/mnt)" ]; do :; done
    while ! grep -qz sleep "/proc/$sleeper/cmdline"; do :; done
    mount -N $sleeper -t branchfs "$base" "$mnt"
    ! mountpoint -q "$mnt"
    is "$(nsenter -t $sleeper -m findmnt -no FSTYPE --mountpoint "$mnt")" fuse.branchfs
    umount -N $sleeper "$mnt"
    ! nsenter -t $sleeper -m mountpoint -q "$mnt"
    kill $sleeper
    "#;
    administer(&workspace(), script);
}

#[test]
fn a_policy_given_at_a_later_mount_counts() {
    let ws = Workspace::build().mount();
    assert_eq!(ws.main().status()["policy"], "first-winner");
    ws.unmount();
    let base = ws.base().to_str().expect("a path in ASCII");
    ws.branchfs(&["mount", base, "-o", "policy=merge"]).ok();
    assert_eq!(ws.main().status()["policy"], "merge");
    let config = ws.main().about("config");
    assert!(config.lines().any(|l| l == "policy merge"), "{config}");
    ws.remount();
    assert_eq!(ws.main().status()["policy"], "merge", "it was not kept");
}
