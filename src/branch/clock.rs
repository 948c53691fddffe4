//! The wall clock.

use crate::tree::Time;

#[cfg(test)]
thread_local! {
    static SHIFT: std::cell::Cell<i64> = const { std::cell::Cell::new(0) };
}

/// From now on [`now`] is off by so many seconds on this thread.
#[cfg(test)]
pub fn shift_clock(seconds: i64) {
    SHIFT.set(seconds);
}

/// The time of day, as the kernel would stamp a file with it.
pub fn now() -> Time {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    #[cfg(test)]
    let now = rustix::time::Timespec {
        tv_sec: now.tv_sec + SHIFT.get(),
        ..now
    };
    Time {
        sec: now.tv_sec,
        nsec: now.tv_nsec as u32,
    }
}
