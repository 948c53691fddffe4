//! The wall clock.

use crate::tree::Time;

/// The time of day, as the kernel would stamp a file with it.
pub fn now() -> Time {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    Time {
        sec: now.tv_sec,
        nsec: now.tv_nsec as u32,
    }
}
