//! SQLite's `trim`, `ltrim` and `rtrim` again, with the same answers in linear time.
//!
//! SQLite compares each end of the text with every character of the set. Where a text is not UTF-8, a "character" may be as
//! long as the set and begin like others, so that even to find out which of them a text begins with takes care.

#![expect(unsafe_code, reason = "functions of the C interface")]

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::c_int;

use rusqlite::ffi;

use super::memory::Charge;
use super::value::{character_length, continues, finish, return_text, text, until_null, watch};
use super::watch::{Interrupted, Watch, gauge};

/// What a character of more than one byte takes, where the set is built and where it is kept.
const CHARACTER_BYTES: usize = 96;

/// `trim(subject, set)`, or only the left or the right side of it; its data is the watch.
pub(super) unsafe extern "C" fn trim<const LEFT: bool, const RIGHT: bool>(
    context: *mut ffi::sqlite3_context,
    _: c_int,
    arguments: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: SQLite calls this with two arguments, which live until it returns, and registered with the address of a live
    // watch, on this thread.
    unsafe {
        if let (Some(subject), Some(set)) = (text(*arguments), text(*arguments.add(1))) {
            let trimmed = trimmed(watch(context), subject, set, LEFT, RIGHT);
            finish(context, trimmed.map(|trimmed| return_text(context, trimmed)));
        }
    }
}

/// `subject` without the characters of `set` at its left or right end.
fn trimmed<'a>(watch: &Watch, subject: &'a [u8], set: &[u8], left: bool, right: bool) -> Result<&'a [u8], Interrupted> {
    let set = Set::new(watch, until_null(set))?;
    let inside = if left { &subject[set.left(watch, subject)?..] } else { subject };
    Ok(if right { &inside[..set.right(watch, inside)?] } else { inside })
}

/// The place of a character that is not in a set.
const ABSENT: usize = usize::MAX;

/// The characters of a set, each with the place where it first stands. Where a text begins with several of them, that of the
/// lowest place counts.
struct Set<'a> {
    /// The places of single bytes.
    bytes: [usize; 256],
    /// Longer characters, sorted: a byte from `0xc0` on and what continues it.
    longer: Vec<(&'a [u8], usize)>,
    _charge: Charge,
}

impl<'a> Set<'a> {
    fn new(watch: &Watch, set: &'a [u8]) -> Result<Self, Interrupted> {
        let (mut bytes, mut longer, mut charge) = ([ABSENT; 256], BTreeMap::new(), Charge::default());
        let mut rest = set;
        while let Some(&first) = rest.first() {
            let place = set.len() - rest.len();
            let (character, behind) = rest.split_at(character_length(rest));
            rest = behind;
            watch.compares(character.len())?;
            if character.len() == 1 {
                bytes[usize::from(first)] = bytes[usize::from(first)].min(place);
            } else if let Entry::Vacant(entry) = longer.entry(character) {
                charge.add(CHARACTER_BYTES)?;
                entry.insert(place);
            }
        }
        Ok(Self { bytes, longer: longer.into_iter().collect(), _charge: charge })
    }

    /// How many bytes are trimmed from the left end.
    fn left(&self, watch: &Watch, subject: &[u8]) -> Result<usize, Interrupted> {
        let mut start = 0;
        while let Some(&first) = subject.get(start) {
            gauge::touch(1);
            watch.compares(1)?;
            let mut best = (self.bytes[usize::from(first)], 1);
            self.beginnings(watch, &subject[start..], |place, length| best = best.min((place, length)))?;
            if best.0 == ABSENT {
                break;
            }
            start += best.1;
        }
        Ok(start)
    }

    /// How many bytes are left after trimming from the right end.
    fn right(&self, watch: &Watch, subject: &[u8]) -> Result<usize, Interrupted> {
        let mut end = subject.len();
        while end > 0 {
            // Of the longer characters only those end here that begin at the last byte which continues none.
            let mut start = end - 1;
            while start > 0 && continues(subject[start]) {
                gauge::touch(1);
                watch.compares(1)?;
                start -= 1;
            }
            let mut whole = Vec::new();
            self.beginnings(watch, &subject[start..end], |place, length| whole.push((place, length)))?;
            while end > start {
                gauge::touch(1);
                watch.compares(1)?;
                while whole.last().is_some_and(|&(_, length)| length > end - start) {
                    whole.pop();
                }
                let single = (self.bytes[usize::from(subject[end - 1])], 1);
                let best =
                    whole.last().filter(|&&(_, length)| length == end - start).map_or(single, |&one| single.min(one));
                if best.0 == ABSENT {
                    return Ok(end);
                }
                end -= best.1;
            }
        }
        Ok(0)
    }

    /// Finds the longer characters that `text` begins with, the shortest first, each with its place and length. What it looks
    /// at begins no other longer character, so that a text is gone through once, wherever it is called.
    fn beginnings(&self, watch: &Watch, text: &[u8], mut found: impl FnMut(usize, usize)) -> Result<(), Interrupted> {
        // Those that agree with the text as far as it was looked at.
        let mut agreeing = &self.longer[..];
        for (at, &byte) in text.iter().enumerate() {
            if agreeing.is_empty() || at == 0 && byte < 0xc0 {
                break;
            }
            gauge::touch(1);
            watch.compares(1)?;
            let next = |character: &(&[u8], usize)| character.0.get(at).copied();
            let from = agreeing.partition_point(|character| next(character) < Some(byte));
            let to = agreeing.partition_point(|character| next(character) <= Some(byte));
            agreeing = &agreeing[from..to];
            if let Some(&(character, place)) = agreeing.first()
                && character.len() == at + 1
            {
                found(place, at + 1);
            }
        }
        Ok(())
    }
}
