//! SQLite: several writers at once, with a rollback journal and with a write-ahead log.

use super::in_a_nested_branch;
use crate::harness::process::sh;
use crate::harness::{Branch, Tree};

const WRITERS: usize = 4;
const ROUNDS: usize = 15;

fn database(base: &Tree) {
    let make = "for mode in delete truncate persist wal; do
            sqlite3 $mode.db \"pragma journal_mode=$mode; create table t(writer, round);
                insert into t values(-1, -1);\" >/dev/null
        done";
    sh(base.root(), make, &[""; 0]).ok();
}

fn query(tree: &Tree, mode: &str, sql: &str) -> String {
    let done = sh(tree.root(), "sqlite3 \"$1.db\" \"$2\"", &[mode, sql]);
    done.ok().out
}

/// Every writer counts up in transactions of its own, each a process.
fn write_at_once(branch: &Branch, mode: &str) {
    let writer = format!(
        "for round in $(seq {ROUNDS}); do
            sqlite3 -cmd '.timeout 60000' $1.db 'begin immediate;
                insert into t select '$2', 1 + count(*) from t where writer = '$2'; commit;'
        done"
    );
    std::thread::scope(|scope| {
        for number in 0..WRITERS {
            let (branch, writer, mode) = (&branch, &writer, mode.to_owned());
            scope.spawn(move || {
                sh(branch.root(), writer, &[mode, number.to_string()]).ok();
            });
        }
    });
}

#[test]
fn sqlite_writers_at_once_lose_nothing_in_every_journal_mode() {
    let count = format!("{}\n", WRITERS * ROUNDS + 1);
    let distinct = "select count(distinct writer || ' ' || round) from t";
    in_a_nested_branch(
        database,
        |branch| {
            for mode in ["delete", "truncate", "persist", "wal"] {
                write_at_once(branch, mode);
                assert_eq!(query(branch, mode, distinct), count, "{mode}");
                assert_eq!(query(branch, mode, "pragma integrity_check"), "ok\n");
            }
            assert_eq!(query(branch, "wal", "pragma journal_mode"), "wal\n");
        },
        |base| {
            for mode in ["delete", "truncate", "persist", "wal"] {
                assert_eq!(query(base, mode, distinct), count, "{mode}");
                assert_eq!(query(base, mode, "pragma integrity_check"), "ok\n");
            }
        },
    );
}
