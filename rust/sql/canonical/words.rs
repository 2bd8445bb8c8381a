//! Names and the keywords that they must not be.

/// All keywords of SQLite.
const KEYWORDS: &[&str] = &[
    "abort", "action", "add", "after", "all", "alter", "always", "analyze", "and", "as", "asc", "attach",
    "autoincrement", "before", "begin", "between", "by", "cascade", "case", "cast", "check", "collate", "column",
    "commit", "conflict", "constraint", "create", "cross", "current", "current_date", "current_time",
    "current_timestamp", "database", "default", "deferrable", "deferred", "delete", "desc", "detach", "distinct", "do",
    "drop", "each", "else", "end", "escape", "except", "exclude", "exclusive", "exists", "explain", "fail", "filter",
    "first", "following", "for", "foreign", "from", "full", "generated", "glob", "group", "groups", "having", "if",
    "ignore", "immediate", "in", "index", "indexed", "initially", "inner", "insert", "instead", "intersect", "into",
    "is", "isnull", "join", "key", "last", "left", "like", "limit", "match", "materialized", "natural", "no", "not",
    "nothing", "notnull", "null", "nulls", "of", "offset", "on", "or", "order", "others", "outer", "over", "partition",
    "plan", "pragma", "preceding", "primary", "query", "raise", "range", "recursive", "references", "regexp", "reindex",
    "release", "rename", "replace", "restrict", "returning", "right", "rollback", "row", "rows", "savepoint", "select",
    "set", "table", "temp", "temporary", "then", "ties", "to", "transaction", "trigger", "unbounded", "union", "unique",
    "update", "using", "vacuum", "values", "view", "virtual", "when", "where", "window", "with", "within", "without",
];

/// Keywords that SQLite takes for names wherever a column or a table may stand.
///
/// Sorted, and tested against SQLite. They need no quotes, which the official grammar could not read.
const MILD: &[&str] = &[
    "abort", "action", "after", "always", "analyze", "attach", "before", "begin", "cascade", "column", "conflict",
    "current", "database", "deferred", "desc", "detach", "do", "each", "end", "exclude", "exclusive", "explain",
    "fail", "first", "following", "generated", "groups", "ignore", "immediate", "initially", "instead", "key", "last",
    "match", "materialized", "no", "nulls", "of", "offset", "others", "partition", "plan", "pragma", "preceding",
    "query", "range", "recursive", "regexp", "reindex", "release", "rename", "restrict", "rollback", "row", "rows",
    "savepoint", "temp", "temporary", "ties", "trigger", "unbounded", "vacuum", "view", "virtual", "without",
];

/// Whether SQLite has a keyword of this name, in any case.
pub(super) fn is_keyword(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    KEYWORDS.binary_search(&name.as_str()).is_ok()
}

/// Whether a name is a keyword that is not a name without quotes everywhere.
pub(super) fn is_strict_keyword(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    KEYWORDS.binary_search(&name.as_str()).is_ok() && MILD.binary_search(&name.as_str()).is_err()
}

/// Whether a name needs no quotes.
pub(super) fn is_plain(name: &str) -> bool {
    let word = |c: char| c == '_' || c.is_ascii_alphanumeric() || !c.is_ascii();
    name.chars().all(word)
        && name.starts_with(|c: char| !c.is_ascii_digit())
        && !is_strict_keyword(name)
        && !matches!(name, "true" | "false")
        && !name.contains(char::is_whitespace)
}
