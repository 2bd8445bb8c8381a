//! SQLite's `LIKE` and `GLOB` again, with the same answers, but stopped at the limits.
//!
//! Matching takes time in proportion to the pattern and to the text, and a query can ask for it thousands of times between
//! two looks of the progress handler, which come at jumps of the program only.

#![expect(unsafe_code, reason = "functions of the C interface")]

use std::ffi::c_int;

use memchr::memchr2;
use rusqlite::ffi;

use super::value::{character_length, finish, read, read_watched, text, until_null, watch};
use super::watch::{Interrupted, Watch, gauge};

/// The characters of patterns that stand for others; 0 where there is none.
#[derive(Clone, Copy)]
struct Wildcards {
    all: u32,
    one: u32,
    /// What begins a set (GLOB) or an escaped character (LIKE).
    other: u32,
    is_glob: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Match,
    NoMatch,
    /// No match, nor would there be one if an earlier wildcard stood for more.
    NoMatchAtAll,
}

/// `like(pattern, text)`, `like(pattern, text, escape)` or `glob(pattern, text)`; their data is the watch.
pub(super) unsafe extern "C" fn like<const GLOB: bool>(
    context: *mut ffi::sqlite3_context,
    count: c_int,
    arguments: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: SQLite calls this with two or three arguments, which live until it returns, and registered with the address
    // of a live watch, on this thread. A message of length -1 is a C string.
    unsafe {
        let (pattern, subject) = (*arguments, *arguments.add(1));
        if [pattern, subject].iter().any(|&value| ffi::sqlite3_value_type(value) == ffi::SQLITE_BLOB) {
            return ffi::sqlite3_result_int(context, 0);
        }
        let most =
            ffi::sqlite3_limit(ffi::sqlite3_context_db_handle(context), ffi::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, -1);
        if ffi::sqlite3_value_bytes(pattern) > most {
            return ffi::sqlite3_result_error(context, c"LIKE or GLOB pattern too complex".as_ptr(), -1);
        }
        let [all, one, other] = if GLOB { [b'*', b'?', b'['] } else { [b'%', b'_', 0] }.map(u32::from);
        let mut wildcards = Wildcards { all, one, other, is_glob: GLOB };
        if count == 3 {
            let Some(escape) = text(*arguments.add(2)) else { return };
            let mut escape = until_null(escape);
            let character = read(&mut escape);
            if character == 0 || !escape.is_empty() {
                let message = c"ESCAPE expression must be a single character";
                return ffi::sqlite3_result_error(context, message.as_ptr(), -1);
            }
            wildcards.other = character;
            for wildcard in [&mut wildcards.all, &mut wildcards.one] {
                *wildcard = if *wildcard == character { 0 } else { *wildcard };
            }
        }
        let Some(pattern) = text(pattern) else { return };
        let Some(subject) = text(subject) else { return };
        let matcher = Matcher { wildcards, watch: watch(context) };
        let outcome = matcher.compare_all(pattern, subject);
        finish(
            context,
            outcome.map(|outcome| ffi::sqlite3_result_int(context, c_int::from(outcome == Outcome::Match))),
        );
    }
}

/// The character in lower case if it is an ASCII letter.
fn lower(character: u32) -> u32 {
    u8::try_from(character).map_or(character, |byte| byte.to_ascii_lowercase().into())
}

struct Matcher<'a> {
    wildcards: Wildcards,
    watch: &'a Watch,
}

impl Matcher<'_> {
    fn compare_all(&self, pattern: &[u8], subject: &[u8]) -> Result<Outcome, Interrupted> {
        self.watch.passes(pattern.len() + subject.len())?;
        self.compare(until_null(pattern), until_null(subject))
    }

    /// SQLite's `patternCompare`, step by step; it descends once for each wildcard of the pattern.
    fn compare(&self, mut pattern: &[u8], mut subject: &[u8]) -> Result<Outcome, Interrupted> {
        let Wildcards { all, one, other, is_glob } = self.wildcards;
        // How much of the pattern is left behind an escaped character.
        let mut escaped = None;
        loop {
            let mut wanted = read(&mut pattern);
            if wanted == 0 {
                return Ok(if subject.is_empty() { Outcome::Match } else { Outcome::NoMatch });
            }
            if wanted == all {
                return self.behind_wildcard(pattern, subject);
            }
            if wanted == other {
                if is_glob {
                    let (before, found) = (pattern.len(), read_watched(self.watch, &mut subject)?);
                    let matches = in_set(&mut pattern, found);
                    self.watch.compares(before - pattern.len())?;
                    if matches {
                        continue;
                    }
                    return Ok(Outcome::NoMatch);
                }
                wanted = read(&mut pattern);
                if wanted == 0 {
                    return Ok(Outcome::NoMatch);
                }
                escaped = Some(pattern.len());
            }
            let found = read_watched(self.watch, &mut subject)?;
            let same = wanted == found
                || !is_glob && wanted < 0x80 && found < 0x80 && lower(wanted) == lower(found)
                || wanted == one && escaped != Some(pattern.len()) && found != 0;
            if !same {
                return Ok(Outcome::NoMatch);
            }
        }
    }

    /// Goes on behind a wildcard that stands for any text.
    fn behind_wildcard(&self, mut pattern: &[u8], mut subject: &[u8]) -> Result<Outcome, Interrupted> {
        let Wildcards { all, one, other, is_glob } = self.wildcards;
        let (mut here, mut wanted);
        loop {
            here = pattern;
            wanted = read(&mut pattern);
            let is_one = wanted == one && one != 0;
            if !is_one && wanted != all {
                break;
            }
            if is_one && read_watched(self.watch, &mut subject)? == 0 {
                return Ok(Outcome::NoMatchAtAll);
            }
        }
        if wanted == 0 {
            return Ok(Outcome::Match);
        }
        if wanted == other && is_glob {
            while !subject.is_empty() {
                match self.compare(here, subject)? {
                    Outcome::NoMatch => {}
                    outcome => return Ok(outcome),
                }
                subject = &subject[character_length(subject)..];
            }
            return Ok(Outcome::NoMatchAtAll);
        }
        if wanted == other {
            wanted = read(&mut pattern);
            if wanted == 0 {
                return Ok(Outcome::NoMatchAtAll);
            }
        }
        loop {
            if let Ok(byte) = u8::try_from(wanted)
                && byte < 0x80
            {
                let other_case = if is_glob { byte } else { byte ^ (u8::from(byte.is_ascii_alphabetic()) << 5) };
                let at = memchr2(byte, other_case, subject);
                let passed = at.map_or(subject.len(), |at| at + 1);
                gauge::touch(passed);
                self.watch.compares(1)?;
                self.watch.passes(passed)?;
                if at.is_none() {
                    return Ok(Outcome::NoMatchAtAll);
                }
                subject = &subject[passed..];
            } else {
                match read_watched(self.watch, &mut subject)? {
                    0 => return Ok(Outcome::NoMatchAtAll),
                    found if found != wanted => continue,
                    _ => {}
                }
            }
            match self.compare(pattern, subject)? {
                Outcome::NoMatch => {}
                outcome => return Ok(outcome),
            }
        }
    }
}

/// Whether a character is in the set whose `[` was read; takes the set off the pattern.
fn in_set(pattern: &mut &[u8], character: u32) -> bool {
    if character == 0 {
        return false;
    }
    let (hyphen, bracket, caret) = (u32::from(b'-'), u32::from(b']'), u32::from(b'^'));
    let (mut seen, mut previous) = (false, 0);
    let mut next = read(pattern);
    let inverted = next == caret;
    if inverted {
        next = read(pattern);
    }
    if next == bracket {
        seen = character == bracket;
        next = read(pattern);
    }
    while next != 0 && next != bracket {
        if next == hyphen && previous > 0 && pattern.first().is_some_and(|&byte| byte != b']') {
            let last = read(pattern);
            seen |= (previous..=last).contains(&character);
            previous = 0;
        } else {
            seen |= character == next;
            previous = next;
        }
        next = read(pattern);
    }
    next != 0 && seen != inverted
}
