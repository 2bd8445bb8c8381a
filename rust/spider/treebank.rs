//! Words of one sentence: the rules of NLTK's `NLTKWordTokenizer` in one pass.
//!
//! NLTK rewrites the sentence some thirty times, each time putting spaces round something, and splits it on white space
//! at the end. No rule but those about quotation marks changes a character, and the caller has taken every `'` and `"`
//! out, so every word is a slice of the sentence and the rules reduce to where words end:
//!
//! * each of `; @ # $ % & ? ! * ( ) [ ] { } < >`, each typographic quote and dash is a word;
//! * `:` and `,` are words unless a digit follows; the character behind one is taken with it, so the second of two
//!   commas is not examined and stays with what follows: `a,,b` is `a` `,` `,b`;
//! * a run of two or more periods is a word, and a single period is one where only closing brackets, closing quotes and
//!   white space follow it in the sentence; any other period is part of a word;
//! * `--` is a word, from the left: `---1` is `--` `-1`;
//! * backticks are words in pairs, the odd one by itself;
//! * `cannot`, `gimme`, `gonna`, `gotta`, `lemme` and `wanna` fall in two, also inside a word, at a word boundary.
//!
//! `=`, `+`, `-`, `/` and `|` are none of these, which is why `a=1` is one word.

use std::ops::Range;

use unicode_general_category::{GeneralCategory, get_general_category};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Inside,
    Space,
    Alone,
    Comma,
    Period,
    Dash,
    Backtick,
    Wide,
}

const CLASSES: [Class; 256] = classes();

const fn classes() -> [Class; 256] {
    let mut classes = [Class::Inside; 256];
    let mut byte = 0;
    while byte < 256 {
        #[allow(clippy::cast_possible_truncation)] // below 256
        let class = match byte as u8 {
            // Python's `str.split` counts the four separators 0x1c to 0x1f as white space.
            b'\t'..=b'\r' | 0x1c..=b' ' => Class::Space,
            b';' | b'@' | b'#' | b'$' | b'%' | b'&' | b'?' | b'!' | b'*' | b'(' | b')' | b'[' | b']' | b'{' | b'}'
            | b'<' | b'>' => Class::Alone,
            b':' | b',' => Class::Comma,
            b'.' => Class::Period,
            b'-' => Class::Dash,
            b'`' => Class::Backtick,
            0x80..=0xff => Class::Wide,
            _ => Class::Inside,
        };
        classes[byte] = class;
        byte += 1;
    }
    classes
}

/// White space to Python's `str.split`, `str.strip` and `re`.
pub(super) fn is_space(character: char) -> bool {
    character.is_whitespace() || matches!(character, '\u{1c}'..='\u{1f}')
}

/// Calls `emit` with the byte range of every word in `sentence`, in order.
pub(super) fn split(sentence: &str, emit: impl FnMut(Range<usize>)) {
    let mut splitter = Splitter { sentence, emit, start: None };
    splitter.run();
}

struct Splitter<'a, F> {
    sentence: &'a str,
    emit: F,
    /// Where the word being read starts.
    start: Option<usize>,
}

impl<F: FnMut(Range<usize>)> Splitter<'_, F> {
    fn run(&mut self) {
        let bytes = self.sentence.as_bytes();
        let final_period = final_period(self.sentence);
        // Position of the character that the comma before it took along.
        let mut taken = usize::MAX;
        let mut at = 0;
        while at < bytes.len() {
            match CLASSES[usize::from(bytes[at])] {
                Class::Inside => at = self.inside(at, 1),
                Class::Space => {
                    self.finish(at);
                    at += 1;
                }
                Class::Alone => at = self.alone(at, 1),
                Class::Comma => {
                    let next = self.sentence[at + 1..].chars().next();
                    if at == taken || next.is_some_and(is_digit) {
                        at = self.inside(at, 1);
                    } else {
                        taken = at + 1;
                        at = self.alone(at, 1);
                    }
                }
                Class::Period => {
                    let run = run_length(&bytes[at..]);
                    let alone = run > 1 || final_period == Some(at);
                    at = if alone { self.alone(at, run) } else { self.inside(at, 1) };
                }
                Class::Dash => {
                    let double = bytes.get(at + 1) == Some(&b'-');
                    at = if double { self.alone(at, 2) } else { self.inside(at, 1) };
                }
                Class::Backtick => {
                    let pair = bytes.get(at + 1) == Some(&b'`');
                    at = self.alone(at, if pair { 2 } else { 1 });
                }
                Class::Wide => {
                    let Some(character) = self.sentence[at..].chars().next() else {
                        break;
                    };
                    let length = character.len_utf8();
                    if is_space(character) {
                        self.finish(at);
                        at += length;
                    } else if matches!(character, '«' | '“' | '‘' | '„' | '»' | '”' | '’' | '\u{2012}'..='\u{2015}')
                    {
                        at = self.alone(at, length);
                    } else {
                        at = self.inside(at, length);
                    }
                }
            }
        }
        self.finish(bytes.len());
    }

    /// The character at `at` is part of a word.
    fn inside(&mut self, at: usize, length: usize) -> usize {
        self.start.get_or_insert(at);
        at + length
    }

    /// The characters at `at` are a word by themselves.
    fn alone(&mut self, at: usize, length: usize) -> usize {
        self.finish(at);
        (self.emit)(at..at + length);
        at + length
    }

    /// The word being read, if any, ends before `end`.
    fn finish(&mut self, end: usize) {
        let Some(start) = self.start.take() else { return };
        let word = &self.sentence[start..end];
        let mut done = 0;
        if may_contract(word) {
            while let Some(contraction) = find_contraction(word, done) {
                if contraction.start > done {
                    (self.emit)(start + done..start + contraction.start);
                }
                (self.emit)(start + contraction.start..start + contraction.middle);
                (self.emit)(start + contraction.middle..start + contraction.end);
                done = contraction.end;
            }
        }
        if start + done < end {
            (self.emit)(start + done..end);
        }
    }
}

fn run_length(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|&&byte| byte == bytes[0]).count()
}

/// The period that ends the sentence. Behind it NLTK allows closing brackets and quotes mixed with plain spaces, then
/// any white space.
fn final_period(sentence: &str) -> Option<usize> {
    let sentence = sentence.trim_end_matches(char::is_whitespace);
    let sentence = sentence.trim_end_matches([']', ')', '}', '>', '»', '”', '’', ' ']);
    sentence.strip_suffix('.').map(str::len)
}

fn is_digit(character: char) -> bool {
    character.is_ascii_digit()
        || (!character.is_ascii() && get_general_category(character) == GeneralCategory::DecimalNumber)
}

/// `\w` of Python's `re`: alphanumeric or underscore.
fn is_word_character(character: char) -> bool {
    if character.is_ascii() {
        return character.is_ascii_alphanumeric() || character == '_';
    }
    matches!(
        get_general_category(character),
        GeneralCategory::UppercaseLetter
            | GeneralCategory::LowercaseLetter
            | GeneralCategory::TitlecaseLetter
            | GeneralCategory::ModifierLetter
            | GeneralCategory::OtherLetter
            | GeneralCategory::DecimalNumber
            | GeneralCategory::LetterNumber
            | GeneralCategory::OtherNumber
    )
}

/// The two halves of every contraction that has no apostrophe. `wanna` counts only at the end of a word.
const CONTRACTIONS: [(&str, &str); 6] =
    [("can", "not"), ("gim", "me"), ("gon", "na"), ("got", "ta"), ("lem", "me"), ("wan", "na")];

struct Contraction {
    start: usize,
    middle: usize,
    end: usize,
}

/// Cheap necessary condition: every contraction has one of three double letters.
fn may_contract(word: &str) -> bool {
    word.as_bytes()
        .windows(2)
        .any(|pair| pair[0] | 0x20 == pair[1] | 0x20 && matches!(pair[0] | 0x20, b'n' | b'm' | b't'))
}

fn find_contraction(word: &str, from: usize) -> Option<Contraction> {
    let mut previous = word[..from].chars().next_back();
    for (offset, character) in word[from..].char_indices() {
        if !previous.is_some_and(is_word_character) {
            let start = from + offset;
            for (first, second) in CONTRACTIONS {
                let Some(middle) = match_ignoring_case(&word[start..], first).map(|length| start + length) else {
                    continue;
                };
                let Some(end) = match_ignoring_case(&word[middle..], second).map(|length| middle + length) else {
                    continue;
                };
                let next = word[end..].chars().next();
                let ends = if first == "wan" { next.is_none() } else { !next.is_some_and(is_word_character) };
                if ends {
                    return Some(Contraction { start, middle, end });
                }
            }
        }
        previous = Some(character);
    }
    None
}

/// Length of the prefix of `text` that is `pattern` under Python's `re.IGNORECASE`, to which the dotted capital and the
/// dotless small i are forms of `i`.
fn match_ignoring_case(text: &str, pattern: &str) -> Option<usize> {
    let mut characters = text.chars();
    for expected in pattern.chars() {
        let found = match characters.next()? {
            'İ' | 'ı' => 'i',
            character => character.to_ascii_lowercase(),
        };
        if found != expected {
            return None;
        }
    }
    Some(text.len() - characters.as_str().len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(sentence: &str) -> Vec<&str> {
        let mut words = Vec::new();
        split(sentence, |range| words.push(&sentence[range]));
        words
    }

    #[test]
    fn operators_without_spaces_stay_in_the_word() {
        assert_eq!(words("a=1 t1.id=t2.id a-b x/y x||y"), ["a=1", "t1.id=t2.id", "a-b", "x/y", "x||y"]);
        assert_eq!(words("age>=1"), ["age", ">", "=1"]);
    }

    #[test]
    fn a_comma_before_a_digit_does_not_split() {
        assert_eq!(words("1,2 a,b a, 1:2 a:b a,"), ["1,2", "a", ",", "b", "a", ",", "1:2", "a", ":", "b", "a", ","]);
        assert_eq!(words("a,٣"), ["a,٣"]);
    }

    #[test]
    fn a_comma_takes_the_next_character_along() {
        assert_eq!(words("a,,b"), ["a", ",", ",b"]);
        assert_eq!(words("a,,,b"), ["a", ",", ",", ",", "b"]);
        assert_eq!(words("a,,,,b"), ["a", ",", ",", ",", ",b"]);
        assert_eq!(words("a,,1"), ["a", ",", ",1"]);
        assert_eq!(words("a,(b"), ["a", ",", "(", "b"]);
    }

    #[test]
    fn only_a_final_period_is_split_off() {
        assert_eq!(words("a. b."), ["a.", "b", "."]);
        assert_eq!(words("a.) ] \t"), ["a", ".", ")", "]"]);
        assert_eq!(words("a.)\t)"), ["a.", ")", ")"]);
        assert_eq!(words("a.;"), ["a.", ";"]);
        assert_eq!(words("a.. b..."), ["a", "..", "b", "..."]);
        assert_eq!(words("."), ["."]);
    }

    #[test]
    fn dashes_and_backticks_pair_from_the_left() {
        assert_eq!(words("a---1"), ["a", "--", "-1"]);
        assert_eq!(words("```a`"), ["``", "`", "a", "`"]);
    }

    #[test]
    fn contractions_fall_in_two() {
        assert_eq!(words("cannot x.GoTTa a_gonna gonnas"), ["can", "not", "x.", "GoT", "Ta", "a_gonna", "gonnas"]);
        assert_eq!(words("wanna wanna.x x.wanna"), ["wan", "na", "wanna.x", "x.", "wan", "na"]);
        assert_eq!(words("gıMme-lemme"), ["gıM", "me", "-", "lem", "me"]);
    }

    #[test]
    fn unicode_spaces_quotes_and_dashes_separate() {
        assert_eq!(words("a\u{a0}b\u{1c}c\u{2003}d"), ["a", "b", "c", "d"]);
        assert_eq!(words("“a”–b"), ["“", "a", "”", "–", "b"]);
    }
}
