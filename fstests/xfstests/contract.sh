# What xfstests asks of a mount helper for `FSTYP=fuse FUSE_SUBTYP=.branchfs`, tried in the directory
# $1 with mount(8); the binary is $2.
. "$(dirname "$0")/../tap.sh"
set -u
home=$1
branchfs=$2
device=$home/device
dir=$home/dir
mkdir "$device" "$dir" && chmod 755 "$home" "$device" "$dir" || exit 1
echo base >"$device/file"
chmod 666 "$device/file"

field() {
    findmnt -rno "$1" --mountpoint "$dir"
}

has_option() {
    field OPTIONS | tr ',' '\n' | grep -qx -- "$1"
}

mounted() {
    [ -n "$(field TARGET)" ]
}

gone() {
    ! mounted
}

refuses() {
    ! "$@"
}

# Unmounted with umount(8), and the daemon's end awaited: it holds the store's lock until then.
unmount() {
    umount "$dir" && flock --wait 60 "$device/.branchfs/lock" true
}

check "mount -t fuse.branchfs DEVICE DIR" mount -t fuse.branchfs "$device" "$dir"
same "it returns when the mount answers" base "$(cat "$dir/file")"
same "the source is the device's string" "$device" "$(field SOURCE)"
same "the type has the subtype" fuse.branchfs "$(field FSTYPE)"
same "df names device and type" "$device fuse.branchfs" "$(df -T -P -a "$dir" | awk 'END { print $1, $2 }')"
same "/proc/mounts has one line of it" 1 "$(grep -c "^$device $dir fuse.branchfs " /proc/mounts)"
check "another user may use it" setpriv --reuid=1 --regid=1 --clear-groups cat "$dir/file"
check "it can be written" sh -c "echo first >'$dir/kept'"
check "a file with an owner is kept" chown 1:1 "$dir/kept"
check "umount DIR" unmount
check "the mount is gone" gone
check "mount again" mount -t fuse.branchfs "$device" "$dir"
same "what was written is there after unmount and mount" first "$(cat "$dir/kept")"
same "and its owner" 1:1 "$(stat -c %u:%g "$dir/kept")"
check "remount,ro" mount -o remount,ro "$dir"
check "it is read-only after remount,ro" refuses touch "$dir/no"
check "the mount says ro" has_option ro
check "remount,rw" mount -o remount,rw "$dir"
check "it is writable after remount,rw" touch "$dir/yes"
check "umount, and the daemon ends" unmount
check "mount -o ro" mount -t fuse.branchfs -o ro "$device" "$dir"
check "the mount with ro says so" has_option ro
check "a mount with ro refuses a write" refuses touch "$dir/no"
same "a mount with ro can be read" first "$(cat "$dir/kept")"
check "umount of a mount with ro" unmount
options=nosuid,nodev,noexec,noatime
check "mount -o $options" mount -t fuse.branchfs -o "$options,allow_other" "$device" "$dir"
for option in nosuid nodev noexec noatime allow_other; do
    check "the mount says $option" has_option "$option"
done
check "umount" unmount
check "mount -o suid,dev" mount -t fuse.branchfs -o suid,dev "$device" "$dir"
check "suid is in force" refuses has_option nosuid
check "dev is in force" refuses has_option nodev
mknod "$dir/null" c 1 3
check "a device works" sh -c "echo x >'$dir/null'"
check "umount with a device" unmount
check "an unknown option is refused" refuses mount -t fuse.branchfs -o nonsense "$device" "$dir"
check "nothing is mounted then" gone
check "a device that is missing is refused" refuses mount -t fuse.branchfs "$home/none" "$dir"
check "mount.fuse.branchfs -f mounts nothing" mount.fuse.branchfs "$device" "$dir" -f
check "nothing is mounted after -f" gone
check "fsck of the store" "$branchfs" fsck "$device/.branchfs"
