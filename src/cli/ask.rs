//! Asking a person what becomes of a branch.

use std::io::{self, BufRead};

use super::output::Session;
use crate::client::Branch;
use crate::proto::display;
use crate::trial::pattern::After;

/// What a person says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What is to be done.
    Do(After),
    /// Show the patch, and ask again.
    Patch,
    /// Nothing at all, and no more questions.
    Quit,
}

/// Shows what a branch has changed and asks until there is an answer. The end of input aborts.
pub fn ask(session: &mut Session<'_>, branch: &Branch) -> Answer {
    let mut shown = String::new();
    for change in branch.changes().unwrap_or_default() {
        shown.push_str(&format!("  {change}\n"));
    }
    // A closed stderr shows nobody anything; the question is answered by the end of input then.
    let _ = session.err.write_all(shown.as_bytes());
    loop {
        let _ = write!(
            session.err,
            "{}: commit, abort, keep, patch or quit? [c/a/k/p/q] ",
            branch.path
        );
        let _ = session.err.flush();
        let mut line = Vec::new();
        match io::stdin().lock().read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return Answer::Do(After::Abort),
            Ok(_) => {}
        }
        match read(&line) {
            Some(Answer::Patch) => show_patch(session, branch),
            Some(answer) => return answer,
            None => {
                let _ = writeln!(
                    session.err,
                    "not understood: {}",
                    display(line.trim_ascii())
                );
            }
        }
    }
}

fn read(line: &[u8]) -> Option<Answer> {
    Some(match line.trim_ascii() {
        b"c" | b"commit" | b"y" | b"yes" => Answer::Do(After::Commit),
        b"a" | b"abort" | b"n" | b"no" => Answer::Do(After::Abort),
        b"k" | b"keep" | b"s" | b"skip" => Answer::Do(After::Keep),
        b"p" | b"patch" | b"d" => Answer::Patch,
        b"q" | b"quit" => Answer::Quit,
        _ => return None,
    })
}

fn show_patch(session: &mut Session<'_>, branch: &Branch) {
    let copied = branch
        .patch()
        .map(|mut patch| io::copy(&mut patch, session.err));
    if let Ok(Err(error)) = copied {
        let _ = writeln!(session.err, "the patch cannot be shown: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        assert_eq!(read(b"c\n"), Some(Answer::Do(After::Commit)));
        assert_eq!(read(b" abort \n"), Some(Answer::Do(After::Abort)));
        assert_eq!(read(b"keep\n"), Some(Answer::Do(After::Keep)));
        assert_eq!(read(b"p\n"), Some(Answer::Patch));
        assert_eq!(read(b"\n"), None);
    }
}
