//! Why the official grammar rejects a query.

use std::fmt;

/// The first thing in a query that the official grammar has no place for.
///
/// The official program raises some Python exception or other here; which one it is never shows in a verdict, so the
/// reason is ours: it names the construct as its author would.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}{}", Place { word: *word, offset: *offset })]
pub struct Rejection {
    /// What is wrong.
    pub reason: Reason,
    /// Index of the offending word, counted from 0; `None` when the text has no words yet.
    pub word: Option<usize>,
    /// Byte offset into the SQL text of the offending word or quotation mark; `None` at the end of the text.
    pub offset: Option<usize>,
}

/// What a [`Rejection`] is about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// `'` and `"` count alike, and there is an odd number of them.
    #[error("odd number of quotation marks")]
    UnbalancedQuotes,
    /// The text has no words.
    #[error("no query")]
    Empty,
    /// The words end where the grammar needs another one.
    #[error("query ends where {0} is expected")]
    UnexpectedEnd(&'static str),
    /// A word stands where the grammar needs another one.
    #[error("expected {expected}, found `{found}`")]
    Unexpected {
        /// What the grammar needs.
        expected: &'static str,
        /// The word that stands there.
        found: Box<str>,
    },
    /// A construct of SQL that the official grammar does not have.
    #[error("{0} is not in the grammar")]
    Construct(&'static str),
    /// A call of a function other than the five aggregates.
    #[error("function `{0}` is not in the grammar")]
    Function(Box<str>),
    /// Operators are words of their own only when spaces stand round them.
    #[error("`{0}` is read as one word: operators need spaces round them")]
    Glued(Box<str>),
    /// No table of the query's `from` has this column.
    #[error("unknown column `{0}`")]
    UnknownColumn(Box<str>),
    /// Neither a table nor an alias.
    #[error("unknown table or alias `{0}`")]
    UnknownTable(Box<str>),
    /// An alias may not be the name of any table in the database.
    #[error("alias `{0}` is the name of a table")]
    AliasNamesTable(Box<str>),
    /// A column is `column` or `table.column`.
    #[error("`{0}` has more than one dot")]
    Dots(Box<str>),
    /// Nested deeper than the official program's recursion reaches.
    #[error("query is nested too deeply")]
    TooDeep,
}

struct Place {
    word: Option<usize>,
    offset: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.word, self.offset) {
            (Some(word), Some(offset)) => write!(formatter, " (word {word}, byte {offset})"),
            (Some(word), None) => write!(formatter, " (word {word})"),
            (None, Some(offset)) => write!(formatter, " (byte {offset})"),
            (None, None) => Ok(()),
        }
    }
}
