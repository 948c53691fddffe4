//! parallel: all or nothing, in the order given.

use serde_json::json as value;

use super::{branches, branchfs, json, small_base};
use crate::harness::Workspace;

#[test]
fn a_failure_leaves_the_parent_as_it_was() {
    let ws = Workspace::with_base(small_base);
    let before = ws.main().status();
    let args = [
        "-b",
        "good=echo x > a",
        "-b",
        "bad=echo oops >&2; exit 3",
        "-b",
        "slow=sleep 1000",
    ];
    let (code, told) = json(&ws, "parallel", &args);
    assert_eq!(code, 1, "{told}");
    assert_eq!(
        told["failures"],
        value!([{"branch": "bad", "category": "exit", "message": "exit code 3", "cause": "oops"}])
    );
    assert_eq!(
        (&told["committed"], &told["applied"]),
        (&false.into(), &value!([]))
    );
    assert!(!ws.main().exists("a") && branches(&ws).is_empty());
    assert_eq!(ws.main().status()["generation"], before["generation"]);
}

#[test]
fn what_succeeded_of_four_is_collected() {
    let ws = Workspace::with_base(small_base);
    let args = [
        "--policy",
        "collect",
        "-b",
        "a=echo 1 > a",
        "-b",
        "b=exit 2",
        "-b",
        "c=echo 3 > c; rm file",
        "-b",
        "d=mkdir d && echo 4 > d/d",
    ];
    let (code, told) = json(&ws, "parallel", &args);
    assert_eq!(
        (code, &told["applied"]),
        (0, &value!(["a", "c", "d"])),
        "{told}"
    );
    assert_eq!(told["failures"][0]["branch"], "b");
    assert_eq!(ws.main().names(""), ["a", "c", "d"]);
    ws.main().check("d/d", b"4\n");
    assert!(branches(&ws).is_empty());
}

#[test]
fn writers_of_one_path_are_folded_in_the_order_given() {
    let one = "one=echo one >> file; until [ -e $BRANCHFS_WORKSPACE/file ]; do :; done";
    let two = "two=echo two >> file; chmod 600 file";
    for (rule, expect) in [
        (&[][..], "base\ntwo\n"),
        (&["--fold", "append"], "base\none\ntwo\n"),
        (
            &["--merge", "cat \"$1\" \"$3\" > \"$2\""],
            "base\nbase\ntwo\n",
        ),
    ] {
        let ws = Workspace::with_base(small_base);
        let (code, told) = json(&ws, "parallel", &[rule, &["-b", one, "-b", two]].concat());
        assert_eq!(code, 0, "{told}");
        assert_eq!(ws.main().text("file"), expect, "{rule:?}");
    }
}

#[test]
fn a_merge_that_fails_lands_nothing() {
    let ws = Workspace::with_base(small_base);
    let args = [
        "--merge",
        "exit 1",
        "-b",
        "a=echo a > file",
        "-b",
        "b=echo b > file",
        "-b",
        "c=echo c > c",
    ];
    let done = branchfs(&ws, "parallel", &args);
    assert!(done.code == 1 && done.err.contains("file"), "{}", done.err);
    ws.main().check("file", b"base\n");
    assert!(!ws.main().exists("c") && branches(&ws).is_empty());
}

#[test]
fn paths_are_carried_in_and_out() {
    let ws = Workspace::with_base(small_base);
    let args = [
        "--input",
        "a:file=in/copy",
        "--output",
        "a:out=results/a",
        "-b",
        "a=mkdir out; tr a-z A-Z < in/copy > out/text; echo junk > junk",
        "-b",
        "b=echo b > b",
    ];
    let (code, told) = json(&ws, "parallel", &args);
    assert_eq!(code, 0, "{told}");
    ws.main().check("results/a/text", b"BASE\n");
    assert_eq!(ws.main().names(""), ["b", "file", "results"]);
}

#[test]
fn what_cannot_work_is_refused_before_there_is_a_branch() {
    let ws = Workspace::with_base(small_base);
    for args in [
        &["-b", "=true"][..],
        &["-b", "nothing"],
        &["-b", "a=true", "-b", "a=false"],
        &["-b", "a=true", "--input", "a:missing=x"],
        &["-b", "a=true", "--input", "b:file=x"],
        &["-b", "a=true", "--output", "a:../x=x"],
        &[],
    ] {
        let done = branchfs(&ws, "parallel", args);
        assert_eq!(done.code, 2, "{args:?}: {}", done.err);
    }
    assert!(!ws.main().about("events").contains("\"fork\""));
}

#[test]
fn a_retry_touches_no_other_branch() {
    let ws = Workspace::with_base(small_base);
    let args = [
        "--retries",
        "2",
        "-b",
        "a=echo $BRANCHING_ATTEMPT >> a",
        "-b",
        "b=echo $BRANCHING_ATTEMPT > b; [ $BRANCHING_ATTEMPT = 2 ]",
    ];
    let (code, told) = json(&ws, "parallel", &args);
    assert_eq!(code, 0, "{told}");
    ws.main().check("a", b"0\n");
    ws.main().check("b", b"2\n");
    assert_eq!(told["results"].as_array().expect("results").len(), 4);
}
