//! What a comparison of results may do: so much work, which is counted, so that it ends the same on every machine; until its
//! deadline; and until the caller cancels.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::clock::Moment;

/// Work of one search, in cells that are looked at: about a second, thousands of times what any benchmark query needs.
const BUDGET: u64 = 1 << 29;

/// Work between two looks at the clock and at the flag: some tenths of a millisecond.
pub(super) const WORK_PER_LOOK: u64 = 1 << 17;

/// Why a comparison has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It used up its work.
    Exhausted,
    /// Its deadline passed.
    Deadline,
    /// The caller cancelled.
    Cancelled,
}

/// What is left of it.
#[derive(Debug)]
pub struct Effort {
    left: u64,
    /// Work until the next look.
    pause: u64,
    deadline: Moment,
    cancel: Arc<AtomicBool>,
    #[cfg(test)]
    since_look: u64,
    #[cfg(test)]
    longest: u64,
}

impl Effort {
    /// A comparison that begins now.
    #[must_use]
    pub fn new(timeout: Duration, cancel: Arc<AtomicBool>) -> Self {
        Self {
            left: BUDGET,
            pause: 0,
            deadline: Moment::now().after(timeout),
            cancel,
            #[cfg(test)]
            since_look: 0,
            #[cfg(test)]
            longest: 0,
        }
    }

    /// Whether there may be so much work more of a search, which has no bound of its own.
    pub(super) fn spend(&mut self, work: usize) -> Result<(), Stopped> {
        self.left = self.left.checked_sub(work as u64).ok_or(Stopped::Exhausted)?;
        self.pass(work)
    }

    /// Whether there is time for so much work more. It is done without a look, so that it must be little, or one pass over
    /// the tables.
    pub(super) fn pass(&mut self, work: usize) -> Result<(), Stopped> {
        let work = work as u64;
        #[cfg(test)]
        self.note(work);
        if let Some(pause) = self.pause.checked_sub(work) {
            self.pause = pause;
            return Ok(());
        }
        self.pause = WORK_PER_LOOK;
        #[cfg(test)]
        self.note_look();
        if self.cancel.load(Ordering::Relaxed) {
            Err(Stopped::Cancelled)
        } else if Moment::now() >= self.deadline {
            Err(Stopped::Deadline)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
impl Effort {
    /// For a comparison that nothing but its budget stops.
    pub(crate) fn unhurried() -> Self {
        Self::new(Duration::MAX, Arc::default())
    }

    fn note(&mut self, work: u64) {
        self.since_look += work;
        self.longest = self.longest.max(self.since_look);
    }

    fn note_look(&mut self) {
        self.since_look = 0;
    }

    /// The most work that was done between two looks.
    pub(super) fn longest(&self) -> u64 {
        self.longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_ends_at_each_limit() {
        let cancel = Arc::new(AtomicBool::new(false));
        let mut effort = Effort::new(Duration::MAX, Arc::clone(&cancel));
        assert_eq!(effort.spend(1), Ok(()));
        cancel.store(true, Ordering::Relaxed);
        let unnoticed = (0..u64::MAX).take_while(|_| effort.spend(1).is_ok()).count() as u64;
        assert_eq!((unnoticed, effort.spend(1)), (WORK_PER_LOOK, Ok(())));
        assert_eq!(effort.spend(2 * usize::try_from(WORK_PER_LOOK).unwrap()), Err(Stopped::Cancelled));
        assert_eq!(effort.spend(usize::MAX), Err(Stopped::Exhausted));
        assert_eq!(Effort::new(Duration::ZERO, Arc::default()).spend(1), Err(Stopped::Deadline));
    }
}
