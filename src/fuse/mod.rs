//! Serving the kernel: requests become calls of [`Ops`](crate::vfs::ops::Ops), answers go back.
//!
//! The only layer that names fuser. It decides nothing: what a request means is in `vfs`, where a
//! mount is made and ended is in `daemon`.
//!
//! | file | what it owns |
//! | --- | --- |
//! | [`session`] | a connection from its INIT to its end |
//! | [`adapter`] | one handler per request |
//! | [`calls`] | how a handler makes its call |
//! | [`guard`] | an answer to every request, panics included |
//! | [`convert`] | fuser's types from ours and back, times before 1970 included |
//! | [`reply`] | fuser's replies from our results |
//! | [`init`] | which features of the kernel are asked for |
//! | [`notify`] | telling the kernel what changed |
//! | [`workers`] | the threads that may wait |
//!
//! # Stateless opens
//!
//! OPEN, OPENDIR, CREATE and FLUSH are answered ENOSYS once; from then on the kernel opens files by
//! itself, caches them as if every open said KEEP_CACHE, and creates with MKNOD (one request, where
//! CREATE would be followed by a RELEASE at close). A node lives until FORGET. With `-o writeback`
//! OPEN is served, see [`init`].

mod adapter;
mod calls;
mod convert;
mod guard;
mod init;
mod notify;
mod reply;
mod session;
mod workers;

pub use init::negotiate;
pub use notify::Notifier;
pub use session::{Connection, End, Error, SessionConfig};
