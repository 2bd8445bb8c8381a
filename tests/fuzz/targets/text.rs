//! Whatever text a model writes gets an answer: no panic, no overflow, no endless loop, in everything that reads text.
//!
//! The input is a gold and a prediction, separated by a tab; without one it is both.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use qsql::spider::schema::ForeignKeys;
use qsql::spider::values::Plugged;
use qsql::spider::{ExactMatch, Schema, hardness, parse};
use qsql::sql::canonical::{self, canonicalize};
use qsql::sql::lex::lexemes;
use qsql::sql::rewrite;

fn tables() -> [(&'static str, Vec<&'static str>); 2] {
    [("singer", vec!["id", "name", "age"]), ("song", vec!["id", "singer_id", "title"])]
}

static NAMES: LazyLock<canonical::Schema> = LazyLock::new(|| canonical::Schema::new(tables()));

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let columns = [(-1, "*"), (0, "id"), (0, "name"), (0, "age"), (1, "id"), (1, "singer_id"), (1, "title")];
    let keys = ForeignKeys { tables: &["singer", "song"], columns: &columns, pairs: &[(5, 1)] };
    Schema::new(tables()).with_foreign_keys(keys).expect("the keys are those of the tables")
});

fuzz_target!(|text: &str| {
    let (gold, prediction) = text.split_once('\t').unwrap_or((text, text));
    assert_eq!(lexemes(prediction).map(|lexeme| lexeme.text).collect::<String>(), prediction);
    let prepared = rewrite::prepare(prediction, false);
    let _ = rewrite::fix_current_year(&prepared);
    if let Some(plugged) = Plugged::new(gold, prediction) {
        let _ = plugged.queries().take(20).count();
    }
    for schema in [None, Some(&*NAMES)] {
        if let Ok(form) = canonicalize(prediction, schema) {
            assert_eq!(canonicalize(&form, schema).as_ref(), Ok(&form), "{prediction:?}");
        }
    }
    let parsed = parse(prediction, &SCHEMA);
    if let Ok(gold) = parse(gold, &SCHEMA) {
        let _ = hardness(&gold);
        let found = ExactMatch::compare(parsed.as_ref().ok(), &gold, &SCHEMA);
        // A query is an exact match of itself, but for `nan`, which no value is equal to.
        if text.find('\t').is_none() && !text.to_lowercase().contains("nan") {
            assert!(found.exact, "{text:?}");
        }
    }
});
