//! Lexemes and first statements against those of sqlparse 0.6.1, frozen in `golden/lexemes.jsonl`: fragments of SQL in
//! random order, and queries with fragments put into them.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its cases has failed")]

use qsql::sql::lex::lexemes;
use qsql::sql::statement::first_statement;
use serde_json::Value;

fn cases() -> Vec<Value> {
    include_str!("golden/lexemes.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn lexemes_are_those_of_sqlparse() {
    let cases = cases();
    assert!(cases.len() >= 600);
    for case in cases {
        let sql = case["sql"].as_str().unwrap();
        let expected: Vec<&str> =
            case["lexemes"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
        assert_eq!(lexemes(sql).map(|lexeme| lexeme.text).collect::<Vec<_>>(), expected, "{sql:?}");
    }
}

#[test]
fn first_statements_are_those_of_sqlparse() {
    for case in cases() {
        let sql = case["sql"].as_str().unwrap();
        assert_eq!(first_statement(sql), case["first_statement"].as_str().unwrap(), "{sql:?}");
    }
}

proptest::proptest! {
    #[test]
    fn lexemes_join_to_the_whole_text(sql in "\\PC*|[ -~\\n]{0,40}") {
        let lexemes: Vec<_> = lexemes(&sql).collect();
        proptest::prop_assert!(lexemes.iter().all(|lexeme| !lexeme.text.is_empty()));
        proptest::prop_assert_eq!(lexemes.iter().map(|lexeme| lexeme.text).collect::<String>(), sql);
    }
}
