//! Sentences: NLTK's Punkt tokenizer with its English model, as far as SQL can tell.
//!
//! `word_tokenize` cuts its text into sentences first, because a period is split off a word only at the end of a
//! sentence. In SQL that decides whether `1. and` is a number, and whether `t1.*` has two words or three. The algorithm
//! of `PunktSentenceTokenizer` is reproduced in full. Of the English model, the abbreviations, collocations and sentence
//! starters are all here. Its largest table says of 20,366 words in what case they were seen: about a word in small
//! letters all but four give the same answer, and about a capitalised word the answer is kept for SQL's keywords,
//! single letters and the commonest words of prose, and taken as "never seen in small letters" for any other. So a
//! decision can differ from the real model's only where a period right behind a single letter or an abbreviation is
//! followed by another capitalised word, outside a string literal.

use std::ops::Range;

use memchr::memchr3_iter;
use unicode_general_category::{GeneralCategory, get_general_category};

use super::treebank::is_space;

/// Calls `visit` with the byte range of every sentence of `text`, in order.
pub(super) fn each(text: &str, mut visit: impl FnMut(Range<usize>)) {
    let end = text.trim_end_matches(is_space).len();
    let candidates = candidates(text);
    if candidates.is_empty() {
        if end > 0 {
            visit(0..end);
        }
        return;
    }
    let mut sentences = Vec::new();
    let mut start = 0;
    for (candidate, context) in with_context(text, &candidates) {
        if contains_break(&text[context..candidate.after.end]) {
            sentences.push(start..candidate.at + 1);
            start = candidate.next.unwrap_or(candidate.at + 1);
        }
    }
    // The last word may be one of Python's separators that Punkt takes for a word and `rstrip` for white space.
    sentences.push(start..end.max(start));
    realign(text, &sentences, visit);
}

/// A `.`, `?` or `!` that may end a sentence.
#[derive(Clone)]
struct Candidate {
    at: usize,
    /// What follows: one character that no word contains, or white space and the next word.
    after: Range<usize>,
    /// Where the next word starts, if white space comes before it.
    next: Option<usize>,
}

fn candidates(text: &str) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    for at in memchr3_iter(b'.', b'?', b'!', text.as_bytes()) {
        let rest = &text[at + 1..];
        let Some(following) = rest.chars().next() else { break };
        if is_non_word(following) {
            candidates.push(Candidate { at, after: at + 1..at + 1 + following.len_utf8(), next: None });
        } else if following.is_whitespace() {
            let word = rest.trim_start();
            if !word.is_empty() {
                let next = text.len() - word.len();
                let end = next + word.find(char::is_whitespace).unwrap_or(word.len());
                candidates.push(Candidate { at, after: at + 1..end, next: Some(next) });
            }
        }
    }
    candidates
}

/// Pairs every candidate that is decided upon with the start of its context: the word before it.
///
/// A candidate is passed over where the context of the next one contains it. White space at the very start of the
/// searched text does not count as a separator, in NLTK's code as here.
fn with_context(text: &str, candidates: &[Candidate]) -> Vec<(Candidate, usize)> {
    let mut decided = Vec::new();
    let mut start = 0;
    let mut previous: Option<&Candidate> = None;
    for candidate in candidates {
        let before = previous.map_or(0, |candidate| candidate.at);
        let space = text.as_bytes()[before..candidate.at]
            .iter()
            .rposition(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c))
            .filter(|&index| index > 0);
        let word = space.map_or(start, |index| before + index + 1);
        if let Some(candidate) = previous
            && before <= word
        {
            decided.push((candidate.clone(), start));
        }
        previous = Some(candidate);
        start = word;
    }
    if let Some(candidate) = previous {
        decided.push((candidate.clone(), start));
    }
    decided
}

/// Moves closing quotes and brackets at the start of a sentence to the end of the one before it, as
/// `_realign_boundaries` does.
fn realign(text: &str, sentences: &[Range<usize>], mut visit: impl FnMut(Range<usize>)) {
    let mut moved = 0;
    for (index, sentence) in sentences.iter().enumerate() {
        let start = sentence.start + moved;
        moved = 0;
        if let Some(next) = sentences.get(index + 1)
            && let Some(closing) = closing(&text[next.clone()])
        {
            visit(start..next.start + closing.characters);
            moved = closing.with_space;
        } else if start < sentence.end {
            visit(start..sentence.end);
        }
    }
}

/// Closing characters at the start of a sentence.
struct Closing {
    characters: usize,
    /// Their length and that of the white space behind them.
    with_space: usize,
}

fn closing(sentence: &str) -> Option<Closing> {
    let rest = sentence
        .trim_start_matches(['"', '\'', ')', ']', '}', '\u{2018}', '\u{2019}', '\u{201c}', '\u{201d}', '«', '»']);
    let characters = sentence.len() - rest.len();
    let ends = rest.is_empty() || rest.starts_with(char::is_whitespace) || rest.starts_with("--");
    (characters > 0 && ends).then(|| Closing { characters, with_space: sentence.len() - rest.trim_start().len() })
}

/// Whether a sentence ends inside `context`, before its last word.
fn contains_break(context: &str) -> bool {
    // A line may be blank to Python and not to Punkt's expressions, which take Python's separators for words.
    let lines = context.split('\n').filter(|line| !line.chars().all(is_space));
    let words: Vec<Word> = lines.flat_map(punkt_words).map(Word::new).collect();
    words.windows(2).any(|pair| pair[0].ends_sentence_before(&pair[1]))
}

/// Characters that no word contains.
fn is_non_word(character: char) -> bool {
    matches!(
        character,
        ')' | '"'
            | ';'
            | '}'
            | ']'
            | '*'
            | ':'
            | '@'
            | '\''
            | '('
            | '{'
            | '['
            | '?'
            | '!'
            | '\u{2018}'
            | '\u{2019}'
            | '\u{201c}'
            | '\u{201d}'
            | '«'
            | '»'
    )
}

/// Punkt's own words, which are not the metric's: they keep their periods.
fn punkt_words(line: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = multiple(rest).unwrap_or_else(|| {
            let mut length = first.len_utf8();
            let starts_word = !matches!(
                first,
                '(' | '"' | '`' | '{' | '[' | ':' | ';' | '&' | '#' | '*' | '@' | ')' | '}' | ']' | '-' | ','
            );
            if starts_word {
                while !ends_word(&rest[length..]) {
                    length += rest[length..].chars().next().map_or(0, char::len_utf8);
                }
            }
            length
        });
        let (word, behind) = rest.split_at(length);
        words.push(word);
        rest = behind.trim_start();
    }
    words
}

fn ends_word(rest: &str) -> bool {
    let ends = |rest: &str| {
        rest.chars().next().is_none_or(|character| character.is_whitespace() || is_non_word(character))
            || starts_multiple(rest)
    };
    ends(rest) || rest.strip_prefix(',').is_some_and(ends)
}

/// Whether several dashes, several periods or three spaced periods start `rest`.
fn starts_multiple(rest: &str) -> bool {
    rest.starts_with("--") || rest.starts_with("..") || spaced_periods(rest, 2).is_some()
}

/// The length of what [`starts_multiple`] finds.
fn multiple(rest: &str) -> Option<usize> {
    for mark in ['-', '.'] {
        let run = rest.len() - rest.trim_start_matches(mark).len();
        if run > 1 {
            return Some(run);
        }
    }
    spaced_periods(rest, usize::MAX)
}

/// The length of at least three periods with one space each between them; `spaces` limits how far to look.
fn spaced_periods(text: &str, spaces: usize) -> Option<usize> {
    let mut rest = text.strip_prefix('.')?;
    let mut found = 0;
    while found < spaces
        && let Some(space) = rest.chars().next().filter(|character| character.is_whitespace())
        && let Some(behind) = rest[space.len_utf8()..].strip_prefix('.')
    {
        rest = behind;
        found += 1;
    }
    (found >= 2).then(|| text.len() - rest.len())
}

/// What the first pass says of a word by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum First {
    Nothing,
    Break,
    Abbreviation,
    Ellipsis,
}

/// Whether the case of a word says that it starts a sentence.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Starts {
    Yes,
    No,
    Unknown,
}

struct Word<'a> {
    text: &'a str,
    /// The word in small letters, numbers being all alike.
    type_: String,
    first: First,
}

const NUMBER: &str = "##number##";

impl<'a> Word<'a> {
    fn new(text: &'a str) -> Word<'a> {
        let lower = text.to_lowercase();
        let first = if matches!(text, "." | "?" | "!") {
            First::Break
        } else if text.len() > 1 && text.bytes().all(|byte| byte == b'.') {
            First::Ellipsis
        } else if text.ends_with('.') && !text.ends_with("..") {
            let stem = &lower[..lower.len() - 1];
            let last = stem.rsplit('-').next().unwrap_or(stem);
            let abbreviation = ABBREVIATIONS.contains(&stem) || ABBREVIATIONS.contains(&last);
            if abbreviation { First::Abbreviation } else { First::Break }
        } else {
            First::Nothing
        };
        let type_ = if is_number(&lower) { NUMBER.to_owned() } else { lower };
        Word { text, type_, first }
    }

    fn type_without_period(&self) -> &str {
        match self.type_.strip_suffix('.') {
            Some(stem) if !stem.is_empty() => stem,
            _ => &self.type_,
        }
    }

    /// The type as the model's tables know it: a period that ends a sentence is not part of it.
    fn table_type(&self) -> &str {
        if self.first == First::Break { self.type_without_period() } else { &self.type_ }
    }

    /// A single letter with a period.
    fn is_initial(&self) -> bool {
        let mut characters = self.text.chars();
        characters.next().is_some_and(is_letter) && characters.as_str() == "."
    }

    fn first_is(&self, test: fn(char) -> bool) -> bool {
        self.text.chars().next().is_some_and(test)
    }

    /// The second pass: whether a sentence ends with this word, seeing the next one.
    fn ends_sentence_before(&self, next: &Word) -> bool {
        let by_itself = self.first == First::Break;
        if !self.text.ends_with('.') {
            return by_itself;
        }
        let (type_, next_type) = (self.type_without_period(), next.table_type());
        if COLLOCATIONS.contains(&(type_, next_type)) {
            return false;
        }
        let initial = self.is_initial();
        if matches!(self.first, First::Abbreviation | First::Ellipsis) && !initial {
            return next.starts_sentence() == Starts::Yes
                || (next.first_is(char::is_uppercase) && SENTENCE_STARTERS.contains(&next_type));
        }
        if initial || type_ == NUMBER {
            match next.starts_sentence() {
                Starts::No => return false,
                Starts::Unknown if initial && next.first_is(char::is_uppercase) && !seen_small(next_type) => {
                    return false;
                }
                Starts::Yes | Starts::Unknown => {}
            }
        }
        by_itself
    }

    /// The orthographic heuristic.
    fn starts_sentence(&self) -> Starts {
        if matches!(self.text, ";" | ":" | "," | "." | "!" | "?") {
            return Starts::No;
        }
        if self.first_is(char::is_uppercase) && SEEN_SMALL_NEVER_CAPITAL_INSIDE.contains(&self.table_type()) {
            return Starts::Yes;
        }
        if self.first_is(char::is_lowercase) && !SMALL_SENTENCE_STARTERS.contains(&self.table_type()) {
            return Starts::No;
        }
        Starts::Unknown
    }
}

fn seen_small(type_: &str) -> bool {
    SEEN_SMALL_NEVER_CAPITAL_INSIDE.contains(&type_) || SEEN_SMALL.contains(&type_)
}

/// `^-?[.,]?\d[\d,.-]*$`; the period that the official pattern allows at the end is in the class already.
fn is_number(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    let text = text.strip_prefix(['.', ',']).unwrap_or(text);
    let is_digit = |character| get_general_category(character) == GeneralCategory::DecimalNumber;
    text.starts_with(is_digit)
        && text.chars().all(|character| matches!(character, ',' | '.' | '-') || is_digit(character))
}

/// `[^\W\d]`.
fn is_letter(character: char) -> bool {
    character.is_alphabetic()
        || matches!(
            get_general_category(character),
            GeneralCategory::NonspacingMark
                | GeneralCategory::SpacingMark
                | GeneralCategory::EnclosingMark
                | GeneralCategory::ConnectorPunctuation
        )
}

#[rustfmt::skip]
const ABBREVIATIONS: [&str; 156] = [
    ". . ", "a.a", "a.c", "a.d", "a.g", "a.h", "a.m", "a.m.e", "a.s", "a.t", "adm", "ala", "ariz", "aug", "ave",
    "b.f", "b.v", "bros", "c", "c.i.t", "c.o.m.b", "c.v", "calif", "chg", "cie", "co", "col", "colo", "conn",
    "corp", "cos", "ct", "d", "d.c", "d.h", "d.w", "dec", "dr", "e", "e.f", "e.h", "e.l", "e.m", "f", "f.g",
    "f.j", "feb", "fla", "fri", "ft", "g", "g.d", "g.f", "g.k", "ga", "gen", "h", "h.c", "h.f", "h.m", "i.m.s",
    "ill", "inc", "j.b", "j.c", "j.j", "j.k", "j.p", "j.r", "jan", "jr", "k", "kan", "ky", "l", "l.a", "l.f",
    "l.p", "lt", "ltd", "m", "m.b.a", "m.d.c", "m.j", "maj", "messrs", "mg", "mich", "minn", "mr", "mrs", "ms",
    "n", "n.c", "n.d", "n.h", "n.j", "n.m", "n.v", "n.y", "nev", "nov", "oct", "ok", "okla", "ore", "p",
    "p.a.m", "p.m", "pa", "ph.d", "prof", "r", "r.a", "r.h", "r.i", "r.j", "r.k", "r.t", "rep", "reps", "s",
    "s.a", "s.a.y", "s.c", "s.g", "s.p.a", "s.s", "sen", "sep", "sept", "sr", "st", "sw", "t", "t.j", "tenn",
    "tues", "u.k", "u.n", "u.s", "u.s.a", "u.s.s.r", "v", "va", "vs", "vt", "w", "w.c", "w.r", "w.va", "w.w",
    "wash", "wed", "wis", "yr",
];

#[rustfmt::skip]
const COLLOCATIONS: [(&str, &str); 37] = [
    ("##number##", "abreast"), ("##number##", "aes"), ("##number##", "business"), ("##number##", "cbot"),
    ("##number##", "colgate"), ("##number##", "commodities"), ("##number##", "cooper"),
    ("##number##", "corrections"), ("##number##", "credit"), ("##number##", "dividend"),
    ("##number##", "financing"), ("##number##", "genentech"), ("##number##", "henley"),
    ("##number##", "insider"), ("##number##", "international"), ("##number##", "leisure"),
    ("##number##", "letters"), ("##number##", "notable"), ("##number##", "pay-fone"), ("##number##", "pegasus"),
    ("##number##", "pepper"), ("##number##", "review"), ("##number##", "rj"), ("##number##", "wedgestone"),
    ("##number##", "who"), ("##number##", "zimmer"), ("b", "edelman"), ("b", "levine"), ("b", "smith"),
    ("b", "stewart"), ("b", "wigton"), ("i", "magnin"), ("i", "toussie"), ("j", "aron"), ("j", "fialka"),
    ("j", "walter"), ("o", "ludcke"),
];

#[rustfmt::skip]
const SENTENCE_STARTERS: [&str; 39] = [
    "according", "although", "among", "both", "but", "despite", "even", "he", "however", "i", "if", "in",
    "indeed", "instead", "it", "many", "meanwhile", "moreover", "most", "nevertheless", "nonetheless", "nor",
    "sales", "separately", "similarly", "since", "so", "some", "the", "there", "these", "they", "this",
    "though", "thus", "under", "when", "while", "yet",
];

/// The only words that the model has seen start a sentence in small letters and never seen capitalised.
const SMALL_SENTENCE_STARTERS: [&str; 4] = ["administrators", "b-week", "r-revised", "z-holiday"];

/// Words that the model has seen in small letters, and never capitalised inside a sentence.
#[rustfmt::skip]
const SEEN_SMALL_NEVER_CAPITAL_INSIDE: [&str; 70] = [
    "always", "attach", "begin", "between", "cast", "check", "column", "commit", "conflict", "create",
    "database", "default", "deferred", "distinct", "else", "escape", "example", "except", "exclude",
    "exclusive", "exists", "explain", "following", "generated", "here", "ignore", "immediate", "indeed",
    "indexed", "initially", "inner", "instead", "into", "match", "moreover", "nevertheless", "nonetheless",
    "nor", "note", "nothing", "offset", "outer", "please", "preceding", "question", "range", "replace",
    "restrict", "result", "returning", "right", "rows", "select", "separately", "similarly", "so", "sum",
    "temporary", "though", "thus", "trigger", "unique", "using", "vacuum", "values", "virtual", "window",
    "without", "yet", "your",
];

/// Words that the model has seen in small letters, and capitalised inside a sentence as well.
#[rustfmt::skip]
const SEEN_SMALL: [&str; 99] = [
    "a", "according", "action", "add", "after", "all", "alter", "although", "among", "an", "and", "answer",
    "any", "as", "b", "before", "both", "but", "by", "c", "case", "count", "cross", "current", "d", "despite",
    "do", "drop", "each", "end", "even", "every", "fail", "first", "for", "foreign", "from", "full", "group",
    "groups", "having", "he", "however", "if", "in", "index", "is", "it", "join", "key", "last", "left", "like",
    "limit", "many", "meanwhile", "most", "natural", "no", "none", "not", "of", "on", "or", "order", "others",
    "over", "plan", "primary", "raise", "release", "row", "s", "sales", "set", "since", "some", "table", "that",
    "the", "then", "there", "these", "they", "this", "those", "ties", "to", "transaction", "under", "union",
    "view", "we", "when", "where", "while", "with", "you", "z",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn sentences(text: &str) -> Vec<&str> {
        let mut sentences = Vec::new();
        each(text, |range| sentences.push(&text[range]));
        sentences
    }

    #[test]
    fn periods_inside_words_end_nothing() {
        assert_eq!(sentences(" select t1.a from t \n"), [" select t1.a from t"]);
        assert!(sentences(" \t").is_empty());
    }

    #[test]
    fn a_number_before_a_small_letter_keeps_its_period() {
        assert_eq!(sentences("a > 1. and b"), ["a > 1. and b"]);
        assert_eq!(sentences("a > 1. AND b"), ["a > 1.", "AND b"]);
        assert_eq!(sentences("a > 1. t1.b"), ["a > 1. t1.b"]);
        assert_eq!(sentences("a > 1. administrators"), ["a > 1.", "administrators"]);
        assert_eq!(sentences("a > 1. Business"), ["a > 1. Business"]);
    }

    #[test]
    fn a_star_behind_a_period_starts_a_sentence() {
        assert_eq!(sentences("select t1.* from t"), ["select t1.", "* from t"]);
    }

    #[test]
    fn an_initial_ends_a_sentence_only_before_words_known_in_small_letters() {
        assert_eq!(sentences("as b. Where c"), ["as b.", "Where c"]);
        assert_eq!(sentences("as b. Singer c"), ["as b. Singer c"]);
        // An abbreviation besides, which an initial's rules cannot overturn.
        assert_eq!(sentences("as t. Where c"), ["as t. Where c"]);
    }

    #[test]
    fn an_abbreviation_ends_a_sentence_before_a_typical_start() {
        assert_eq!(sentences("as st. Select a"), ["as st.", "Select a"]);
        assert_eq!(sentences("as st. The a"), ["as st.", "The a"]);
        assert_eq!(sentences("as st. Where a"), ["as st. Where a"]);
        assert_eq!(sentences("as xst. Where a"), ["as xst.", "Where a"]);
    }

    #[test]
    fn exclamation_and_question_marks_end_sentences() {
        assert_eq!(sentences("a ! = b ? c"), ["a !", "= b ?", "c"]);
        assert_eq!(sentences("x.! y"), ["x.!", "y"]);
    }

    #[test]
    fn closing_characters_move_to_the_sentence_before() {
        assert_eq!(sentences("(x.) and xy."), ["(x.)", "and xy."]);
        assert_eq!(sentences("(xx.)) ; b"), ["(xx.))", "; b"]);
        assert_eq!(sentences("(xx.)b c"), ["(xx.", ")b c"]);
    }

    #[test]
    fn spaced_periods_are_one_word_to_punkt() {
        assert_eq!(punkt_words("x. . . y,"), ["x", ". . .", "y", ","]);
        assert_eq!(punkt_words("-1.a,b --c"), ["-", "1.a,b", "--", "c"]);
    }

    #[test]
    fn a_separator_that_is_no_white_space_to_punkt() {
        assert_eq!(sentences("xy. \u{1c}"), ["xy."]);
        assert_eq!(sentences("xy. \u{1c} b"), ["xy.", "\u{1c} b"]);
        assert_eq!(sentences("xy.\n\u{1c} b"), ["xy.\n\u{1c} b"]);
    }
}
