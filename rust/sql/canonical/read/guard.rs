//! What is looked at before a text is parsed, so that parsing is safe and means what it means to SQLite.
//!
//! The parser knows many dialects. Whatever SQLite would cut into other tokens is refused here, and so is what would
//! make a tree too deep to be walked or dropped.

use sqlparser::dialect::SQLiteDialect;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

use super::super::CanonicalError;

/// Longest text, in bytes.
const BYTES: usize = 200_000;

/// Most operators in a text: a chain of them is a tree as deep as it is long.
const OPERATORS: usize = 400;

/// The tokens of a text.
pub(super) fn tokens(sql: &str) -> Result<Vec<TokenWithSpan>, CanonicalError> {
    if sql.len() > BYTES {
        return Err(CanonicalError::TooComplex);
    }
    let dialect = SQLiteDialect {};
    let tokens = Tokenizer::new(&dialect, sql)
        .tokenize_with_location()
        .map_err(|error| syntax(error.message, error.location))?;
    let mut operators = 0;
    let mut spaces = 0;
    for (index, token) in tokens.iter().enumerate() {
        let at = token.span.start;
        match &token.token {
            Token::Number(text, long) => {
                let odd = |c: char| !(c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'));
                let glued = matches!(
                    tokens.get(index + 1).map(|next| &next.token),
                    Some(Token::Word(_) | Token::Number(..) | Token::Period)
                );
                if *long || glued || text.contains(odd) {
                    return Err(syntax(format!("`{text}` begins no number of SQLite's"), at));
                }
            }
            Token::Word(word) => {
                spaces += word.quote_style.map_or(0, |_| unicode_spaces(&word.value));
                if is_operator(word.keyword) && word.quote_style.is_none() {
                    operators += 1;
                }
            }
            Token::SingleQuotedString(text) => spaces += unicode_spaces(text),
            Token::Whitespace(space) => spaces += comment_spaces(space),
            Token::Comma | Token::LParen | Token::RParen | Token::Period | Token::SemiColon => {}
            Token::Eq
            | Token::DoubleEq
            | Token::Neq
            | Token::Lt
            | Token::Gt
            | Token::LtEq
            | Token::GtEq
            | Token::Plus
            | Token::Minus
            | Token::Mul
            | Token::Div
            | Token::Mod
            | Token::StringConcat
            | Token::Ampersand
            | Token::Pipe
            | Token::ShiftLeft
            | Token::ShiftRight
            | Token::Tilde => operators += 1,
            other => return Err(CanonicalError::Unsupported { what: format!("`{other}`") }),
        }
    }
    // To SQLite these characters are letters, to the parser they are white.
    if spaces != unicode_spaces(sql) || sql.contains(['\0', '\u{b}']) {
        return Err(CanonicalError::Unsupported { what: "a white character that SQLite does not know".to_owned() });
    }
    if operators > OPERATORS { Err(CanonicalError::TooComplex) } else { Ok(tokens) }
}

/// Words that, like operators, nest what is before or behind them.
fn is_operator(keyword: Keyword) -> bool {
    matches!(
        keyword,
        Keyword::AND
            | Keyword::OR
            | Keyword::NOT
            | Keyword::IS
            | Keyword::IN
            | Keyword::LIKE
            | Keyword::GLOB
            | Keyword::MATCH
            | Keyword::REGEXP
            | Keyword::BETWEEN
            | Keyword::COLLATE
            | Keyword::NOTNULL
            | Keyword::UNION
            | Keyword::EXCEPT
            | Keyword::INTERSECT
            | Keyword::CASE
            | Keyword::AT
            | Keyword::OVERLAPS
            | Keyword::XOR
            | Keyword::DIV
            | Keyword::ILIKE
            | Keyword::RLIKE
            | Keyword::SIMILAR
            | Keyword::MEMBER
            | Keyword::OPERATOR
            | Keyword::MINUS
    )
}

/// How many characters are white, but not to SQLite.
fn unicode_spaces(text: &str) -> usize {
    if text.is_ascii() { 0 } else { text.chars().filter(|c| !c.is_ascii() && c.is_whitespace()).count() }
}

fn comment_spaces(space: &sqlparser::tokenizer::Whitespace) -> usize {
    use sqlparser::tokenizer::Whitespace::{MultiLineComment, SingleLineComment};
    match space {
        SingleLineComment { comment, .. } | MultiLineComment(comment) => unicode_spaces(comment),
        _ => 0,
    }
}

/// A syntax error at a place that is known where its line is not 0.
pub(super) fn syntax(message: String, at: Location) -> CanonicalError {
    CanonicalError::Syntax { message, line: at.line, column: at.column }
}
