# SQLite at work in the directory $1: writers side by side in each journal mode, then its own checks
# (`PRAGMA integrity_check`) and the count of what was acknowledged.
. "$(dirname "$0")/tap.sh"
set -u
rows=$2
cd "$1" || exit 1

# Writer $2 adds its rows to the database $1, a transaction each; prints how many were acknowledged.
write() {
    done=0
    row=0
    while [ "$row" -lt "$rows" ]; do
        row=$((row + 1))
        sqlite3 -cmd ".timeout 60000" "$1" \
            "BEGIN IMMEDIATE; INSERT INTO t VALUES($2, $row, randomblob(300)); COMMIT;" && done=$((done + 1))
    done
    echo "$done"
}

for mode in delete truncate persist wal; do
    db=$mode.db
    sqlite3 "$db" "PRAGMA journal_mode=$mode; CREATE TABLE t(writer, row, data, PRIMARY KEY(writer, row));" >/dev/null
    for writer in 1 2 3 4; do
        write "$db" "$writer" >"$mode.$writer" 2>"$mode.$writer.said" &
    done
    # Readers see a whole number of transactions, and never fewer than before.
    seen=0
    grown=yes
    for read in 1 2 3 4 5 6 7 8; do
        now=$(sqlite3 -cmd ".timeout 60000" "$db" "SELECT count(*) FROM t")
        [ "$now" -ge "$seen" ] || grown=no
        seen=$now
    done
    wait
    same "$mode: what a reader sees only grows" yes "$grown"
    acknowledged=$(cat "$mode".[1-4] | awk '{ sum += $1 } END { print sum }')
    same "$mode: every writer's rows were acknowledged" $((4 * rows)) "$acknowledged"
    same "$mode: every acknowledged row is there" "$acknowledged" "$(sqlite3 "$db" "SELECT count(*) FROM t")"
    same "$mode: integrity_check" ok "$(sqlite3 "$db" "PRAGMA integrity_check")"
    check "$mode: vacuum" sqlite3 "$db" "VACUUM"
    same "$mode: integrity_check after vacuum" ok "$(sqlite3 "$db" "PRAGMA integrity_check")"
    check "$mode: backup" sqlite3 "$db" ".backup '$mode.copy'"
    same "$mode: the backup holds the same" "$(sqlite3 "$db" .dump | cksum)" "$(sqlite3 "$mode.copy" .dump | cksum)"
done
