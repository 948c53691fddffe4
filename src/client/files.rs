//! Reading and writing reserved files, with as few requests to the mount as that takes.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::io::retry_on_intr;

use super::branch::Branch;
use super::error::{ClientError, Verb};
use crate::proto::{Command, reserved};

/// What is shorter than a page comes whole or as an error.
const PAGE_BYTES: usize = 4096;

/// How much is read at once before the length is known.
const READ_BYTES: usize = 64 << 10;

/// The most bytes of commands in one write(2), which is one request to the mount.
const WRITE_BYTES: usize = 64 << 10;

/// Reads a whole reserved file.
///
/// Its length costs a request, and so does each read(2), since the kernel asks for the length then
/// itself. So a short text is read without both.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut text = vec![0; READ_BYTES];
    let len = retry_on_intr(|| rustix::io::read(&file, &mut text[..]))?;
    if len == READ_BYTES {
        // In pieces it could be pieces of several texts.
        return std::fs::read(path);
    }
    text.truncate(len);
    if len >= PAGE_BYTES {
        file.read_to_end(&mut text)?;
    }
    Ok(text)
}

/// A branch's `.ctl`, open for commands that follow each other.
#[derive(Debug)]
pub struct Control {
    branch: Branch,
    file: File,
}

impl Branch {
    /// Opens its `.ctl`; `verb` is what that is called where it fails.
    pub fn control(&self, verb: Verb) -> Result<Control, ClientError> {
        // There is nothing to truncate, and not to ask for it saves a request.
        let file = OpenOptions::new()
            .write(true)
            .open(self.dir.join(reserved::CTL));
        Ok(Control {
            branch: self.clone(),
            file: file.map_err(|error| self.explain(verb, error))?,
        })
    }

    /// Writes one command to `.ctl`; `verb` is what it is called when it fails.
    pub fn command(&self, verb: Verb, command: &Command) -> Result<(), ClientError> {
        self.control(verb)?
            .write(verb, std::slice::from_ref(command))
    }
}

impl Control {
    /// The branch.
    pub fn branch(&self) -> &Branch {
        &self.branch
    }

    /// Writes commands, which are done in their order until one is refused; `verb` is what they are
    /// called when that happens.
    pub fn write(&self, verb: Verb, commands: &[Command]) -> Result<(), ClientError> {
        let mut text = String::new();
        for (at, command) in commands.iter().enumerate() {
            text.push_str(&format!("{command}\n"));
            if text.len() >= WRITE_BYTES || at + 1 == commands.len() {
                let done = write_at_once(&self.file, text.as_bytes());
                done.map_err(|error| self.branch.explain(verb, error))?;
                text.clear();
            }
        }
        Ok(())
    }
}

/// One write(2) of the whole text, so that it has one answer.
pub(super) fn write_at_once(file: &File, text: &[u8]) -> io::Result<()> {
    match file.write_at(text, 0)? {
        len if len == text.len() => Ok(()),
        _ => Err(io::Error::from_raw_os_error(libc::EIO)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::*;

    #[track_caller]
    fn check(len: usize) {
        let dir = tempfile::tempdir().unwrap();
        let (file, text) = (dir.path().join("file"), vec![b'x'; len]);
        std::fs::write(&file, &text).unwrap();
        assert!(read(&file).unwrap() == text, "{len} bytes");
    }

    #[test]
    fn a_file_of_any_length_is_read_to_its_end() {
        for edge in [1, PAGE_BYTES, READ_BYTES] {
            [edge - 1, edge, edge + 1].into_iter().for_each(check);
        }
    }

    #[test]
    fn commands_of_one_write_are_its_lines() {
        let fake = Fake::with(&["fix-a"]);
        let control = fake.workspace().top().control(Verb::Gc).unwrap();
        control
            .write(Verb::Gc, &[Command::Gc, Command::Publish])
            .unwrap();
        assert_eq!(fake.text(".ctl"), "gc\npublish\n");
    }
}
