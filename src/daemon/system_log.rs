//! Where the log goes: to standard error, and from the background to the system's log.
//!
//! journald is spoken to in its own protocol (systemd.journal-fields(7): `KEY=value` lines in one
//! datagram), anything else behind `/dev/log` in that of syslog(3). A daemon whose system has
//! neither has nobody to tell. **Invariant**: logging never blocks and never fails: a datagram that
//! is not taken at once is dropped.

use std::fmt::Write;
use std::os::unix::net::UnixDatagram;
use std::sync::OnceLock;

use log::{Level, Log, Metadata, Record};

const JOURNAL: &str = "/run/systemd/journal/socket";
const SYSLOG: &str = "/dev/log";
/// syslog(3): facility `daemon`.
const FACILITY: u8 = 3 << 3;
/// What every message is filed under.
const IDENTIFIER: &str = "branchfs";

static SINK: OnceLock<Sink> = OnceLock::new();

/// The program's logger.
struct SystemLog {
    /// Decides what is logged, and writes to standard error.
    stderr: env_logger::Logger,
}

enum Sink {
    Journal(UnixDatagram),
    Syslog(UnixDatagram),
    Nowhere,
}

/// Starts to log to standard error: what `RUST_LOG` says; without it, warnings, with `verbose` 1
/// information too and from 2 on details.
pub fn start_log(verbose: u8) {
    let level = ["warn", "info", "debug"][usize::from(verbose.min(2))];
    let filter = env_logger::Env::default().default_filter_or(level);
    let stderr = env_logger::Builder::from_env(filter)
        .format_timestamp_millis()
        .build();
    let most = stderr.filter();
    // A second start, in tests, changes nothing.
    if log::set_boxed_logger(Box::new(SystemLog { stderr })).is_ok() {
        log::set_max_level(most);
        // From the background nobody reads what a panic prints.
        std::panic::set_hook(Box::new(|panic| {
            let thread = std::thread::current();
            let thread = thread.name().unwrap_or("unnamed");
            let trace = std::backtrace::Backtrace::capture();
            log::error!("thread {thread}: {panic}\n{trace}");
        }));
    }
}

/// Logs to the system's log from now on: standard error is about to go.
pub(super) fn leave_stderr() {
    SINK.get_or_init(|| {
        let connect = |path| {
            let socket = UnixDatagram::unbound()?;
            socket.connect(path)?;
            socket.set_nonblocking(true)?;
            std::io::Result::Ok(socket)
        };
        if let Ok(socket) = connect(JOURNAL) {
            return Sink::Journal(socket);
        }
        connect(SYSLOG).map_or(Sink::Nowhere, Sink::Syslog)
    });
}

impl Log for SystemLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.stderr.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.stderr.matches(record) {
            return;
        }
        // Neither a full socket nor a system log that went away is anybody's to know.
        match SINK.get() {
            None => self.stderr.log(record),
            Some(Sink::Nowhere) => {}
            Some(Sink::Journal(socket)) => drop(socket.send(&journal_datagram(record))),
            Some(Sink::Syslog(socket)) => drop(socket.send(&syslog_datagram(record))),
        }
    }

    fn flush(&self) {
        self.stderr.flush();
    }
}

/// syslog(3) severities.
fn severity(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

fn journal_datagram(record: &Record<'_>) -> Vec<u8> {
    let message = record.args().to_string();
    let mut head = String::new();
    let _ = write!(
        head,
        "PRIORITY={}\nSYSLOG_FACILITY={}\nSYSLOG_IDENTIFIER={IDENTIFIER}\nCODE_MODULE={}\nMESSAGE",
        severity(record.level()),
        FACILITY >> 3,
        record.target(),
    );
    let mut out = head.into_bytes();
    // A value with a newline is given with its length instead of `=`.
    if message.contains('\n') {
        out.push(b'\n');
        out.extend_from_slice(&(message.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(message.as_bytes());
    out.push(b'\n');
    out
}

fn syslog_datagram(record: &Record<'_>) -> Vec<u8> {
    let priority = FACILITY | severity(record.level());
    let message = record.args().to_string().replace('\n', "#012");
    format!(
        "<{priority}>{IDENTIFIER}[{}]: {message}",
        std::process::id()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(message: &str, journal: &[u8], syslog: &str) {
        let arguments = format_args!("{message}");
        let record = Record::builder()
            .level(Level::Warn)
            .target("here")
            .args(arguments)
            .build();
        let head = "PRIORITY=4\nSYSLOG_FACILITY=3\nSYSLOG_IDENTIFIER=branchfs\nCODE_MODULE=here\n";
        let expect = [head.as_bytes(), journal].concat();
        assert_eq!(journal_datagram(&record), expect);
        let head = format!("<28>branchfs[{}]: ", std::process::id());
        assert_eq!(
            syslog_datagram(&record),
            format!("{head}{syslog}").into_bytes()
        );
    }

    #[test]
    fn a_message_is_one_datagram_whatever_is_in_it() {
        check("full", b"MESSAGE=full\n", "full");
        check("a\nb=c", b"MESSAGE\n\x05\0\0\0\0\0\0\0a\nb=c\n", "a#012b=c");
    }
}
