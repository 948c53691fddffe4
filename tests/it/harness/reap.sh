# Waits until its standard input is closed, which happens however the process that started it ends.
# Then ends what still runs in the directory $1, unmounts whatever is mounted below it, and removes it.
cat >/dev/null
root=$1

end_processes() {
    for process in /proc/[0-9]*; do
        case $(readlink "$process/cwd" 2>/dev/null) in
            "$root"/*) kill -9 "${process#/proc/}" 2>/dev/null; continue ;;
        esac
        if tr '\0' '\n' <"$process/cmdline" 2>/dev/null | grep -qF "$root/"; then
            kill -9 "${process#/proc/}" 2>/dev/null
        fi
    done
}

[ -d "$root" ] || exit 0
end_processes
for attempt in 1 2 3 4 5 6 7 8; do
    targets=$(awk -v r="$root/" 'index($5, r) == 1 { print $5 }' /proc/self/mountinfo | sort -r)
    [ -n "$targets" ] || break
    printf '%s\n' "$targets" | while IFS= read -r target; do
        target=$(printf '%b' "$(printf '%s' "$target" | sed 's/\\\([0-7][0-7][0-7]\)/\\0\1/g')")
        umount -l "$target" 2>/dev/null || fusermount3 -uz "$target" 2>/dev/null
    done
done
end_processes
chmod -R u+rwx "$root" 2>/dev/null
rm -rf --one-file-system "$root"
