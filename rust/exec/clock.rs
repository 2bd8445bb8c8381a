//! A clock that can be looked at every few dozen instructions.

use std::time::Duration;

/// A point in time of a clock that only goes forward, to within some milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(Duration);

impl Moment {
    /// The moment after a while; the end of time if there is none.
    pub(super) fn after(self, while_: Duration) -> Self {
        Self(self.0.saturating_add(while_))
    }

    /// The present.
    #[cfg(target_os = "linux")]
    #[expect(unsafe_code, reason = "the coarse clock, at a quarter of the price of the fine one, is no part of std")]
    pub(super) fn now() -> Self {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the clock exists on every Linux and writes the time to where it is told.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut time) };
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        Self(Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default()))
    }

    /// The present.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn now() -> Self {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        Self(START.get_or_init(std::time::Instant::now).elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes() {
        let start = Moment::now();
        std::thread::sleep(Duration::from_millis(30));
        assert!(Moment::now() > start.after(Duration::from_millis(5)));
        assert!(Moment::now() < start.after(Duration::from_secs(60)));
        assert!(start.after(Duration::MAX) > Moment::now());
    }
}
