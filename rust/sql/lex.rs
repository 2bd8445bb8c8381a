//! Lexemes of SQL text, where the official tool's lexer (sqlparse 0.6.1) sees them.
//!
//! The official evaluator removes `DISTINCT` and cuts off further statements by lexemes of sqlparse, which knows many
//! dialects and is not SQLite's tokenizer: `12a` is `1` and `2a`, `\'` inside a string is an escape, `$$ ... $$` is a
//! literal. The rules below are in sqlparse's order, first match wins. They know nothing of what SQL means.

use std::cell::OnceCell;
use std::collections::HashMap;

use unicode_general_category::{GeneralCategory, get_general_category};

/// What sort of lexeme a piece of text is, as far as anything here depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One whitespace character other than a line break.
    Whitespace,
    /// One line break.
    Newline,
    /// `-- ...` or `# ...` with its line break.
    LineComment,
    /// `/* ... */`.
    BlockComment,
    /// A comment with a `+` right behind its opening: a hint for an optimizer.
    Hint,
    /// A word of letters, digits and the like; also keywords of several words such as `ORDER BY`.
    Word,
    /// A name by its position or spelling: before a `.` or `(`, after a `.`, in backticks or brackets, a placeholder.
    Name,
    /// A number.
    Number,
    /// `'...'`.
    SingleQuoted,
    /// `"..."`.
    DoubleQuoted,
    /// One of `;:()[],.` or `::`.
    Punctuation,
    /// Operators, and characters that belong to nothing.
    Other,
}

/// A lexeme: its text is never empty, and the texts of all lexemes joined are the whole input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lexeme<'a> {
    /// What sort it is.
    pub kind: Kind,
    /// Its text.
    pub text: &'a str,
}

/// Cuts `sql` into lexemes.
pub fn lexemes(sql: &str) -> impl Iterator<Item = Lexeme<'_>> {
    let mut position = 0;
    let ends = Ends::of(sql);
    std::iter::from_fn(move || {
        let at = At { sql, position, ends: &ends };
        let first = at.rest().chars().next()?;
        let (kind, length) = at.lexeme(first);
        position += length;
        Some(Lexeme { kind, text: &sql[position - length..position] })
    })
}

/// What Python's `str.isspace` and `\s` call whitespace.
#[must_use]
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

/// What `\w` matches in Python: letters and numbers of any script, and `_`.
fn is_word(c: char) -> bool {
    use GeneralCategory::{
        DecimalNumber, LetterNumber, LowercaseLetter, ModifierLetter, OtherLetter, OtherNumber, TitlecaseLetter,
        UppercaseLetter,
    };
    if c.is_ascii() {
        return c.is_ascii_alphanumeric() || c == '_';
    }
    matches!(
        get_general_category(c),
        UppercaseLetter
            | LowercaseLetter
            | TitlecaseLetter
            | ModifierLetter
            | OtherLetter
            | DecimalNumber
            | LetterNumber
            | OtherNumber
    )
}

/// What `\d` matches in Python: decimal digits of any script.
#[must_use]
pub fn is_digit(c: char) -> bool {
    c.is_ascii_digit() || (!c.is_ascii() && get_general_category(c) == GeneralCategory::DecimalNumber)
}

/// What `[A-ZÀ-Ü]` matches in Python without regard to case.
fn is_letter(c: char) -> bool {
    c.is_ascii_alphabetic()
        || matches!(c, 'À'..='Ü' | 'à'..='ö' | 'ø'..='ü' | '\u{130}' | '\u{131}' | '\u{17f}' | '\u{212a}' | '\u{212b}')
}

/// The ASCII letter that `c` equals in Python's case-insensitive matching, or `c`.
fn fold(c: char) -> char {
    match c {
        '\u{130}' | '\u{131}' => 'i',
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        _ => c.to_ascii_lowercase(),
    }
}

/// Byte length of the leading characters of `text` that satisfy `wanted`.
fn span(text: &str, wanted: impl Fn(char) -> bool) -> usize {
    text.find(|c| !wanted(c)).unwrap_or(text.len())
}

/// Where in the whole text the last of everything is that closes something: whether it is closed at all is then known
/// without a search, and cutting a text takes time in proportion to its length, whatever it leaves open.
struct Ends<'a> {
    sql: &'a str,
    /// The last `'`, `"`, backtick and acute accent.
    quotes: [Option<usize>; 4],
    /// The last `*/`.
    comment: Option<usize>,
    /// The last delimiter `$tag$` of each tag, searched for when the first is met.
    dollars: OnceCell<HashMap<&'a str, usize>>,
}

impl<'a> Ends<'a> {
    fn of(sql: &'a str) -> Self {
        let quotes = ['\'', '"', '`', '´'].map(|quote| sql.rfind(quote));
        Self { sql, quotes, comment: sql.rfind("*/"), dollars: OnceCell::new() }
    }

    fn dollar(&self, tag: &str) -> Option<usize> {
        let dollars = self.dollars.get_or_init(|| {
            let places = self.sql.match_indices('$');
            places.filter_map(|(at, _)| Some((dollar_tag(&self.sql[at..])?, at))).collect()
        });
        dollars.get(tag).copied()
    }
}

/// A place in the text at which a lexeme starts.
struct At<'a, 'e> {
    sql: &'a str,
    position: usize,
    ends: &'e Ends<'a>,
}

impl<'a> At<'a, '_> {
    fn rest(&self) -> &'a str {
        &self.sql[self.position..]
    }

    fn previous(&self) -> Option<char> {
        self.sql[..self.position].chars().next_back()
    }

    /// Kind and byte length of the lexeme here, whose first character is `first`.
    fn lexeme(&self, first: char) -> (Kind, usize) {
        let rest = self.rest();
        let one = first.len_utf8();
        match first {
            '\r' | '\n' => (Kind::Newline, if rest.starts_with("\r\n") { 2 } else { 1 }),
            _ if is_space(first) => (Kind::Whitespace, one),
            '\'' => self.quoted(0, '\'').map_or((Kind::Other, one), |length| (Kind::SingleQuoted, length)),
            '"' => self.quoted(1, '"').map_or((Kind::Other, one), |length| (Kind::DoubleQuoted, length)),
            '`' => self.doubled(2, first).map_or((Kind::Other, one), |length| (Kind::Name, length)),
            '´' => self.doubled(3, first).map_or((Kind::Other, one), |length| (Kind::Name, length)),
            '[' => self.bracketed().map_or((Kind::Punctuation, one), |length| (Kind::Name, length)),
            '$' => self.dollar(),
            ':' => match rest.as_bytes().get(1) {
                Some(b'=') => (Kind::Other, 2),
                Some(b':') => (Kind::Punctuation, 2),
                _ => self.placeholder().map_or((Kind::Punctuation, one), |length| (Kind::Name, length)),
            },
            '*' => (Kind::Other, one),
            '?' => (Kind::Name, one),
            '\\' => (Kind::Other, one + span(&rest[one..], is_word)),
            _ => line_comment(rest)
                .or_else(|| self.block_comment())
                .or_else(|| percent_placeholder(rest))
                .or_else(|| hash_name(rest))
                .or_else(|| is_letter(first).then(|| self.positional_name(first)).flatten())
                .or_else(|| number(rest).map(|length| (Kind::Number, length)))
                .or_else(|| phrase(rest).map(|length| (Kind::Word, length)))
                .unwrap_or_else(|| word_or_operator(rest, first)),
        }
    }

    /// A string: doubled quotes and backslash-quote are inside it, as long as a quote is left to close it.
    ///
    /// sqlparse states this as a regular expression that backtracks; knowing where the text's last quote is decides
    /// each step at once.
    fn quoted(&self, which: usize, quote: char) -> Option<usize> {
        let last = self.ends.quotes[which].filter(|&last| last > self.position)? - self.position;
        let bytes = self.rest().as_bytes();
        let is_quote = |at: usize| bytes.get(at).is_some_and(|&byte| char::from(byte) == quote);
        let mut at = 1;
        loop {
            if is_quote(at) {
                if !is_quote(at + 1) || last < at + 2 {
                    return Some(at + 1);
                }
                at += 2;
            } else if bytes.get(at) == Some(&b'\\') && is_quote(at + 1) && last >= at + 2 {
                at += 2;
            } else {
                at += 1;
            }
        }
    }

    /// Text between two of the same quote, where a doubled quote is inside as long as another is left to close.
    fn doubled(&self, which: usize, quote: char) -> Option<usize> {
        let last = self.ends.quotes[which].filter(|&last| last > self.position)? - self.position;
        let rest = self.rest();
        let step = quote.len_utf8();
        let mut at = step;
        loop {
            at += rest[at..].find(quote)?;
            if !rest[at + step..].starts_with(quote) || last < at + 2 * step {
                return Some(at + step);
            }
            at += 2 * step;
        }
    }

    /// `/* ... */`.
    fn block_comment(&self) -> Option<(Kind, usize)> {
        let rest = self.rest();
        let body = rest.strip_prefix("/*")?;
        let (kind, opener) = if body.starts_with('+') { (Kind::Hint, 3) } else { (Kind::BlockComment, 2) };
        self.ends.comment.filter(|&last| last >= self.position + opener)?;
        rest[opener..].find("*/").map(|end| (kind, opener + end + 2))
    }

    /// `[name]`, unless it follows a word or a bracket, where it would be an index.
    fn bracketed(&self) -> Option<usize> {
        if self.previous().is_some_and(|c| is_word(c) || matches!(c, ']' | ')')) {
            return None;
        }
        let inside = span(&self.rest()[1..], |c| !matches!(c, '[' | ']'));
        (inside > 0 && self.rest()[1 + inside..].starts_with(']')).then_some(inside + 2)
    }

    /// `$name` or `:name`, not right behind a word.
    fn placeholder(&self) -> Option<usize> {
        let length = span(&self.rest()[1..], is_word);
        (length > 0 && !self.previous().is_some_and(is_word)).then_some(length + 1)
    }

    /// `$tag$ ... $tag$`, else a placeholder, else a stray character.
    fn dollar(&self) -> (Kind, usize) {
        let rest = self.rest();
        if let Some(tag) = dollar_tag(rest)
            && !self.previous().is_some_and(|c| is_word(c) || matches!(c, '"' | '$'))
            && self.ends.dollar(tag).is_some_and(|last| last >= self.position + tag.len())
        {
            let mut from = tag.len();
            while let Some(found) = rest[from..].find(tag) {
                let start = from + found;
                // `$a$` is not closed by the first half of `$a$b$`: a delimiter is read from its own `$` onwards.
                if dollar_tag(&rest[start..]) == Some(tag) {
                    return (Kind::Other, start + tag.len());
                }
                from = start + 1;
            }
        }
        self.placeholder().map_or((Kind::Other, 1), |length| (Kind::Name, length))
    }

    /// A word that its surroundings make a name: before a `.` that starts no number, after a `.`, or before a `(`.
    fn positional_name(&self, first: char) -> Option<(Kind, usize)> {
        let rest = self.rest();
        // `CASE`, `IN`, `VALUES`, `USING`, `FROM` and `AS` are keywords whatever follows.
        if let Some(length) =
            ["case", "in", "values", "using", "from", "as"].iter().find_map(|word| words(rest, &[word]))
        {
            return Some((Kind::Word, length));
        }
        let length = first.len_utf8() + span(&rest[first.len_utf8()..], is_word);
        let behind = &rest[length..];
        let member =
            behind.trim_start_matches(is_space).strip_prefix('.').is_some_and(|text| !text.starts_with(is_digit));
        (member || self.previous() == Some('.') || behind.starts_with('(')).then_some((Kind::Name, length))
    }
}

/// `-- ...` or `# ...` up to and with its line break.
fn line_comment(rest: &str) -> Option<(Kind, usize)> {
    let body = rest.strip_prefix("--").or_else(|| rest.strip_prefix("# "))?;
    let kind = if body.starts_with('+') { Kind::Hint } else { Kind::LineComment };
    let text = span(body, |c| !matches!(c, '\r' | '\n'));
    let line_break = match &body[text..] {
        end if end.starts_with("\r\n") => 2,
        "" => 0,
        _ => 1,
    };
    Some((kind, 2 + text + line_break))
}

/// `%s` or `%(name)s`.
fn percent_placeholder(rest: &str) -> Option<(Kind, usize)> {
    let mut body = rest.strip_prefix('%')?;
    if let Some(inside) = body.strip_prefix('(') {
        let name = span(inside, is_word);
        if let Some(behind) = inside[name..].strip_prefix(')').filter(|_| name > 0) {
            body = behind;
        }
    }
    let letter = body.chars().next().filter(|&c| fold(c) == 's')?;
    Some((Kind::Name, rest.len() - body.len() + letter.len_utf8()))
}

/// `@name`, `#name` or `##name`, of two characters at least.
fn hash_name(rest: &str) -> Option<(Kind, usize)> {
    ["@", "##", "#"].iter().find_map(|mark| {
        let body = rest.strip_prefix(mark)?;
        let first = body.chars().next().filter(|&c| is_letter(c))?.len_utf8();
        let more = span(&body[first..], is_word);
        (more > 0).then_some((Kind::Name, mark.len() + first + more))
    })
}

/// The delimiter `$tag$` (the tag may be empty) that `text` starts with.
fn dollar_tag(text: &str) -> Option<&str> {
    let body = text.strip_prefix('$')?;
    let tag = match body.chars().next() {
        Some(c) if c == '_' || is_letter(c) => span(body, is_word),
        _ => 0,
    };
    body[tag..].starts_with('$').then(|| &text[..tag + 2])
}

/// A number in the spelling that sqlparse knows; it may end inside of what looks like one (`12a` starts with `1`).
fn number(rest: &str) -> Option<usize> {
    let ends_name = |c: char| c == '_' || is_letter(c);
    let sign = usize::from(rest.starts_with('-'));
    let body = &rest[sign..];
    if body.starts_with("0x") || body.starts_with("0X") {
        let digits = span(&body[2..], |c| is_digit(c) || matches!(c, 'a'..='f' | 'A'..='F'));
        if digits > 0 {
            return Some(sign + 2 + digits);
        }
    }
    let whole = span(body, is_digit);
    let behind = &body[whole..];
    let fraction = behind.strip_prefix('.').map(|text| span(text, is_digit));
    if whole > 0 {
        let mantissa_ends = [fraction.filter(|&digits| digits > 0).map(|digits| whole + 1 + digits), Some(whole)];
        for end in mantissa_ends.into_iter().flatten() {
            if let Some(exponent) = body[end..].strip_prefix(['e', 'E']) {
                let minus = usize::from(exponent.starts_with('-'));
                let digits = span(&exponent[minus..], is_digit);
                if digits > 0 {
                    return Some(sign + end + 1 + minus + digits);
                }
            }
        }
    }
    // The longest of the ends at which no name goes on; none leaves the digits to the rules that follow.
    let longest = |from: usize, to: usize| {
        body[from..to]
            .char_indices()
            .map(|(at, c)| from + at + c.len_utf8())
            .rev()
            .chain(std::iter::once(from))
            .find(|&end| !body[end..].starts_with(ends_name))
    };
    if let Some(digits) = fraction {
        let point = whole + 1;
        let end = longest(point, point + digits).filter(|&end| whole > 0 || end > point);
        if let Some(end) = end {
            return Some(sign + end);
        }
    }
    longest(0, whole).filter(|&end| end > 0).map(|end| sign + end)
}

/// The given lower-case words with whitespace between them, at the start of `text` and ending where a word ends.
fn words(text: &str, wanted: &[&str]) -> Option<usize> {
    let mut rest = text;
    for (index, word) in wanted.iter().enumerate() {
        if index > 0 {
            let gap = span(rest, is_space);
            if gap == 0 {
                return None;
            }
            rest = &rest[gap..];
        }
        let mut chars = rest.chars();
        if !word.chars().all(|letter| chars.next().is_some_and(|c| fold(c) == letter)) {
            return None;
        }
        rest = chars.as_str();
    }
    (!rest.starts_with(is_word)).then_some(text.len() - rest.len())
}

/// Keywords of several words, which are one lexeme with the whitespace between them.
///
/// In sqlparse's order; where one is the beginning of another, the longer comes first.
const PHRASES: &[&[&str]] = &[
    &["end", "if"],
    &["end", "loop"],
    &["end", "while"],
    &["end", "for"],
    &["end", "case"],
    &["if", "not", "exists"],
    &["if", "exists"],
    &["not", "null"],
    &["asc", "nulls", "first"],
    &["asc", "nulls", "last"],
    &["desc", "nulls", "first"],
    &["desc", "nulls", "last"],
    &["nulls", "first"],
    &["nulls", "last"],
    &["union", "all"],
    &["create", "or", "replace"],
    &["double", "precision"],
    &["group", "by"],
    &["order", "by"],
    &["primary", "key"],
    &["handler", "for"],
    &["lateral", "view", "explode"],
    &["lateral", "view", "inline"],
    &["lateral", "view", "parse_url_tuple"],
    &["lateral", "view", "posexplode"],
    &["lateral", "view", "stack"],
    &["not", "like"],
    &["not", "ilike"],
    &["not", "rlike"],
    &["not", "regexp", "binary"],
    &["not", "regexp"],
    &["regexp", "binary"],
    // Alone they are words like others, but the lexeme ends before a `$` or `#`.
    &["end"],
    &["asc"],
    &["desc"],
    &["create"],
    &["like"],
    &["ilike"],
    &["rlike"],
    &["regexp"],
];

/// A keyword of several words at the start of `rest`.
fn phrase(rest: &str) -> Option<usize> {
    if !rest.starts_with(is_letter) {
        return None;
    }
    join(rest)
        .or_else(|| PHRASES.iter().find_map(|phrase| words(rest, phrase)))
        .or_else(|| batch_separator(rest))
        .or_else(|| time_zone(rest))
}

/// `JOIN` with the words before it that name its kind.
fn join(rest: &str) -> Option<usize> {
    const SIDES: [&str; 4] = ["left", "right", "full", ""];
    const KINDS: [&str; 4] = ["inner", "outer", "straight", ""];
    // Only these letters begin a join; most words are done here.
    if !rest.starts_with(|c| matches!(fold(c), 'l' | 'r' | 'f' | 'i' | 'o' | 's' | 'c' | 'n' | 'j')) {
        return None;
    }
    let phrase = |parts: &[&str]| {
        let parts: Vec<&str> = parts.iter().copied().filter(|part| !part.is_empty()).collect();
        words(rest, &parts)
    };
    SIDES
        .iter()
        .find_map(|side| KINDS.iter().find_map(|kind| phrase(&[side, kind, "join"])))
        .or_else(|| ["cross", "natural"].iter().find_map(|kind| phrase(&[kind, "join"])))
}

/// `GO 2`, which ends a batch.
fn batch_separator(rest: &str) -> Option<usize> {
    let mut chars = rest.chars();
    if chars.next().map(fold) != Some('g') || chars.next().map(fold) != Some('o') {
        return None;
    }
    let behind = chars.as_str();
    let gap = behind.chars().next().filter(|&c| is_space(c))?.len_utf8();
    let digits = span(&behind[gap..], is_digit);
    let end = rest.len() - behind.len() + gap + digits;
    (digits > 0 && !rest[end..].starts_with(is_word)).then_some(end)
}

/// `AT TIME ZONE 'name'`.
fn time_zone(rest: &str) -> Option<usize> {
    let head = words(rest, &["at", "time", "zone"])?;
    let gap = span(&rest[head..], is_space);
    let body = rest[head + gap..].strip_prefix('\'').filter(|_| gap > 0)?;
    let name = span(body, |c| c != '\'');
    (name > 0 && body[name..].starts_with('\'')).then_some(head + gap + name + 2)
}

fn word_or_operator(rest: &str, first: char) -> (Kind, usize) {
    let one = first.len_utf8();
    if is_word(first) {
        return (Kind::Word, one + span(&rest[one..], |c| is_word(c) || matches!(c, '$' | '#')));
    }
    if matches!(first, ';' | '(' | ')' | ']' | ',' | '.') {
        return (Kind::Punctuation, one);
    }
    for operator in ["->>", "->", "#>>", "#>", "@>", "<@", "-", "#-"] {
        if rest.starts_with(operator) {
            return (Kind::Other, operator.len());
        }
    }
    let run = span(rest, |c| matches!(c, '<' | '>' | '=' | '~' | '!'));
    if run > 0 {
        return (Kind::Other, run);
    }
    let run = span(rest, |c| matches!(c, '+' | '/' | '@' | '#' | '%' | '^' | '&' | '|' | '-'));
    (Kind::Other, run.max(one))
}
