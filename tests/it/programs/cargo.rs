//! cargo: what it builds it trusts by times, inode by inode.

use std::path::Path;

use super::in_a_nested_branch;
use crate::harness::process::{Done, finish, limited};
use crate::harness::{Tree, Workspace};

/// Versions that whoever built these tests has downloaded.
const LOCK: &str = include_str!("../../../Cargo.lock");

/// A package with a dependency from the registry, a test and a documentation test.
fn package(base: &Tree) {
    base.write(
        "Cargo.toml",
        "[package]\nname = \"demo\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\
         [dependencies]\nmemchr = \"2\"\n",
    );
    base.write("Cargo.lock", LOCK);
    base.write(".gitignore", "target\n");
    base.mkdir("src").write(
        "lib.rs",
        "//! A package.\n\
         /// ```\n/// assert_eq!(demo::comma(b\"a,b\"), Some(1));\n/// ```\n\
         pub fn comma(text: &[u8]) -> Option<usize> { memchr::memchr(b',', text) }\n\
         #[test] fn there_is_none() { assert_eq!(comma(b\"ab\"), None); }\n",
    );
}

fn cargo(dir: &Path, args: &[&str]) -> Done {
    let mut command = limited(env!("CARGO"));
    command.args(args).arg("--offline").current_dir(dir);
    for variable in ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR", "RUSTFLAGS"] {
        command.env_remove(variable);
    }
    finish(command).ok()
}

#[test]
fn cargo_builds_and_tests_a_package_with_a_dependency() {
    in_a_nested_branch(
        package,
        |branch| {
            let built = cargo(branch.root(), &["build"]);
            assert!(built.err.contains("Compiling memchr"), "{}", built.err);
            let tested = cargo(branch.root(), &["test"]);
            assert_eq!(tested.out.matches("1 passed").count(), 2, "{}", tested.out);
        },
        |base| assert!(base.exists("target/debug/libdemo.rlib")),
    );
}

#[test]
fn cargo_builds_nothing_again_after_a_remount_nor_in_main_what_the_base_has() {
    let ws = Workspace::build().base(package).seconds(240).mount();
    cargo(ws.main().root(), &["build"]);
    let branch = ws.fork("b");
    cargo(branch.root(), &["build"]);
    ws.kill_and_remount();
    for place in [ws.main(), branch.clone()] {
        let again = cargo(place.root(), &["build"]);
        assert!(!again.err.contains("Compiling"), "{}", again.err);
    }
    branch.append("src/lib.rs", "pub fn more() {}\n");
    let again = cargo(branch.root(), &["build"]);
    assert_eq!(again.err.matches("Compiling").count(), 1, "{}", again.err);
    let of_main = cargo(ws.main().root(), &["build"]);
    assert!(!of_main.err.contains("Compiling"), "{}", of_main.err);
    ws.unmount();
    let of_base = cargo(ws.base(), &["build"]);
    assert!(!of_base.err.contains("Compiling"), "{}", of_base.err);
}
