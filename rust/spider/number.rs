//! Which words are numbers: Python's `float`.

use unicode_general_category::{GeneralCategory, get_general_category};

/// The value of a word that Python's `float` takes: besides `1.5e3` that is `.5`, `1.`, `+1`, `1_000`, `inf`, `nan` and
/// decimal digits of any script.
pub(super) fn float(word: &str) -> Option<f64> {
    let first = word.chars().next()?;
    // Most words are names; only two letters start a number.
    if first.is_ascii_alphabetic() && !matches!(first, 'i' | 'n' | 'I' | 'N') {
        return None;
    }
    if word.is_ascii() && !word.contains('_') {
        return word.parse().ok();
    }
    let mut text = String::with_capacity(word.len());
    let mut previous = ' ';
    for character in word.chars() {
        let character = ascii_digit(character)?;
        // An underscore stands between two digits.
        let misplaced = match (previous, character) {
            (before, '_') => !before.is_ascii_digit(),
            ('_', behind) => !behind.is_ascii_digit(),
            _ => false,
        };
        if misplaced {
            return None;
        }
        if character != '_' {
            text.push(character);
        }
        previous = character;
    }
    if previous == '_' { None } else { text.parse().ok() }
}

/// The character itself if it is ASCII, the digit if it is one of another script.
fn ascii_digit(character: char) -> Option<char> {
    if character.is_ascii() {
        return Some(character);
    }
    let is_decimal = |character| get_general_category(character) == GeneralCategory::DecimalNumber;
    if !is_decimal(character) {
        return None;
    }
    // Decimal digits stand in Unicode in runs of ten, each starting with zero.
    let code = u32::from(character);
    let before = (0..code).rev().take_while(|&code| char::from_u32(code).is_some_and(is_decimal)).count();
    char::from_digit(u32::try_from(before % 10).ok()?, 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_what_python_takes() {
        for (word, value) in [
            ("1", 1.0),
            ("1.", 1.0),
            (".5", 0.5),
            ("-1e3", -1000.0),
            ("+1_0.0_1e1_0", 10.01e10),
            ("inf", f64::INFINITY),
            ("-infinity", f64::NEG_INFINITY),
            ("٣", 3.0),
            ("𝟠𝟙", 81.0),
            ("１２.５", 12.5),
        ] {
            assert_eq!(float(word), Some(value), "{word}");
        }
        assert!(float("nan").is_some_and(f64::is_nan));
        assert!(float("+nan").is_some_and(f64::is_nan));
    }

    #[test]
    fn other_words_are_no_numbers() {
        let words = [
            "", ".", "+", "1e", "e1", "_1", "1_", "1__0", "1_.0", "1._0", "1_e5", "in_f", "0x1", "1,2", "½", "name",
            "二",
        ];
        for word in words {
            assert_eq!(float(word), None, "{word}");
        }
    }
}
