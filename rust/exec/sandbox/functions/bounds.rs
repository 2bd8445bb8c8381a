//! What functions do between two looks at the limits, counted in bytes that they read, compare or copy; and that their
//! answers stay SQLite's on long texts, UTF-8 or not.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestCaseError, TestRunner};
use rusqlite::limits::Limit;
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode};

use super::super::watch::{BYTES_PER_CHARACTER, CHARACTERS_PER_LOOK, LONGEST_STRIDE};
use super::super::{Limits, memory};
use super::*;
use crate::exec::sandbox::watch::SharedWatch;

/// Functions whose work is proportional to their arguments, of which `t`, `u` and `v` are texts and the rest blobs.
const LINEAR: [&str; 14] = [
    "instr(t, u)",
    "instr(?1, ?2)",
    "instr(u, t)",
    "replace(t, u, v)",
    "replace(t, v, u)",
    "trim(t, u)",
    "ltrim(t, u)",
    "rtrim(t, u)",
    "unhex(t, u)",
    "unhex(hex(t) || u || hex(v), u)",
    "trim(u, t)",
    "json_quote(t || u)",
    "json_array(t, json_array(u), v)",
    "(SELECT json_group_object(t, u) FROM (SELECT 1 UNION ALL SELECT 2))",
];

/// Functions that may compare a text at each of its places with a pattern.
const PATTERNS: [&str; 4] = ["t LIKE v", "t GLOB v", "t LIKE v ESCAPE '_'", "t GLOB '*' || v"];

/// Bytes that are touched between two looks beside one pass through the arguments.
const BETWEEN_LOOKS: usize = CHARACTERS_PER_LOOK * BYTES_PER_CHARACTER;

/// Most passes through its arguments that a function takes without a look, or in all if its time is linear.
const PASSES: usize = 4;

struct Pair {
    theirs: Connection,
    ours: Connection,
    /// Behind the connections, which are closed first.
    watch: SharedWatch,
}

impl Pair {
    fn new() -> Self {
        assert!(memory::install());
        let [theirs, ours] = [(); 2].map(|()| Connection::open_in_memory().unwrap());
        let watch = SharedWatch::new();
        // SAFETY: the connection is open, and the watch is dropped behind it.
        assert_eq!(unsafe { register(ours.handle(), watch.address()) }, ffi::SQLITE_OK);
        for connection in [&theirs, &ours] {
            connection.set_limit(Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 500).unwrap();
        }
        Self { theirs, ours, watch }
    }

    fn ours(&self, call: &str, texts: &[Vec<u8>; 3], limits: &Limits) -> rusqlite::Result<Value> {
        self.watch.start(limits);
        answer(&self.ours, call, texts)
    }
}

fn answer(connection: &Connection, call: &str, texts: &[Vec<u8>; 3]) -> rusqlite::Result<Value> {
    let query = format!(
        "WITH a(t, u, v) AS MATERIALIZED (SELECT CAST(?1 AS TEXT), CAST(?2 AS TEXT), CAST(?3 AS TEXT))
         SELECT CASE typeof(x) WHEN 'text' THEN CAST(x AS BLOB) ELSE x END FROM (SELECT {call} AS x, ?1, ?2, ?3 FROM a)"
    );
    connection.query_row(&query, texts.each_ref(), |row| row.get(0))
}

/// Parts of characters, wildcards and digits.
const UNITS: &[&[u8]] = &[
    b"a",
    b"b",
    b"A",
    b"7",
    b"%",
    b"_",
    b"*",
    b"?",
    b"[",
    b"]",
    b"[^",
    b"a-",
    b"\x80",
    b"\xc3",
    b"\xc3\xa4",
    b"\xc3\x80",
    b"\xe2\x82\xac",
    b"\xe2\x82",
    b"\xff",
    b"\xff\xbf",
    b"\xf0\x9f\x98\x80",
    b"\0",
];

/// So few that a text often begins and ends with characters of another, some of which begin others.
const FEW_UNITS: &[&[u8]] = &[b"a", b"\x80", b"\xc3", b"\xc3\x80", b"\xc3\x80\x80", b"\xff\x80"];

/// A text of units, each of which may be repeated, and of characters of all lengths up to some hundreds of bytes.
fn text(units: &'static [&'static [u8]], longest: usize) -> impl Strategy<Value = Vec<u8>> {
    let repeated = (prop::sample::select(units), 1..longest / 4).prop_map(|(unit, times)| unit.repeat(times));
    let short = prop::sample::select(units).prop_map(<[u8]>::to_vec);
    let all_lengths = (0..longest.isqrt(), prop::sample::select(vec![0xc3_u8, 0xe2, 0xff]));
    let all_lengths = all_lengths.prop_map(|(most, first)| characters(first, most));
    let part = prop_oneof![5 => short, 2 => repeated, 1 => all_lengths];
    prop::collection::vec(part, 0..7).prop_map(move |parts| {
        let mut text = parts.concat();
        text.truncate(longest);
        text
    })
}

/// A "character" of each length from 2 on, of a first byte and such as continue it.
fn characters(first: u8, most: usize) -> Vec<u8> {
    (1..=most).flat_map(|length| [&[first][..], &vec![0x80; length]].concat()).collect()
}

fn check(cases: u32, longest: usize, test: impl Fn([Vec<u8>; 3]) -> Result<(), TestCaseError>) {
    let config =
        ProptestConfig { rng_seed: RngSeed::Fixed(20), failure_persistence: None, ..ProptestConfig::with_cases(cases) };
    let texts = prop::sample::select(&[UNITS, FEW_UNITS][..])
        .prop_flat_map(move |units| [(); 3].map(|()| text(units, longest)));
    TestRunner::new(config).run(&texts, test).unwrap();
}

fn bound(texts: &[Vec<u8>; 3]) -> usize {
    // Blobs are written out as two digits for each byte.
    BETWEEN_LOOKS + PASSES * 2 * texts.iter().map(Vec::len).sum::<usize>()
}

#[test]
fn answers_on_long_texts_are_those_of_sqlite() {
    let pair = Pair::new();
    check(1000, 600, |texts| {
        for call in LINEAR.iter().chain(&PATTERNS) {
            let [theirs, ours] = [answer(&pair.theirs, call, &texts), pair.ours(call, &texts, &Limits::default())];
            prop_assert_eq!(
                theirs.map_err(|error| error.to_string()),
                ours.map_err(|error| error.to_string()),
                "{}",
                call
            );
        }
        Ok(())
    });
}

#[test]
fn work_between_two_looks_is_bounded() {
    let pair = Pair::new();
    check(100, 20_000, |texts| {
        for call in LINEAR.iter().chain(&PATTERNS) {
            let _ = gauge::take();
            let answer = pair.ours(call, &texts, &Limits::default());
            let touched = gauge::take();
            prop_assert!(touched.longest <= bound(&texts), "{}: {:?}", call, touched);
            let written = if let Ok(Value::Blob(bytes)) = answer { bytes.len() } else { 0 };
            let linear = bound(&texts) + written;
            prop_assert!(PATTERNS.contains(call) || touched.all <= linear, "{}: {:?}", call, touched);
        }
        Ok(())
    });
}

#[test]
fn limits_end_functions() {
    let pair = Pair::new();
    let cancel = Arc::new(AtomicBool::new(false));
    pair.watch.obey(Arc::clone(&cancel));
    let few = Limits { steps: 64, ..Limits::default() };
    let stops = Cell::new(0);
    let late = Limits { timeout: Duration::ZERO, ..Limits::default() };
    check(40, 20_000, |texts| {
        for call in LINEAR.iter().chain(&PATTERNS) {
            let _ = gauge::take();
            cancel.store(false, Ordering::Relaxed);
            let _ = pair.ours(call, &texts, &Limits::default());
            let needed = gauge::take().all;
            for (limits, cancelled) in [(few, false), (late, false), (Limits::default(), true)] {
                cancel.store(cancelled, Ordering::Relaxed);
                let answer = pair.ours(call, &texts, &limits);
                let touched = gauge::take().all;
                // Not every look is one at the clock.
                let most = LONGEST_STRIDE as usize * BETWEEN_LOOKS + bound(&texts);
                prop_assert!(touched <= most, "{}: {} of {}", call, touched, needed);
                let stopped =
                    answer.is_err_and(|error| error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted));
                prop_assert!(stopped || touched == needed, "{}: {} of {}", call, touched, needed);
                stops.set(stops.get() + u32::from(stopped));
            }
        }
        Ok(())
    });
    assert!(stops.get() > 300);
}

/// Each end of the text is to be compared with characters of all lengths, none of which it begins with.
#[test]
fn sets_of_characters_of_all_lengths_take_linear_time() {
    let pair = Pair::new();
    for most in [50, 200, 800] {
        let set = [b"\x80a", &*characters(0xc3, most)].concat();
        for subject in [
            b"a".repeat(80_000),
            b"\x80".repeat(80_000),
            [b"b", &*b"\x80".repeat(80_000)].concat(),
            [b"\xc3", &*b"\x80".repeat(80_000)].concat(),
            b"\xc3\x80\x80a".repeat(20_000),
            characters(0xc3, 400),
        ] {
            let texts = [subject, set.clone(), Vec::new()];
            for call in ["trim(t, u)", "ltrim(t, u)", "rtrim(t, u)"] {
                let _ = gauge::take();
                pair.ours(call, &texts, &Limits::default()).unwrap();
                let touched = gauge::take();
                assert!(touched.all <= bound(&texts), "{call}: {touched:?}");
            }
        }
    }
}

/// What a set takes counts as memory of the query.
#[test]
fn sets_of_many_characters_need_memory() {
    let pair = Pair::new();
    let set: Vec<u8> = ('\u{800}'..'\u{d000}').flat_map(|character| character.to_string().into_bytes()).collect();
    for call in ["trim(t, u)", "unhex(t, u)"] {
        let texts = [b"x".to_vec(), set.clone(), Vec::new()];
        pair.watch.start(&Limits::default());
        let within = |bytes| memory::limited(bytes, 0, &pair.watch, || answer(&pair.ours, call, &texts));
        assert!(within(16 << 20).is_ok());
        let error = within(900_000).unwrap_err();
        assert_eq!(error.sqlite_error_code(), Some(ErrorCode::OutOfMemory), "{call}: {error}");
    }
}
