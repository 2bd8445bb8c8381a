//! SQLite's `LIKE` and `GLOB` again, with the same answers, but stopped at the limits.
//!
//! Matching takes time in proportion to the pattern and to the text, and a query can ask for it thousands of times between
//! two looks of the progress handler, which come at jumps of the program only.

#![expect(unsafe_code, reason = "functions of the C interface")]

use std::ffi::{c_int, c_void};

use memchr::memchr2;
use rusqlite::ffi;

use super::value::text;
use super::watch::Watch;

/// Characters that are compared between two looks at the limits, which count as so many steps as between others.
const CHARACTERS_PER_LOOK: u32 = 1024;

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
    Stopped,
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
        let watch = &*ffi::sqlite3_user_data(context).cast::<c_void>().cast::<Watch>();
        let mut matcher = Matcher { wildcards, watch, compared: 0 };
        match matcher.compare(until_null(pattern), until_null(subject)) {
            Outcome::Stopped => ffi::sqlite3_result_error_code(context, ffi::SQLITE_INTERRUPT),
            outcome => ffi::sqlite3_result_int(context, c_int::from(outcome == Outcome::Match)),
        }
    }
}

/// SQLite's texts end where a null byte is, for these functions.
fn until_null(text: &[u8]) -> &[u8] {
    text.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// Takes the next character off, 0 at the end. What is not UTF-8 gives the same nonsense as in SQLite.
fn read(text: &mut &[u8]) -> u32 {
    let Some((&first, mut rest)) = text.split_first() else { return 0 };
    let mut character = u32::from(first);
    if first >= 0xc0 {
        character = match first {
            0xc0..0xe0 => character & 0x1f,
            0xe0..0xf0 => character & 0x0f,
            0xf0..0xf8 => character & 0x07,
            0xf8..0xfc => character & 0x03,
            0xfc..0xfe => character & 0x01,
            _ => 0,
        };
        while let Some((&byte, behind)) = rest.split_first().filter(|&(&byte, _)| byte & 0xc0 == 0x80) {
            character = (character << 6).wrapping_add(u32::from(byte & 0x3f));
            rest = behind;
        }
        if character < 0x80 || character & 0xffff_f800 == 0xd800 || character & 0xffff_fffe == 0xfffe {
            character = 0xfffd;
        }
    }
    *text = rest;
    character
}

/// The character in lower case if it is an ASCII letter.
fn lower(character: u32) -> u32 {
    u8::try_from(character).map_or(character, |byte| byte.to_ascii_lowercase().into())
}

struct Matcher<'a> {
    wildcards: Wildcards,
    watch: &'a Watch,
    compared: u32,
}

impl Matcher<'_> {
    /// Counts a comparison; whether the query must stop.
    fn must_stop(&mut self) -> bool {
        self.compared = (self.compared + 1) % CHARACTERS_PER_LOOK;
        self.compared == 0 && self.watch.steps()
    }

    /// SQLite's `patternCompare`, step by step; it descends once for each wildcard of the pattern.
    fn compare(&mut self, mut pattern: &[u8], mut subject: &[u8]) -> Outcome {
        let Wildcards { all, one, other, is_glob } = self.wildcards;
        // How much of the pattern is left behind an escaped character.
        let mut escaped = None;
        loop {
            if self.must_stop() {
                return Outcome::Stopped;
            }
            let mut wanted = read(&mut pattern);
            if wanted == 0 {
                return if subject.is_empty() { Outcome::Match } else { Outcome::NoMatch };
            }
            if wanted == all {
                return self.behind_wildcard(pattern, subject);
            }
            if wanted == other {
                if is_glob {
                    if in_set(&mut pattern, read(&mut subject)) {
                        continue;
                    }
                    return Outcome::NoMatch;
                }
                wanted = read(&mut pattern);
                if wanted == 0 {
                    return Outcome::NoMatch;
                }
                escaped = Some(pattern.len());
            }
            let found = read(&mut subject);
            let same = wanted == found
                || !is_glob && wanted < 0x80 && found < 0x80 && lower(wanted) == lower(found)
                || wanted == one && escaped != Some(pattern.len()) && found != 0;
            if !same {
                return Outcome::NoMatch;
            }
        }
    }

    /// Goes on behind a wildcard that stands for any text.
    fn behind_wildcard(&mut self, mut pattern: &[u8], mut subject: &[u8]) -> Outcome {
        let Wildcards { all, one, other, is_glob } = self.wildcards;
        let (mut here, mut wanted);
        loop {
            here = pattern;
            wanted = read(&mut pattern);
            let is_one = wanted == one && one != 0;
            if !is_one && wanted != all {
                break;
            }
            if is_one && read(&mut subject) == 0 {
                return Outcome::NoMatchAtAll;
            }
        }
        if wanted == 0 {
            return Outcome::Match;
        }
        if wanted == other && is_glob {
            while let Some(&first) = subject.first() {
                match self.compare(here, subject) {
                    Outcome::NoMatch => {}
                    outcome => return outcome,
                }
                let more = subject[1..].iter().take_while(|&&byte| first >= 0xc0 && byte & 0xc0 == 0x80).count();
                subject = &subject[1 + more..];
            }
            return Outcome::NoMatchAtAll;
        }
        if wanted == other {
            wanted = read(&mut pattern);
            if wanted == 0 {
                return Outcome::NoMatchAtAll;
            }
        }
        loop {
            if self.must_stop() {
                return Outcome::Stopped;
            }
            if let Ok(byte) = u8::try_from(wanted)
                && byte < 0x80
            {
                let other_case = if is_glob { byte } else { byte ^ (u8::from(byte.is_ascii_alphabetic()) << 5) };
                let Some(at) = memchr2(byte, other_case, subject) else { return Outcome::NoMatchAtAll };
                subject = &subject[at + 1..];
            } else {
                match read(&mut subject) {
                    0 => return Outcome::NoMatchAtAll,
                    found if found != wanted => continue,
                    _ => {}
                }
            }
            match self.compare(pattern, subject) {
                Outcome::NoMatch => {}
                outcome => return outcome,
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
