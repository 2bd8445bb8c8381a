//! Plugging the values of a gold into a prediction, for models that predict queries without values.
//!
//! Definition: `get_all_preds_for_execution` and what it calls in the official `parse.py`. Its notion of a value is
//! textual: a string literal as sqlparse sees it, or a number between spaces that does not follow a `t`.

use std::collections::{BTreeSet, HashSet};

use crate::sql::lex::{Kind, is_digit, is_space, lexemes};
use crate::sql::statement::first_statement;

/// A prediction with slots for values, and the values that may go into each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugged {
    words: Vec<Word>,
    /// For each slot the values that may stand there.
    choices: Vec<Vec<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    Text(String),
    Slot,
}

/// What the official tool puts where a value was; a query that has the word itself gets a slot there too.
const SLOT: &str = "VALUERARE";

impl Plugged {
    /// The prediction with slots for the values of the gold.
    ///
    /// `None` if either is nothing but whitespace and semicolons, on which the official tool fails.
    #[must_use]
    pub fn new(gold: &str, prediction: &str) -> Option<Self> {
        let (_, values) = extract(gold)?;
        let (words, _) = extract(prediction)?;
        let words: Vec<Word> = words
            .into_iter()
            .map(|word| if word == SLOT.to_lowercase() { Word::Slot } else { Word::Text(word) })
            .collect();
        let limits = (0..words.len())
            .filter(|&at| words[at] == Word::Slot)
            .map(|at| at.checked_sub(1).is_some_and(|before| words[before] == Word::Text("limit".to_owned())));
        // SQLite takes nothing but an integer as a limit: other values fail on every database.
        let choices = limits
            .map(|is_limit| values.iter().filter(|value| !is_limit || is_integer(value)).cloned().collect())
            .collect();
        Some(Self { words, choices })
    }

    /// How many queries [`queries`](Self::queries) gives; `u64::MAX` if that is more.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.choices.iter().fold(1, |count: u64, choices| count.saturating_mul(choices.len() as u64))
    }

    /// Every way to fill the slots, one query after the other.
    pub fn queries(&self) -> impl Iterator<Item = String> {
        let mut picked = (self.count() > 0).then(|| vec![0; self.choices.len()]);
        std::iter::from_fn(move || {
            let current = picked.take()?;
            let query = self.fill(&current);
            picked = self.next(current);
            Some(query)
        })
    }

    fn fill(&self, picked: &[usize]) -> String {
        let mut values = picked.iter().zip(&self.choices).map(|(&index, choices)| choices[index].as_str());
        let words: Vec<&str> = self
            .words
            .iter()
            .map(|word| match word {
                Word::Text(text) => text,
                Word::Slot => values.next().unwrap_or_default(),
            })
            .collect();
        words.join(" ")
    }

    /// Counts up, the last slot fastest; `None` behind the last combination.
    fn next(&self, mut picked: Vec<usize>) -> Option<Vec<usize>> {
        for (index, choices) in picked.iter_mut().zip(&self.choices).rev() {
            *index += 1;
            if *index < choices.len() {
                return Some(picked);
            }
            *index = 0;
        }
        None
    }
}

/// Whether SQLite can take a literal for an integer: digits, perhaps quoted, with a sign, a fraction or an exponent.
fn is_integer(value: &str) -> bool {
    let bare = value.trim_matches(['\'', '"']).trim();
    bare.parse::<f64>().is_ok_and(|number| number.fract() == 0.0)
}

/// The words of a query with [`SLOT`] for each value, in small letters, and its values.
fn extract(sql: &str) -> Option<(Vec<String>, BTreeSet<String>)> {
    let query = reformat(sql)?;
    let mut values = BTreeSet::new();
    let mut text = query.clone();
    for lexeme in lexemes(first_statement(&query)) {
        if matches!(lexeme.kind, Kind::SingleQuoted | Kind::DoubleQuoted) {
            // Everywhere at once, also within other words, as officially.
            text = text.replace(lexeme.text, SLOT);
            values.insert(lexeme.text.to_owned());
        }
    }
    let floats = floats(&text);
    let mut words: Vec<String> = text.split(is_space).filter(|word| !word.is_empty()).map(str::to_owned).collect();
    take_values(&mut words, &floats, &mut values);
    let integers = integers(&words.join(" "));
    take_values(&mut words, &integers, &mut values);
    let mut keywords = Vec::with_capacity(words.len());
    for word in words {
        if has_alias(&word) {
            // `t1.name` becomes three words.
            let parts = word.replace('.', " . ");
            keywords.extend(parts.split(is_space).filter(|part| !part.is_empty()).map(str::to_lowercase));
        } else {
            keywords.push(word.to_lowercase());
        }
    }
    Some((keywords, values))
}

/// The query with one space between lexemes, without semicolons and tabs, and without the alias of `t1.*`.
fn reformat(sql: &str) -> Option<String> {
    let sql = sql.trim_matches(is_space).replace([';', '\t'], "");
    let statement = first_statement(&sql);
    if statement.is_empty() {
        return None;
    }
    let words: Vec<&str> =
        lexemes(statement).filter(|lexeme| lexeme.kind != Kind::Whitespace).map(|lexeme| lexeme.text).collect();
    let mut query = words.join(" ");
    for star in ["t1.*", "t2.*", "t3.*", "T1.*", "T2.*", "T3.*"] {
        query = query.replace(star, "*");
    }
    Some(close_aliases(&query))
}

/// Removes one space behind each `T1.` and the like.
fn close_aliases(query: &str) -> String {
    let mut out = String::with_capacity(query.len());
    let mut rest = query;
    while let Some(at) = rest.find('T') {
        let digits = rest[at + 1..].find(|c| !is_digit(c)).unwrap_or(rest.len() - at - 1);
        let end = at + 1 + digits;
        let behind = rest[end..].strip_prefix('.').filter(|_| digits > 0);
        if let Some(behind) = behind.and_then(|behind| behind.strip_prefix(is_space)) {
            out.push_str(&rest[..=end]);
            rest = behind;
        } else {
            out.push_str(&rest[..=at]);
            rest = &rest[at + 1..];
        }
    }
    out + rest
}

/// Puts slots where words are among the numbers.
fn take_values(words: &mut [String], numbers: &HashSet<String>, values: &mut BTreeSet<String>) {
    for word in words.iter_mut().filter(|word| numbers.contains(*word)) {
        values.insert(std::mem::replace(word, SLOT.to_owned()));
    }
}

/// Matches of `[-+]?\d*\.\d+`, one behind the other.
fn floats(text: &str) -> HashSet<String> {
    let chars: Vec<char> = text.chars().collect();
    let digits = |from: usize| chars[from..].iter().take_while(|&&c| is_digit(c)).count();
    let mut found = HashSet::new();
    let mut at = 0;
    while at < chars.len() {
        let sign = usize::from(matches!(chars[at], '-' | '+'));
        let whole = digits(at + sign);
        let point = at + sign + whole;
        let fraction = if chars.get(point) == Some(&'.') { digits(point + 1) } else { 0 };
        if fraction > 0 {
            found.insert(chars[at..=point + fraction].iter().collect());
            at = point + 1 + fraction;
        } else if whole > 0 && sign == 0 {
            // No later start within these digits can do better.
            at = point;
        } else {
            at += 1;
        }
    }
    found
}

/// Matches of `[^tT]\d+`, one behind the other, without the whitespace in front of them.
fn integers(text: &str) -> HashSet<String> {
    let chars: Vec<char> = text.chars().collect();
    let mut found = HashSet::new();
    let mut at = 0;
    while at < chars.len() {
        let digits = chars[at + 1..].iter().take_while(|&&c| is_digit(c)).count();
        if digits > 0 && !matches!(chars[at], 't' | 'T') {
            found.insert(chars[at..=at + digits].iter().collect::<String>().trim_matches(is_space).to_owned());
            at += digits;
        }
        at += 1;
    }
    found
}

/// Whether a word has something like `t1.` in it.
fn has_alias(word: &str) -> bool {
    word.match_indices(['t', 'T']).any(|(at, _)| {
        let behind = word[at + 1..].trim_start_matches(is_digit);
        behind.len() < word.len() - at - 1 && behind.starts_with('.')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queries(gold: &str, prediction: &str) -> Vec<String> {
        Plugged::new(gold, prediction).unwrap().queries().collect()
    }

    #[test]
    fn every_value_goes_into_every_slot() {
        let found = queries("SELECT a FROM t WHERE b = 'x' AND c > 5", "SELECT a FROM t WHERE b = \"y\" AND c > 1");
        let expected = [("'x'", "'x'"), ("'x'", "5"), ("5", "'x'"), ("5", "5")]
            .map(|(first, second)| format!("select a from t where b = {first} and c > {second}"));
        assert_eq!(found, expected);
    }

    #[test]
    fn a_limit_takes_integers_only() {
        assert_eq!(
            queries("SELECT a FROM t WHERE b = 'x' LIMIT 3", "SELECT a FROM t LIMIT 1"),
            ["select a from t limit 3"]
        );
    }

    #[test]
    fn a_prediction_without_slots_is_put_in_small_letters() {
        assert_eq!(queries("SELECT 'x'", "SELECT T1.A, T1.* FROM t AS T1;"), ["select t1 . a , t1 . * from t as t1"]);
    }

    #[test]
    fn slots_without_values_allow_no_query() {
        assert!(queries("SELECT a FROM t", "SELECT a FROM t WHERE b = 1").is_empty());
    }

    #[test]
    fn numbers_behind_a_t_and_glued_ones_are_no_values() {
        let (words, values) = extract("SELECT t1.a FROM t12 AS t1 WHERE t1.b >= -1.5 OR c=3").unwrap();
        assert_eq!(words.join(" "), "select t1 . a from t12 as t1 where t1 . b >= valuerare or c = valuerare");
        assert_eq!(values.into_iter().collect::<Vec<_>>(), ["-1.5", "3"]);
    }

    #[test]
    fn blank_text_has_no_queries() {
        assert_eq!(Plugged::new("SELECT 1", " ;"), None);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_taken(gold in "\\PC{0,30}|[ -~]{0,40}", prediction in "\\PC{0,30}|[ -~]{0,40}") {
            if let Some(plugged) = Plugged::new(&gold, &prediction) {
                let some = plugged.queries().take(50).count() as u64;
                proptest::prop_assert_eq!(some, plugged.count().min(50));
            }
        }
    }
}
