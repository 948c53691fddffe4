//! tree-of-thoughts and beam-search: levels in nested branches.

use super::{branches, json, small_base};
use crate::harness::Workspace;

/// Adds a letter to the file; the score is given.
fn step(letter: &str, score: &str) -> String {
    format!("printf {letter} >> path; echo {score} >&3")
}

#[test]
fn each_level_builds_on_the_best_of_the_one_above() {
    let ws = Workspace::with_base(small_base);
    let expand = "case $(cat path) in
        b) echo 'printf c >> path; echo 1 >&3'; echo 'printf d >> path; echo 2 >&3';;
        bd) echo 'printf e >> path; exit 1';; esac";
    let (a, b) = (step("a", "1"), step("b", "3"));
    let args = [
        "-c",
        &a,
        "-c",
        &b,
        "-c",
        "exit 1",
        "--expand",
        expand,
        "--max-depth",
        "5",
    ];
    let (code, told) = json(&ws, "tree-of-thoughts", &args);
    assert_eq!(code, 0, "{told}");
    ws.main().check("path", b"bd");
    assert_eq!(
        (&told["levels"], &told["committed"]),
        (&3.into(), &true.into())
    );
    assert!(branches(&ws).is_empty());
}

#[test]
fn the_depth_is_limited_and_a_first_level_that_fails_lands_nothing() {
    let ws = Workspace::with_base(small_base);
    let more = "echo 'printf x >> path'";
    let args = [
        "-c",
        "printf x >> path",
        "--expand",
        more,
        "--max-depth",
        "3",
    ];
    let (code, told) = json(&ws, "tree-of-thoughts", &args);
    assert_eq!((code, &told["levels"]), (0, &3.into()), "{told}");
    ws.main().check("path", b"xxx");
    let (code, told) = json(&ws, "tree-of-thoughts", &["-c", "exit 1"]);
    assert_eq!((code, &told["committed"]), (4, &false.into()));
    assert!(branches(&ws).is_empty());
}

#[test]
fn two_survivors_with_one_parent_do_not_block_each_other() {
    let ws = Workspace::with_base(small_base);
    // Both survivors of the second level are children of the same branch of the first.
    let expand = "case $(cat path) in
        b) echo 'printf c >> path; echo 5 >&3'; echo 'printf d >> path; echo 6 >&3';;
        a) echo 'printf z >> path; echo 0 >&3';;
        bc) echo 'printf e >> path; echo 9 >&3';;
        bd) echo 'printf f >> path; echo 7 >&3';; esac";
    let (a, b) = (step("a", "1"), step("b", "2"));
    let args = [
        "-c",
        &a,
        "-c",
        &b,
        "--expand",
        expand,
        "--width",
        "2",
        "--max-depth",
        "3",
    ];
    let (code, told) = json(&ws, "beam-search", &args);
    assert_eq!(code, 0, "{told}");
    ws.main().check("path", b"bce");
    assert_eq!(told["results"].as_array().expect("results").len(), 7);
    assert!(branches(&ws).is_empty());
}

#[test]
fn losers_of_a_tree_can_be_kept() {
    let ws = Workspace::with_base(small_base);
    let (a, b) = (step("a", "1"), step("b", "3"));
    let args = [
        "-b",
        "t",
        "--keep",
        "-c",
        &a,
        "-c",
        &b,
        "--expand",
        "echo 'exit 1'",
        "--max-depth",
        "2",
    ];
    let (code, told) = json(&ws, "tree-of-thoughts", &args);
    assert_eq!(code, 0, "{told}");
    ws.main().check("path", b"b");
    let kept = branches(&ws);
    assert_eq!(kept.len(), 2, "{kept:?}");
    ws.main().child("t-kept-0-0").check("path", b"a");
}
