//! The words that the metric is defined on: `tokenize` of the official `process_sql.py`.
//!
//! Not SQL's lexemes, but English words as NLTK cuts them, with string literals taken out first and put back after.
//! Every `'` counts as a `"`. Quotation marks pair up from the left, an odd number of them is a rejection, and each
//! literal is replaced by a placeholder made of the positions of its two marks, so a doubled quote inside a literal
//! makes two literals with their placeholders glued together: one unintelligible word. Words are in small letters,
//! literals as they were written. At the end a word `=` is joined to a `!`, `>` or `<` before it.

use memchr::memchr2_iter;

use super::rejection::{Reason, Rejection};
use super::{sentences, treebank};

/// The words of one query.
#[derive(Clone, Debug)]
pub struct Words {
    /// Every word's text, with other text in between.
    text: String,
    list: Vec<Word>,
    literals: Vec<Literal>,
}

#[derive(Clone, Copy, Debug)]
struct Word {
    kind: Kind,
    /// Where the word's text is in [`Words::text`].
    start: usize,
    end: usize,
    /// Where the word was in the SQL text with placeholders.
    at: usize,
}

/// A string literal and its placeholder `__val_<first>_<second>__`.
#[derive(Clone, Debug)]
struct Literal {
    /// Position of the opening quotation mark, in characters: the first number in the placeholder.
    first: usize,
    /// Where the placeholder is.
    start: usize,
    end: usize,
    /// Where the literal was in the SQL text, with its quotation marks.
    source_start: usize,
    source_end: usize,
}

impl Words {
    /// The number of words.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are no words.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The words in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|index| self.text(index))
    }

    /// The text of a word that there is.
    pub(super) fn text(&self, index: usize) -> &str {
        let word = self.list[index];
        &self.text[word.start..word.end]
    }

    pub(super) fn kind(&self, index: usize) -> Option<Kind> {
        self.list.get(index).map(|word| word.kind)
    }

    /// Byte offset of a word into the SQL text.
    pub(super) fn offset(&self, index: usize) -> Option<usize> {
        let at = self.list.get(index)?.at;
        let following = self.literals.partition_point(|literal| literal.start <= at);
        Some(match following.checked_sub(1).map(|index| &self.literals[index]) {
            None => at,
            Some(literal) if at < literal.end => literal.source_start,
            Some(literal) => literal.source_end + (at - literal.end),
        })
    }

    /// The literal whose placeholder `word` is.
    fn literal(&self, word: &str) -> Option<&Literal> {
        let number = word.strip_prefix(PLACEHOLDER)?.split('_').next()?.parse().ok()?;
        let index = self.literals.binary_search_by_key(&number, |literal| literal.first).ok()?;
        let literal = &self.literals[index];
        // The text is in small letters by now, but a placeholder has no other.
        (self.text[literal.start..literal.end] == *word).then_some(literal)
    }

    /// Puts the literals back, and says of every word what it is.
    fn restore_literals(&mut self, sql: &str) {
        for index in 0..self.list.len() {
            let text = self.text(index);
            let kind = kind(text);
            if kind == Kind::Other
                && let Some(literal) = self.literal(text)
            {
                let inside = literal.source_start + 1..literal.source_end - 1;
                let start = self.text.len();
                self.text.push('"');
                self.text.push_str(&sql[inside]);
                self.text.push('"');
                let word = &mut self.list[index];
                (word.kind, word.start, word.end) = (Kind::Literal, start, self.text.len());
            } else {
                self.list[index].kind = kind;
            }
        }
    }

    /// Joins `=` to a `!`, `>` or `<` before it.
    ///
    /// For a `=` that is the first word the official program looks at the last one, Python's index -1, and joins the
    /// two in front of everything else.
    fn join_comparisons(&mut self) {
        let joins = |pair: &[Word]| pair[1].kind == Kind::Equal && pair[0].kind.with_equal().is_some();
        if self.list.first().is_none_or(|first| first.kind != Kind::Equal) && !self.list.windows(2).any(joins) {
            return;
        }
        let mut joined: Vec<Word> = Vec::with_capacity(self.list.len());
        for word in std::mem::take(&mut self.list) {
            match joined.last_mut() {
                Some(last) if word.kind == Kind::Equal && last.kind.with_equal().is_some() => {
                    *last = joined_word(&mut self.text, *last);
                }
                _ => joined.push(word),
            }
        }
        if let [first, .., last] = joined[..]
            && first.kind == Kind::Equal
            && last.kind.with_equal().is_some()
        {
            let word = joined_word(&mut self.text, last);
            let behind = joined[1..].to_vec();
            joined.pop();
            joined.push(word);
            joined.extend(behind);
        }
        self.list = joined;
    }
}

fn joined_word(text: &mut String, word: Word) -> Word {
    let Some((kind, spelling)) = word.kind.with_equal() else {
        return word;
    };
    let start = text.len();
    text.push_str(spelling);
    Word { kind, start, end: text.len(), at: word.at }
}

const PLACEHOLDER: &str = "__val_";

/// Cuts SQL text into words.
pub fn words(sql: &str) -> Result<Words, Rejection> {
    let mut words = with_placeholders(sql)?;
    let spans = &mut words.list;
    sentences::each(&words.text, |sentence| {
        treebank::split(&words.text[sentence.clone()], |range| {
            let (start, end) = (sentence.start + range.start, sentence.start + range.end);
            spans.push(Word { kind: Kind::Other, start, end, at: start });
        });
    });
    if words.text.is_ascii() {
        words.text.make_ascii_lowercase();
    } else {
        // Word by word, because the small form of a capital sigma depends on what stands beside it; placeholders
        // have to stay where they are, so the small words go behind the text.
        for index in 0..words.list.len() {
            let lower = words.text(index).to_lowercase();
            let word = &mut words.list[index];
            word.start = words.text.len();
            words.text.push_str(&lower);
            word.end = words.text.len();
        }
    }
    words.restore_literals(sql);
    words.join_comparisons();
    Ok(words)
}

/// The SQL text with every literal replaced by its placeholder.
fn with_placeholders(sql: &str) -> Result<Words, Rejection> {
    let quotes = memchr2_iter(b'"', b'\'', sql.as_bytes()).count();
    if quotes % 2 == 1 {
        let offset = sql.rfind(['"', '\'']);
        return Err(Rejection { reason: Reason::UnbalancedQuotes, word: None, offset });
    }
    // Most words are short: four bytes to a word is rarely too little.
    let mut result = Words {
        text: String::with_capacity(sql.len() + 32 * quotes),
        list: Vec::with_capacity(sql.len() / 4 + 1),
        literals: Vec::with_capacity(quotes / 2),
    };
    let text = &mut result.text;
    let (mut copied, mut characters) = (0, 0);
    let mut marks = memchr2_iter(b'"', b'\'', sql.as_bytes());
    while let (Some(opening), Some(closing)) = (marks.next(), marks.next()) {
        text.push_str(&sql[copied..opening]);
        let first = characters + sql[copied..opening].chars().count();
        let second = first + sql[opening..closing].chars().count();
        let start = text.len();
        text.push_str(PLACEHOLDER);
        push_number(text, first);
        text.push('_');
        push_number(text, second);
        text.push_str("__");
        let source_end = closing + 1;
        result.literals.push(Literal { first, start, end: text.len(), source_start: opening, source_end });
        (copied, characters) = (source_end, second + 1);
    }
    text.push_str(&sql[copied..]);
    Ok(result)
}

fn push_number(text: &mut String, number: usize) {
    if number > 9 {
        push_number(text, number / 10);
    }
    #[allow(clippy::cast_possible_truncation)] // one digit
    text.push(char::from(b'0' + (number % 10) as u8));
}

/// What a word is to the grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    And,
    As,
    Ascending,
    Average,
    Between,
    By,
    Comma,
    Count,
    Descending,
    Distinct,
    Equal,
    Except,
    Exists,
    From,
    Greater,
    GreaterEqual,
    Group,
    Having,
    In,
    Intersect,
    Is,
    Join,
    LeftParenthesis,
    Less,
    LessEqual,
    Like,
    Limit,
    Literal,
    Mark,
    Maximum,
    Minimum,
    Minus,
    /// The official lists of aggregates and of arithmetic operators both start with a word `none`.
    None,
    Not,
    NotEqual,
    On,
    Or,
    Order,
    Other,
    Plus,
    RightParenthesis,
    Select,
    Semicolon,
    Slash,
    Star,
    Sum,
    Union,
    Where,
}

impl Kind {
    /// The official `CLAUSE_KEYWORDS`, which lack `having`.
    pub(super) fn starts_clause(self) -> bool {
        matches!(
            self,
            Kind::Select
                | Kind::From
                | Kind::Where
                | Kind::Group
                | Kind::Order
                | Kind::Limit
                | Kind::Intersect
                | Kind::Union
                | Kind::Except
        )
    }

    /// The official `JOIN_KEYWORDS`.
    pub(super) fn joins(self) -> bool {
        matches!(self, Kind::Join | Kind::On | Kind::As)
    }

    /// The comparison that this word and a `=` behind it make.
    fn with_equal(self) -> Option<(Kind, &'static str)> {
        match self {
            Kind::Mark => Some((Kind::NotEqual, "!=")),
            Kind::Greater => Some((Kind::GreaterEqual, ">=")),
            Kind::Less => Some((Kind::LessEqual, "<=")),
            _ => None,
        }
    }
}

fn kind(word: &str) -> Kind {
    // By length first: a word is then compared with a few others and not with all.
    match word.len() {
        1 => match word {
            "(" => Kind::LeftParenthesis,
            ")" => Kind::RightParenthesis,
            "," => Kind::Comma,
            "=" => Kind::Equal,
            "*" => Kind::Star,
            ">" => Kind::Greater,
            "<" => Kind::Less,
            ";" => Kind::Semicolon,
            "!" => Kind::Mark,
            "-" => Kind::Minus,
            "+" => Kind::Plus,
            "/" => Kind::Slash,
            _ => Kind::Other,
        },
        2 => match word {
            "as" => Kind::As,
            "by" => Kind::By,
            "on" => Kind::On,
            "in" => Kind::In,
            "or" => Kind::Or,
            "is" => Kind::Is,
            _ => Kind::Other,
        },
        3 => match word {
            "and" => Kind::And,
            "not" => Kind::Not,
            "asc" => Kind::Ascending,
            "max" => Kind::Maximum,
            "min" => Kind::Minimum,
            "sum" => Kind::Sum,
            "avg" => Kind::Average,
            _ => Kind::Other,
        },
        4 => match word {
            "from" => Kind::From,
            "join" => Kind::Join,
            "desc" => Kind::Descending,
            "like" => Kind::Like,
            "none" => Kind::None,
            _ => Kind::Other,
        },
        5 => match word {
            "where" => Kind::Where,
            "group" => Kind::Group,
            "order" => Kind::Order,
            "count" => Kind::Count,
            "limit" => Kind::Limit,
            "union" => Kind::Union,
            _ => Kind::Other,
        },
        6 => match word {
            "select" => Kind::Select,
            "having" => Kind::Having,
            "except" => Kind::Except,
            "exists" => Kind::Exists,
            _ => Kind::Other,
        },
        7 if word == "between" => Kind::Between,
        8 if word == "distinct" => Kind::Distinct,
        9 if word == "intersect" => Kind::Intersect,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(sql: &str) -> Vec<String> {
        words(sql).unwrap().iter().map(str::to_owned).collect()
    }

    #[test]
    fn either_quotation_mark_makes_a_literal_that_keeps_its_case() {
        assert_eq!(list("SELECT 'It' , \"Is\""), ["select", "\"It\"", ",", "\"Is\""]);
    }

    #[test]
    fn an_odd_number_of_quotation_marks_is_rejected() {
        let rejection = words("select \"it's\" x").unwrap_err();
        assert_eq!(rejection.reason, Reason::UnbalancedQuotes);
        assert_eq!((rejection.word, rejection.offset), (None, Some(12)));
    }

    #[test]
    fn a_doubled_quote_glues_two_placeholders() {
        assert_eq!(list("a = 'it''s'"), ["a", "=", "__val_4_7____val_8_10__"]);
    }

    #[test]
    fn placeholders_count_characters() {
        assert_eq!(list("é = 'ü'x"), ["é", "=", "__val_4_6__x"]);
        assert_eq!(list("é = 'Ü' É"), ["é", "=", "\"Ü\"", "é"]);
    }

    #[test]
    fn a_placeholder_that_was_written_out_is_the_literal() {
        assert_eq!(list("'A' __VAL_0_2__ __val_0_3__"), ["\"A\"", "\"A\"", "__val_0_3__"]);
    }

    #[test]
    fn a_literal_is_hidden_from_the_sentence_rules() {
        assert_eq!(list("a = 'Mr. X! Y.' b"), ["a", "=", "\"Mr. X! Y.\"", "b"]);
    }

    #[test]
    fn comparisons_are_joined_whatever_the_space() {
        assert_eq!(list("a > = 1 < = ! ="), ["a", ">=", "1", "<=", "!="]);
        assert_eq!(list("a > = = 1"), ["a", ">=", "=", "1"]);
        assert_eq!(list("a <> 1"), ["a", "<", ">", "1"]);
    }

    #[test]
    fn a_leading_equal_sign_wraps_to_the_last_word() {
        assert_eq!(list("= a >"), ["=", "a", ">=", "a", ">"]);
        assert_eq!(list("="), ["="]);
        assert_eq!(list("= a"), ["=", "a"]);
    }

    #[test]
    fn offsets_point_into_the_original_text() {
        let sql = "a 'long literal' ÀB 'x' c";
        let words = words(sql).unwrap();
        let starts: Vec<&str> = (0..words.len()).map(|index| &sql[words.offset(index).unwrap()..]).collect();
        assert_eq!(starts, [sql, "'long literal' ÀB 'x' c", "ÀB 'x' c", "'x' c", "c"]);
        assert_eq!(words.offset(5), None);
    }

    #[test]
    fn small_letters_are_found_word_by_word() {
        assert_eq!(list("ΑΣ:ΑΣ \u{212a}ey"), ["ας", ":", "ας", "key"]);
    }

    proptest! {
        #[test]
        fn any_text_has_words_or_odd_quotes(sql in ".*") {
            let odd = sql.matches(['\'', '"']).count() % 2 == 1;
            match words(&sql) {
                Ok(words) => {
                    prop_assert!(!odd);
                    for (index, word) in words.iter().enumerate() {
                        prop_assert!(!word.is_empty());
                        prop_assert!(sql.is_char_boundary(words.offset(index).unwrap()));
                    }
                }
                Err(_) => prop_assert!(odd),
            }
        }

        #[test]
        fn dense_punctuation_is_no_exception(sql in "[a-cIA. ,:!?()'\"`=<>*\u{1c}\n-]{0,40}") {
            let _ = words(&sql);
        }
    }
}
