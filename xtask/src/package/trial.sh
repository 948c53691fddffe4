# $1: an empty directory; $2: the .deb. Runs as root in mount and pid namespaces of its own.
root=$1/root
debootstrap --variant=minbase --include=fuse3,man-db,bash-completion,mount bookworm "$root" >"$1/log" 2>&1 ||
    { tail -n 20 "$1/log" >&2; exit 1; }
# Minimal images leave manuals out; a package that brings some is to show them.
rm -f "$root"/etc/dpkg/dpkg.cfg.d/*
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
cp "$2" "$root/branchfs.deb"
in_root() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin HOME=/root LC_ALL=C.UTF-8 bash -euc "$1"; }
everything() { (cd "$root" && find . -xdev \( -path ./proc -o -path ./dev -o -path ./var -o -path ./srv \
    -o -path ./tmp -o -path ./run \) -prune -o -print | LC_ALL=C sort); }
everything >"$1/before"

in_root '
    dpkg -i /branchfs.deb >/dev/null
    mkdir -p /srv/project; echo base >/srv/project/file
    echo "/srv/project /srv/project branchfs nofail,trash=7d 0 0" >>/etc/fstab
    mount -a
    [ "$(findmnt -no SOURCE,FSTYPE --mountpoint /srv/project)" = "/srv/project fuse.branchfs" ]
    cd /srv/project
    mkdir @branches/fix-a @branches/fix-b
    echo a >@branches/fix-a/file
    [ "$(cat file)" = base ]
    echo commit >@branches/fix-a/.ctl
    [ "$(cat file)" = a ]
    ! ls -d @branches/fix-b 2>/dev/null
    branchfs doctor /srv/project
    for page in branchfs branchfs-mount "5 branchfs-ctl" "8 mount.branchfs" "7 branchfs"; do
        man $page | grep -qi branchfs
    done
    mkdir @branches/fix-c
    . /usr/share/bash-completion/completions/branchfs
    COMP_WORDS=(branchfs abort fi) COMP_CWORD=2 COMP_TYPE=9
    _clap_complete_branchfs branchfs fi abort
    [ "${COMPREPLY[*]}" = "fix-c " ] || [ "${COMPREPLY[*]}" = fix-c ]
    cd /
    umount -c /srv/project
    [ "$(cat /srv/project/file)" = a ]
    sed -i /branchfs/d /etc/fstab
    dpkg --purge branchfs >/dev/null
    [ ! -e /usr/bin/branchfs ]
'
everything | diff "$1/before" -
umount -R "$root/dev"
umount "$root/proc"
