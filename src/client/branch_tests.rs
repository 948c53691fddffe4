//! Tests of [`super`]: each verb against a fake workspace, for what it does and for how it fails.

use std::fs;

use super::super::fake::{Fake, status};
use super::super::{Address, Workspace};
use super::*;
use crate::proto::Timestamp;

fn branch(workspace: &Workspace, address: &str) -> Branch {
    workspace
        .branch(&Address::parse(address.as_bytes()).unwrap())
        .unwrap()
}

fn name(text: &str) -> BranchName {
    BranchName::new(text.as_bytes()).unwrap()
}

#[test]
fn commands_are_one_line_in_ctl() {
    let fake = Fake::with(&["fix-a"]);
    let fix_a = branch(&fake.workspace(), "fix-a");
    fix_a.command(Verb::Commit, &Command::Commit).unwrap();
    assert_eq!(fake.text("@branches/fix-a/.ctl"), "commit\n");
}

#[test]
fn a_command_creates_no_file() {
    let fake = Fake::with(&["fix-a"]);
    fs::remove_file(fake.path("@branches/fix-a/.ctl")).unwrap();
    let fix_a = branch(&fake.workspace(), "fix-a");
    assert!(fix_a.command(Verb::Commit, &Command::Commit).is_err());
    assert!(!fake.path("@branches/fix-a/.ctl").exists());
}

#[test]
fn limits_and_note_are_written_to_their_files() {
    let fake = Fake::with(&["fix-a"]);
    let fix_a = branch(&fake.workspace(), "fix-a");
    fix_a
        .set_limits(&LimitsChange {
            bytes: Some(Some(5)),
            inodes: Some(None),
        })
        .unwrap();
    assert_eq!(
        fake.text("@branches/fix-a/@self/limits"),
        "bytes=5\ninodes=none\n"
    );
    fix_a.set_note("two\nlines").unwrap();
    assert_eq!(fake.text("@branches/fix-a/@self/note"), "two\nlines\n");
}

#[test]
fn a_fork_is_a_directory_in_branches() {
    let fake = Fake::with(&["fix-a"]);
    let workspace = fake.workspace();
    let (parent, child) = workspace.new_branch(b"fix-a/sub").unwrap();
    let forked = parent.fork(child).unwrap();
    assert_eq!(forked.path.to_string(), "main/fix-a/sub");
    assert!(fake.path("@branches/fix-a/@branches/sub").is_dir());
    let error = parent.fork(name("sub")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot fork main/fix-a/sub: a branch of that name exists (EEXIST)"
    );
    assert!(matches!(
        workspace.new_branch(b"main"),
        Err(ClientError::ForkMain)
    ));
    let (missing, child) = workspace.new_branch(b"nowhere/sub").unwrap();
    assert_eq!(
        missing.fork(child).unwrap_err().to_string(),
        "no branch main/nowhere"
    );
}

#[test]
fn a_rename_moves_the_directory() {
    let fake = Fake::with(&["fix-a", "fix-b"]);
    let workspace = fake.workspace();
    let renamed = branch(&workspace, "fix-a").rename(name("fix-c")).unwrap();
    assert_eq!(renamed.path.to_string(), "main/fix-c");
    assert!(fake.path("@branches/fix-c/.ctl").exists());
    let error = renamed.rename(name("fix-b")).unwrap_err();
    assert!(
        matches!(
            error,
            ClientError::Refused {
                errno: libc::EEXIST,
                ..
            }
        ),
        "{error:?}: an existing branch must not be replaced"
    );
    assert!(matches!(
        branch(&workspace, "main").rename(name("x")),
        Err(ClientError::RenameMain)
    ));
    let gone = branch(&workspace, "fix-a").rename(name("x")).unwrap_err();
    assert!(matches!(gone, ClientError::NoSuchBranch { .. }), "{gone:?}");
}

#[test]
fn a_restore_moves_out_of_the_trash() {
    let fake = Fake::with(&["fix-a"]);
    fake.add_to_trash("fix-a~9", status("fix-a", State::Lost));
    fake.add_to_trash("fix-b", status("fix-b", State::Aborted));
    let workspace = fake.workspace();
    let restore = |address: &[u8], new: Option<&str>| {
        let (parent, entry) = workspace.trash_entry(address)?;
        parent.restore(&entry, new.map(name))
    };
    assert_eq!(
        restore(b"fix-b", None).unwrap().path.to_string(),
        "main/fix-b"
    );
    let taken = restore(b"fix-a~9", None).unwrap_err();
    assert!(
        taken.hint().is_some_and(|hint| hint.contains("--as")),
        "{taken:?}"
    );
    assert_eq!(
        restore(b"fix-a~9", Some("again")).unwrap().path.to_string(),
        "main/again"
    );
    let missing = restore(b"fix-z", None).unwrap_err();
    assert_eq!(
        missing.to_string(),
        "nothing called fix-z in the trash of main"
    );
    let nowhere = restore(b"nowhere/x", None).unwrap_err();
    assert_eq!(nowhere.to_string(), "no branch main/nowhere");
}

#[test]
fn a_refusal_carries_errno_meaning_and_the_sentence_of_the_daemon() {
    let fake = Fake::with(&[]);
    fake.refuse(".ctl", "the store has 12 bytes left");
    let error = fake
        .workspace()
        .top()
        .command(Verb::Publish, &Command::Publish)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot publish main: the store is full; nothing already written is lost (ENOSPC): \
         the store has 12 bytes left"
    );
    assert!(error.hint().is_some_and(|hint| hint.contains("gc")));
    assert!(!error.is_conflict());
}

#[test]
fn a_sentence_of_another_error_is_not_repeated() {
    let fake = Fake::with(&["fix-a"]);
    fake.refuse(".ctl", "the store has 12 bytes left");
    let error = fake.workspace().top().fork(name("fix-a")).unwrap_err();
    assert!(
        matches!(error, ClientError::Refused { sentence: None, .. }),
        "{error:?}"
    );
}

#[test]
fn a_branch_that_is_not_there_may_be_in_the_trash() {
    let fake = Fake::with(&[]);
    fake.add_to_trash("fix-a", status("fix-a", State::Lost));
    fake.add_to_trash("fix-b", status("fix-b", State::Aborted));
    let workspace = fake.workspace();
    let commit = |address| branch(&workspace, address).command(Verb::Commit, &Command::Commit);
    let lost = commit("fix-a").unwrap_err();
    assert_eq!(
        lost.to_string(),
        "cannot commit main/fix-a: it lost, a sibling committed first"
    );
    assert!(lost.is_conflict());
    assert!(
        lost.hint()
            .is_some_and(|hint| hint.contains("branchfs restore main/fix-a"))
    );
    assert!(!commit("fix-b").unwrap_err().is_conflict());
    assert!(matches!(
        commit("fix-z"),
        Err(ClientError::NoSuchBranch { .. })
    ));
}

#[test]
fn listings_are_parsed() {
    let fake = Fake::with(&["fix-a"]);
    fs::write(fake.path("@branches/fix-a/@self/diff"), "A new\nR a -> b\n").unwrap();
    fs::write(
        fake.path("@branches/fix-a/@self/conflicts"),
        "conflict main new\n",
    )
    .unwrap();
    let fix_a = branch(&fake.workspace(), "fix-a");
    assert_eq!(fix_a.changes().unwrap().len(), 2);
    assert_eq!(fix_a.conflicts().unwrap().len(), 1);
    fs::write(fake.path("@branches/fix-a/@self/diff"), "nonsense\n").unwrap();
    let error = fix_a.changes().unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("@self/diff: nonsense is no line of diff"),
        "{error}"
    );
}

#[test]
fn the_tree_holds_every_branch_once() {
    let fake = Fake::with(&["fix-a", "fix-a/sub", "fix-b"]);
    let text = fake.workspace().top().tree().unwrap().to_string();
    let expect = "\
main  #0 open
├── fix-a  #1 open
│   └── sub  #2 open
└── fix-b  #1 open
";
    assert_eq!(text, expect);
}

#[test]
fn the_trash_is_listed_by_entry() {
    let fake = Fake::with(&["fix-a"]);
    fake.add_to_trash("fix-a~9", status("fix-a", State::Lost));
    let entries = fake.workspace().top().trash().unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].entry.to_string(), "fix-a~9");
    assert_eq!(entries[0].status.state, State::Lost);
}

#[test]
fn a_commit_that_is_not_published_has_landed_all_the_same() {
    let fake = Fake::with(&["fix-a"]);
    let fix_a = branch(&fake.workspace(), "fix-a");
    assert!(fix_a.commit(1).unwrap().is_none());
    fake.refuse("@branches/fix-a/.ctl", "the base is full");
    assert!(fix_a.commit(1).is_err());
    let event = Event {
        seq: 1,
        time: Timestamp::default(),
        kind: EventKind::Commit {
            generation: 1,
            paths: 1,
        },
        branch: fix_a.path.clone(),
        number: 1,
        parent: fix_a.path.parent(),
    };
    fs::write(fake.path("@self/events"), event.to_json() + "\n").unwrap();
    let error = fix_a.commit(1).unwrap().expect("it was not published");
    assert!(error.to_string().contains("the base is full"), "{error}");
    assert!(fix_a.commit(2).is_err(), "that is another branch's commit");
}
