//! The units of work of a batch, handed out one by one.
//!
//! Early variants are handed out before later ones, so that what they reject is not run on those. That settles most
//! predictions at the end of a batch, which takes a fraction of a second. Where it takes longer and somebody waits for
//! verdicts, units that take long are cut: predictions of a slow database are taken up a few at a time, and these go
//! through all variants before others begin.

use std::collections::{HashSet, VecDeque};
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::lock;

/// A piece of work for one thread.
pub(super) enum Unit {
    /// Exact match of some jobs.
    Match(Range<usize>),
    /// A job whose prediction has no values, on all variants.
    Plug(usize),
    /// Some golds and predictions on some variants of their database, one after the other.
    Execute(Block),
}

/// Some of the predictions for a gold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slice {
    pub(super) gold: usize,
    pub(super) candidates: Range<usize>,
}

/// Some predictions and the variants of their database on which they are to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// Which suite of the batch it is.
    pub(super) suite: usize,
    pub(super) variants: Range<usize>,
    pub(super) slices: Arc<[Slice]>,
}

/// Into how many parts the variants that are left are cut, of which one is handed out next. The first are large, so that a
/// thread has the same database for long, and the last small, so that all threads end at the same time.
pub(super) const PARTS: usize = 4;

/// When a unit takes long.
const LONG: Duration = Duration::from_millis(500);

/// Golds of a slow database that are taken up at a time.
const SLOW_GOLDS: usize = 4;

/// The work that no thread has taken yet.
pub(super) struct Queue {
    left: Mutex<Left>,
    /// Told when a unit ends, of which something may have been put back.
    unit_ends: Condvar,
    threads: usize,
    parts: usize,
    /// How many units there are at least.
    units: usize,
    /// Whether somebody waits for verdicts of the batch.
    followed: bool,
}

struct Left {
    /// Units that are no executions.
    others: VecDeque<Unit>,
    blocks: VecDeque<Block>,
    /// Suites of which a unit took long.
    slow: HashSet<usize>,
    /// Units that are being worked on.
    busy: usize,
}

impl Queue {
    /// First the `others`, then the `blocks`.
    pub(super) fn new(
        others: impl Iterator<Item = Unit>,
        blocks: impl Iterator<Item = Block>,
        threads: usize,
        followed: bool,
    ) -> Self {
        let (others, blocks): (VecDeque<_>, VecDeque<_>) = (others.collect(), blocks.collect());
        let parts = if threads == 1 { 1 } else { PARTS.max((PARTS * threads).div_ceil(blocks.len().max(1))) };
        let units = others.len() + blocks.iter().map(|block| block.variants.len().min(parts)).sum::<usize>();
        Self {
            left: Mutex::new(Left { others, blocks, slow: HashSet::new(), busy: 0 }),
            unit_ends: Condvar::new(),
            threads,
            parts,
            units,
            followed,
        }
    }

    /// How many threads at most find something to do.
    pub(super) fn len(&self) -> usize {
        self.units
    }

    /// Does `work` with one unit after the other until none is left, or it says to stop.
    pub(super) fn work_off(&self, mut work: impl FnMut(Unit) -> ControlFlow<()>) {
        let mut left = lock(&self.left);
        loop {
            let Some(unit) = left.take(self.parts, self.threads) else {
                if left.busy == 0 || !self.followed {
                    return;
                }
                left = self.unit_ends.wait(left).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            left.busy += 1;
            drop(left);
            let goes_on = work(unit);
            left = lock(&self.left);
            left.busy -= 1;
            if self.followed {
                self.unit_ends.notify_all();
            }
            if goes_on.is_break() {
                return;
            }
        }
    }

    /// Whether a unit that was started then is to be cut.
    pub(super) fn is_long(&self, started: Instant) -> bool {
        self.followed && started.elapsed() > LONG
    }

    /// Puts back what is left of a unit that takes long: `done` slices are through with `variant`, the others are not, nor
    /// is any with later variants.
    pub(super) fn put_back(&self, block: &Block, variant: usize, done: usize) {
        let Block { suite, variants, slices } = block;
        let rest = [
            Block { suite: *suite, variants: variant..variant + 1, slices: slices[done..].into() },
            Block { suite: *suite, variants: variant + 1..variants.end, slices: Arc::clone(slices) },
        ];
        let mut left = lock(&self.left);
        left.slow.insert(*suite);
        left.blocks.extend(rest.into_iter().filter(|block| !block.variants.is_empty() && !block.slices.is_empty()));
    }
}

impl Left {
    fn take(&mut self, parts: usize, threads: usize) -> Option<Unit> {
        if let Some(unit) = self.others.pop_front() {
            return Some(unit);
        }
        if let Some(block) = self.take_slow(threads) {
            return Some(Unit::Execute(block));
        }
        let mut block = self.blocks.pop_front()?;
        let rest = block.split_variants(block.variants.len().div_ceil(parts));
        self.blocks.extend(rest);
        Some(Unit::Execute(block))
    }

    /// A few golds of a slow suite, those that come first in the batch, on a share of the variants that are left of them.
    fn take_slow(&mut self, threads: usize) -> Option<Block> {
        if self.slow.is_empty() {
            return None;
        }
        let order = |block: &Block| {
            let Slice { gold, candidates } = &block.slices[0];
            (*gold, candidates.start, block.variants.start)
        };
        let slow = self.blocks.iter().enumerate().filter(|(_, block)| self.slow.contains(&block.suite));
        let (place, _) = slow.min_by_key(|(_, block)| order(block))?;
        let mut block = self.blocks.remove(place)?;
        if block.slices.len() > SLOW_GOLDS {
            let rest = block.slices[SLOW_GOLDS..].into();
            self.blocks.push_back(Block { slices: rest, ..block.clone() });
            block.slices = block.slices[..SLOW_GOLDS].into();
        }
        let rest = block.split_variants(block.variants.len().div_ceil(threads));
        self.blocks.extend(rest);
        Some(block)
    }
}

impl Block {
    /// Keeps the first so many variants, and returns the rest if there is one.
    fn split_variants(&mut self, count: usize) -> Option<Self> {
        let end = self.variants.start + count;
        let rest = Self { variants: end..self.variants.end, ..self.clone() };
        self.variants.end = end;
        (!rest.variants.is_empty()).then_some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slices(golds: Range<usize>) -> Arc<[Slice]> {
        golds.map(|gold| Slice { gold, candidates: 0..1 }).collect()
    }

    fn pairs(block: &Block) -> Vec<(usize, usize)> {
        let golds = |variant| block.slices.iter().map(move |slice| (slice.gold, variant));
        block.variants.clone().flat_map(golds).collect()
    }

    /// The pairs of gold and variant in the order in which they are done, if the first unit is cut in each place there is.
    #[test]
    fn what_is_put_back_is_done_once_and_by_golds() {
        for (threads, cut) in [(1, 0), (1, 1), (2, 0), (2, 3), (16, 5)] {
            let block = Block { suite: 0, variants: 0..9, slices: slices(0..11) };
            let queue = Queue::new(std::iter::empty(), [block].into_iter(), threads, true);
            let (mut done, mut is_first) = (Vec::new(), true);
            queue.work_off(|unit| {
                let Unit::Execute(block) = unit else { panic!("nothing else was given") };
                if std::mem::take(&mut is_first) {
                    let through = 1 + cut;
                    done.extend((0..through).map(|gold| (gold, 0)));
                    queue.put_back(&block, 0, through);
                } else {
                    assert!(block.slices.len() <= SLOW_GOLDS);
                    done.extend(pairs(&block));
                }
                ControlFlow::Continue(())
            });
            let through: Vec<usize> =
                (0..11).map(|gold| done.iter().rposition(|pair| pair.0 == gold).unwrap()).collect();
            assert!(through.is_sorted() || threads > 1, "{through:?}");
            assert!(through[0] < through[10] - 9, "the first gold ends long before the last: {through:?}");
            done.sort_unstable();
            let all: Vec<_> = (0..11).flat_map(|gold| (0..9).map(move |variant| (gold, variant))).collect();
            assert_eq!(done, all, "{threads} threads, cut behind {cut}");
        }
    }

    #[test]
    fn a_thread_without_work_waits_for_what_may_be_put_back() {
        let block = Block { suite: 0, variants: 0..1, slices: slices(0..8) };
        let queue = &Queue::new(std::iter::empty(), [block].into_iter(), 2, true);
        let (taken, other_asks) = std::sync::mpsc::channel();
        let units = Mutex::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                queue.work_off(|unit| {
                    let Unit::Execute(block) = unit else { panic!("nothing else was given") };
                    *lock(&units) += 1;
                    taken.send(()).unwrap();
                    queue.put_back(&block, 0, 1);
                    // The other one does the rest.
                    ControlFlow::Break(())
                });
            });
            other_asks.recv().unwrap();
            queue.work_off(|_| {
                *lock(&units) += 1;
                ControlFlow::Continue(())
            });
        });
        // The one that was cut, and seven golds in pieces of four.
        assert_eq!(*lock(&units), 3);
    }

    #[test]
    fn nothing_is_cut_where_nobody_waits_for_verdicts() {
        let block = Block { suite: 0, variants: 0..1, slices: slices(0..8) };
        let long_ago = Instant::now().checked_sub(2 * LONG).unwrap();
        for followed in [false, true] {
            let queue = Queue::new(std::iter::empty(), [block.clone()].into_iter(), 1, followed);
            assert_eq!((queue.is_long(long_ago), queue.is_long(Instant::now())), (followed, false));
        }
    }
}
