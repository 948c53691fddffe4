//! What can be wrong with a text of the control files.
//!
//! Every variant says which part is wrong and what was expected, because the sentence is all that
//! the writer of a control file gets (`last_error` in `@self/status`). All of them are EINVAL.

/// A text that does not parse. The excerpts are quoted and short, whatever was written.
#[derive(Debug, thiserror::Error)]
pub enum ProtoError {
    /// A name without a byte.
    #[error("a branch name cannot be empty")]
    NameEmpty,
    /// A name beyond the limit.
    #[error("a branch name has at most {max_bytes} bytes, this one has {len_bytes}")]
    NameTooLong {
        /// Its length.
        len_bytes: usize,
        /// The longest that is allowed.
        max_bytes: usize,
    },
    /// A byte that no branch name can have.
    #[error("a branch name cannot contain {what}: {name}")]
    NameByte {
        /// The name.
        name: String,
        /// What is wrong in it.
        what: &'static str,
    },
    /// A first byte that is kept for reserved names.
    #[error("a branch name cannot begin with '{first}': {name}")]
    NameStart {
        /// The name.
        name: String,
        /// Its first character.
        first: char,
    },
    /// `a//b`, or a path that ends in a slash.
    #[error("the branch path {path} has an empty part")]
    PathPart {
        /// The path.
        path: String,
    },
    /// Text that begins with `"` but is no quoted string.
    #[error("bad quoting at byte {offset_bytes} of {text}")]
    Quoting {
        /// The text.
        text: String,
        /// Where the first wrong byte is.
        offset_bytes: usize,
    },
    /// Nothing but blank lines.
    #[error("no command given; try commit, abort or fork NAME")]
    NoCommand,
    /// A first word that is no command.
    #[error("unknown command {word}; the commands are {known}")]
    UnknownCommand {
        /// The word.
        word: String,
        /// All that exist.
        known: &'static str,
    },
    /// A command with the wrong arguments.
    #[error("wrong arguments; usage: {usage}")]
    Usage {
        /// The command's form.
        usage: &'static str,
    },
    /// A policy that does not exist.
    #[error("unknown policy {word}; the policies are first-winner and merge")]
    UnknownPolicy {
        /// The word.
        word: String,
    },
    /// A limit that does not exist.
    #[error("unknown limit {word}; the limits are bytes and inodes")]
    UnknownLimit {
        /// The word.
        word: String,
    },
    /// A limit that is given twice.
    #[error("the limit {key} is given twice")]
    LimitTwice {
        /// Which.
        key: &'static str,
    },
    /// A size or count that is no number, or is too large.
    #[error("{text} is no {what}")]
    Number {
        /// What was written.
        text: String,
        /// What was expected.
        what: &'static str,
    },
    /// A note beyond the limit.
    #[error("a note has at most {max_bytes} bytes, this one has {len_bytes}")]
    NoteTooLong {
        /// Its length.
        len_bytes: usize,
        /// The longest that is allowed.
        max_bytes: usize,
    },
    /// The results of a trial beyond the limit.
    #[error("what is told of a trial has at most {max_bytes} bytes, this has {len_bytes}")]
    TrialTooLong {
        /// Its length.
        len_bytes: usize,
        /// The longest that is allowed.
        max_bytes: usize,
    },
    /// Text that has to be UTF-8.
    #[error("{what} is not UTF-8: {text}")]
    NotUtf8 {
        /// What it was to be.
        what: &'static str,
        /// What was written.
        text: String,
    },
    /// A line of a listing that has another form.
    #[error("{text} is no line of {file}")]
    Line {
        /// The listing.
        file: &'static str,
        /// The line.
        text: String,
    },
    /// A time that is not RFC 3339 in UTC.
    #[error("{text} is no RFC 3339 time in UTC")]
    Time {
        /// What was written.
        text: String,
    },
    /// An errno name that does not exist.
    #[error("{text} is no errno")]
    Errno {
        /// What was written.
        text: String,
    },
    /// JSON of another shape.
    #[error("{file} is not the expected JSON")]
    Json {
        /// The file.
        file: &'static str,
        /// What serde says.
        source: serde_json::Error,
    },
}

impl PartialEq for ProtoError {
    /// Two errors are equal when they say the same.
    fn eq(&self, other: &ProtoError) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
            && self.to_string() == other.to_string()
    }
}
