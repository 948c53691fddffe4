//! The reserved files.
