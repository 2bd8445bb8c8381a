//! The rewriting that the official tool does to query text before it executes anything.
//!
//! Definitions: `postprocess`, `replace_cur_year` and `eval_exec_match` in `exec_eval.py`, `remove_distinct` in
//! `parse.py`, and the driver in `evaluation.py`, all of taoyds/test-suite-sql-eval.

use std::borrow::Cow;

use super::lex::{is_space, lexemes};
use super::statement::first_statement;

/// The text of a query as the official tool takes it apart: operators joined, and `DISTINCT` and further statements
/// removed unless `keep_distinct`.
#[must_use]
pub fn prepare(sql: &str, keep_distinct: bool) -> String {
    let sql = join_operators(sql);
    if keep_distinct { sql.into_owned() } else { remove_distinct(&sql).into_owned() }
}

/// Joins the comparison operators that a parser's tokenizer tore apart: `> =`, `< =` and `! =`, one space exactly.
#[must_use]
pub fn join_operators(sql: &str) -> Cow<'_, str> {
    if !["> =", "< =", "! ="].iter().any(|torn| sql.contains(torn)) {
        return Cow::Borrowed(sql);
    }
    // One replacement after the other, as the definition has it: `> > =` and the like come out the same.
    Cow::Owned(sql.replace("> =", ">=").replace("< =", "<=").replace("! =", "!="))
}

/// The first statement of `sql`, without the lexemes that spell `distinct`.
///
/// What follows the first statement is dropped with it, so that `SELECT 1; DROP TABLE x` becomes `SELECT 1;`. Text of
/// nothing but whitespace has no statement, and the official tool fails on it; here it becomes the empty string.
#[must_use]
pub fn remove_distinct(sql: &str) -> Cow<'_, str> {
    let statement = first_statement(sql);
    // Most queries have no DISTINCT; the search is much cheaper than the lexer.
    if !contains_ignoring_case(statement, b"distinct") {
        return Cow::Borrowed(statement);
    }
    Cow::Owned(
        lexemes(statement).map(|lexeme| lexeme.text).filter(|text| !text.eq_ignore_ascii_case("distinct")).collect(),
    )
}

/// Replaces the `MySQL` expression `YEAR(CURDATE())`, in any case and spacing, and the space after it, by `2020`.
#[must_use]
pub fn fix_current_year(sql: &str) -> Cow<'_, str> {
    if !contains_ignoring_case(sql, b"curdate") {
        return Cow::Borrowed(sql);
    }
    let mut out = String::with_capacity(sql.len());
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        if let Some(length) = current_year(rest) {
            out.push_str("2020");
            rest = &rest[length..];
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    Cow::Owned(out)
}

/// The length of `YEAR(CURDATE())` and the space after it, where `text` starts with them.
fn current_year(text: &str) -> Option<usize> {
    let mut rest = text;
    for part in ["year", "(", "curdate", "(", ")", ")"] {
        let head = rest.get(..part.len())?;
        if !head.eq_ignore_ascii_case(part) {
            return None;
        }
        rest = rest[part.len()..].trim_start_matches(is_space);
    }
    Some(text.len() - rest.len())
}

/// Whether the order of rows matters to the official tool: its gold contains `order by` anywhere, be it in a subquery
/// or a string, with one space and in any case.
#[must_use]
pub fn is_ordered(gold: &str) -> bool {
    contains_ignoring_case(gold, b"order by")
}

/// The official driver's edit of every prediction, whose placeholders for values are called `value`: each lower-case
/// `value` becomes `1`, also within names and strings.
#[must_use]
pub fn replace_placeholders(prediction: &str) -> Cow<'_, str> {
    if prediction.contains("value") { Cow::Owned(prediction.replace("value", "1")) } else { Cow::Borrowed(prediction) }
}

fn contains_ignoring_case(text: &str, needle: &[u8]) -> bool {
    text.as_bytes().windows(needle.len()).any(|window| window.eq_ignore_ascii_case(needle))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_join_over_one_space_only() {
        assert_eq!(join_operators("a > = 1 AND b ! = 2 AND c <  = 3"), "a >= 1 AND b != 2 AND c <  = 3");
    }

    #[test]
    fn distinct_goes_wherever_it_is_a_lexeme() {
        assert_eq!(remove_distinct("SELECT DISTINCT a, count(DISTINCT b)"), "SELECT  a, count( b)");
        assert_eq!(remove_distinct("SELECT a.distinct, 'distinct', [distinct]"), "SELECT a., 'distinct', [distinct]");
        assert_eq!(remove_distinct("select /* distinct */ distinct_id"), "select /* distinct */ distinct_id");
    }

    #[test]
    fn only_the_first_statement_is_kept() {
        assert_eq!(remove_distinct("SELECT 1; DROP TABLE x"), "SELECT 1; ");
        assert_eq!(remove_distinct("  \n "), "");
        assert_eq!(remove_distinct(""), "");
    }

    #[test]
    fn current_year_is_fixed_in_any_spelling() {
        assert_eq!(fix_current_year("year ( CURDATE( ) ) - age"), "2020- age");
        assert_eq!(fix_current_year("YEAR(CURDATE()"), "YEAR(CURDATE()");
    }

    #[test]
    fn order_matters_by_substring() {
        assert!(is_ordered("select 'Order By'"));
        assert!(!is_ordered("select a order  by a"));
    }
}
