//! Connections in which nothing has run yet, for queries that could tell.
//!
//! Modules of virtual tables (FTS3, FTS5, R*Tree) compile statements of their own when they are first used, keep them, and keep
//! what they read; FTS5 even shows how much that was. Some pragmas list what a connection has come across. A verdict must not
//! depend on what ran before, so each query on a database with virtual tables has a connection of its own, and so has each
//! that asks such a pragma. The official tool opens one for every query.
//!
//! What modules ask of the authorizer, it cannot tell from what the query asks. So in a database with virtual tables it lets
//! through what R*Tree compiles and never runs, and pragmas of modules; that the query itself does no more than read shows when
//! it is compiled: it must have columns, and SQLite must take it for one that only reads. Nothing here could write in any case:
//! the connection is one for reading, and its file has no function that writes.

#![expect(unsafe_code, reason = "functions are registered through the C interface")]

use rusqlite::{Connection, OpenFlags, ffi};

use super::source::{self, Source};
use super::statement::Row;
use super::{Database, Failure, UNLIMITED, scratch, snippet};
use crate::exec::denotation::Value;

impl Database {
    /// Makes a new connection ready for its first query.
    pub(super) fn set_up(&mut self) -> Result<(), Failure> {
        self.configure().map_err(|error| Failure::Database(error.to_string()))?;
        self.watch.start(&UNLIMITED);
        let tables = match self.virtual_tables() {
            Err(Failure::Sql(message)) => Err(Failure::Database(message)),
            found => found,
        }?;
        self.watch.set_virtual_tables(&tables);
        if !tables.is_empty() {
            // SAFETY: the connection is open, and the watch outlives it at its address.
            match unsafe { snippet::register(self.connection.handle(), self.watch.address()) } {
                ffi::SQLITE_OK => {}
                code => return Err(Failure::Database(ffi::code_to_str(code).to_owned())),
            }
        }
        // The first error of a connection takes memory for good, which is no query's: what one allocates, and so its steps,
        // must not depend on what failed before it.
        drop(self.prepare("SELECT"));
        self.watch.set_fresh(true);
        Ok(())
    }

    /// Reads the schema, and returns the names of the virtual tables in it.
    pub(super) fn virtual_tables(&self) -> Result<Vec<String>, Failure> {
        let query = "SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage = 0";
        let mut names = Vec::new();
        if let Some(statement) = self.prepare(query)? {
            while statement.step().map_err(|code| self.failure(code))? {
                for cell in Row::new(&statement, 1).cells() {
                    if let Value::Text(name) = cell {
                        names.push(String::from_utf8_lossy(name).into_owned());
                    }
                }
            }
        }
        Ok(names)
    }

    /// Goes on with a new connection to the same file, in which nothing has run yet.
    ///
    /// Modules of virtual tables keep what they read and prepare, and some pragmas list what a connection has come across. So
    /// that no query depends on those before it, one that may show such things has a connection of its own.
    pub(super) fn renew(&mut self) -> Result<(), Failure> {
        self.forget_kept();
        let source = source::exchange(&self.connection, Source::none())?;
        self.connection = connect(source)?;
        self.watch.functions_gone();
        self.value_limit.set(self.value_bytes);
        self.set_up()
    }

    pub(super) fn renew_if_used(&mut self) -> Result<(), Failure> {
        if self.watch.is_fresh() { Ok(()) } else { self.renew() }
    }
}

/// Whether SQL text is only whitespace and comments to Python's `sqlite3`, for which a `;` is neither.
pub(super) fn is_blank(text: &[u8]) -> bool {
    without_blank(text).is_empty()
}

/// SQL text without the whitespace and comments at its start.
fn without_blank(text: &[u8]) -> &[u8] {
    let mut rest = text;
    loop {
        rest = match rest {
            [b' ' | b'\t' | b'\x0c' | b'\n' | b'\r', more @ ..] => more,
            [b'-', b'-', more @ ..] => {
                let end = more.iter().position(|&byte| byte == b'\n').unwrap_or(more.len());
                &more[end..]
            }
            [b'/', b'*', more @ ..] => {
                let end = more.windows(2).position(|pair| pair == b"*/").map_or(more.len(), |at| at + 2);
                &more[end..]
            }
            _ => return rest,
        };
    }
}

/// Whether a statement is a pragma, perhaps an explained one.
pub(super) fn is_pragma(text: &[u8]) -> bool {
    let mut rest = text;
    loop {
        // SQLite takes a byte order mark for whitespace anywhere.
        rest = without_blank(rest);
        rest = rest.strip_prefix(b"\xef\xbb\xbf").map_or(rest, without_blank);
        let length = rest.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
        let (word, behind) = rest.split_at(length);
        match word.to_ascii_uppercase().as_slice() {
            b"EXPLAIN" | b"QUERY" | b"PLAN" => rest = behind,
            b"" if rest.starts_with(b"\xef\xbb\xbf") => {}
            word => return word == b"PRAGMA",
        }
    }
}

/// Opens a connection that reads `source`.
pub(super) fn connect(source: Source) -> Result<Connection, Failure> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    source::handed(source, || Connection::open_with_flags_and_vfs(source::NAME, flags, scratch::NAME))
        .map_err(|error| Failure::Database(error.to_string()))
}
