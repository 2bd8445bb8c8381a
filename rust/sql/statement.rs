//! Where the first statement of a text ends, as the official tool sees it (`StatementSplitter` of sqlparse 0.6.1).

use super::lex::{Kind, Lexeme, is_space, lexemes};

/// The first statement of `sql` with the whitespace and line comments behind its semicolon; empty where `sql` is
/// nothing but whitespace.
#[must_use]
pub fn first_statement(sql: &str) -> &str {
    // Only a semicolon or an upper-case `GO` can end a statement before the text does.
    let whole = if sql.contains(';') || sql.contains("GO") { Splitter::default().first(sql) } else { sql };
    if whole.trim_start_matches(is_space).is_empty() { "" } else { whole }
}

/// Follows blocks and parentheses to tell which semicolon ends a statement (sqlparse's `StatementSplitter`).
#[derive(Default)]
struct Splitter {
    blocks: Vec<Block>,
    loop_head: Option<Block>,
    is_create: bool,
    begin_is_last: bool,
    level: i64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    Begin,
    Declare,
    For,
    While,
    Loop,
    If,
    Case,
}

impl Splitter {
    fn first(mut self, sql: &str) -> &str {
        let mut end = 0;
        let mut ended = false;
        for Lexeme { kind, text } in lexemes(sql) {
            if ended && !matches!(kind, Kind::Whitespace | Kind::LineComment) {
                return &sql[..end];
            }
            self.level += self.step(kind, text);
            end += text.len();
            let is_blank = matches!(kind, Kind::Whitespace | Kind::Newline | Kind::LineComment | Kind::BlockComment);
            if kind == Kind::Punctuation && text == ";" {
                self.begin_is_last = false;
                ended |= self.level <= 0 && !self.blocks.contains(&Block::Begin);
            } else if kind == Kind::Word && text.split(is_space).next() == Some("GO") {
                ended = true;
            } else if !(is_blank || kind == Kind::Word && text.eq_ignore_ascii_case("begin")) {
                self.begin_is_last = false;
            }
        }
        sql
    }

    /// By how much a lexeme changes the depth.
    fn step(&mut self, kind: Kind, text: &str) -> i64 {
        match (kind, text) {
            (Kind::Punctuation, ";") => {
                self.loop_head = None;
                if std::mem::take(&mut self.begin_is_last) && self.blocks.last() == Some(&Block::Begin) {
                    self.blocks.pop();
                    return -1;
                }
                0
            }
            (Kind::Punctuation, "(") => 1,
            (Kind::Punctuation, ")") => -1,
            (Kind::Word, _) => self.keyword(&text.to_uppercase()),
            _ => 0,
        }
    }

    fn keyword(&mut self, word: &str) -> i64 {
        if word == "CREATE" || word.starts_with("CREATE") && word.contains(is_space) {
            self.is_create = true;
            return 0;
        }
        if word == "DECLARE" && self.is_create && self.blocks.is_empty() {
            self.blocks.push(Block::Declare);
            return 1;
        }
        if word == "BEGIN" {
            self.begin_is_last = true;
            if self.blocks.last() == Some(&Block::Declare) {
                self.blocks.pop();
                self.blocks.push(Block::Begin);
                return 0;
            }
            self.blocks.push(Block::Begin);
            return 1;
        }
        if self.begin_is_last && matches!(word, "TRANSACTION" | "WORK" | "DEFERRED" | "IMMEDIATE" | "EXCLUSIVE") {
            self.begin_is_last = false;
            if self.blocks.last() == Some(&Block::Begin) {
                self.blocks.pop();
                return -1;
            }
            return 0;
        }
        if self.blocks.contains(&Block::Begin)
            && let Some(change) = self.nested(word)
        {
            return change;
        }
        self.closing(word)
    }

    fn nested(&mut self, word: &str) -> Option<i64> {
        match word {
            "FOR" | "WHILE" => {
                self.loop_head = Some(if word == "FOR" { Block::For } else { Block::While });
                Some(0)
            }
            "LOOP" | "DO" => {
                let block = self.loop_head.take().or((word == "LOOP").then_some(Block::Loop))?;
                self.blocks.push(block);
                Some(1)
            }
            "IF" | "CASE" => {
                self.blocks.push(if word == "IF" { Block::If } else { Block::Case });
                Some(1)
            }
            _ => None,
        }
    }

    fn closing(&mut self, word: &str) -> i64 {
        let closes: &[Block] = match word {
            "END" => {
                self.blocks.pop();
                return -1;
            }
            "END IF" => &[Block::If],
            "END FOR" => &[Block::For],
            "END WHILE" => &[Block::While],
            "END LOOP" => &[Block::Loop, Block::For, Block::While],
            "END CASE" => &[Block::Case],
            _ => return 0,
        };
        if self.blocks.last().is_some_and(|block| closes.contains(block)) {
            self.blocks.pop();
            return -1;
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_semicolon_ends_a_statement_with_the_space_and_line_comments_behind_it() {
        assert_eq!(first_statement("SELECT 1; -- a\n SELECT 2"), "SELECT 1; -- a\n ");
        assert_eq!(first_statement("SELECT 1;\nSELECT 2"), "SELECT 1;");
        assert_eq!(first_statement("SELECT 1; /* a */ SELECT 2"), "SELECT 1; ");
    }

    #[test]
    fn semicolons_in_parentheses_and_blocks_end_nothing() {
        assert_eq!(first_statement("SELECT (1; 2); 3"), "SELECT (1; 2); ");
        assert_eq!(first_statement("BEGIN SELECT 1; END; SELECT 2"), "BEGIN SELECT 1; END; ");
        assert_eq!(first_statement("BEGIN; SELECT 2"), "BEGIN; ");
    }

    #[test]
    fn blocks_end_where_sqlparse_ends_them() {
        for whole in [
            "CREATE PROCEDURE p DECLARE a; BEGIN SELECT 1; END; ",
            "BEGIN FOR x IN y LOOP SELECT 1; END LOOP; END; ",
            "BEGIN WHILE x DO SELECT 1; END WHILE; END; ",
            "BEGIN LOOP SELECT 1; END LOOP; END; ",
            "BEGIN DO x; END; ",
            "BEGIN IF x THEN SELECT 1; END IF; END; ",
            "BEGIN CASE x WHEN 1 THEN SELECT 1; END CASE; END; ",
            "BEGIN SELECT CASE WHEN 1 THEN 2 END; END; ",
            "BEGIN IMMEDIATE; ",
            "SELECT 1; ",
        ] {
            assert_eq!(first_statement(&format!("{whole}SELECT 2")), whole);
        }
        for unfinished in
            ["CREATE PROCEDURE p DECLARE a; ", "BEGIN IF x; END LOOP; END; ", "BEGIN FOR x; LOOP y; END FOR; END; "]
        {
            let sql = format!("{unfinished}SELECT 2");
            assert_eq!(first_statement(&sql), sql);
        }
    }

    #[test]
    fn an_upper_case_go_ends_a_batch() {
        assert_eq!(first_statement("SELECT 1 GO SELECT 2"), "SELECT 1 GO ");
        assert_eq!(first_statement("SELECT 1 go SELECT 2"), "SELECT 1 go SELECT 2");
    }
}
