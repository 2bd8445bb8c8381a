//! Database files that are held in memory, where SQLite reads them without a call of the system.

#![expect(unsafe_code, reason = "the image is handed to SQLite's C interface")]

use std::path::Path;

use rusqlite::{Connection, ffi};
use xxhash_rust::xxh3::xxh3_128;

use super::Failure;

/// Largest file that is held in memory. The largest of Spider's test suite has 700 kB.
const BYTES: u64 = 4 << 20;

/// Where a header says whether the file is written and read with a log beside it.
const FORMATS: std::ops::Range<usize> = 18..20;

/// The content of a database file.
#[derive(Debug)]
pub(super) struct Image(Box<[u8]>);

impl Image {
    /// Reads a file of `size` bytes, if it is one to be held in memory.
    pub(super) fn read(path: &Path, size: u64) -> Result<Option<Self>, Failure> {
        if size > BYTES {
            return Ok(None);
        }
        let mut bytes = std::fs::read(path).map_err(|error| Failure::Database(error.to_string()))?;
        if bytes.len() as u64 != size {
            return Err(Failure::Database("the file changed while it was read".to_owned()));
        }
        // A log is a file beside the database, which an image has not. It is empty, else the suite would not be run.
        if let Some(formats) = bytes.get_mut(FORMATS)
            && *formats == [2, 2]
        {
            formats.fill(1);
        }
        Ok(Some(Self(bytes.into())))
    }

    /// How many bytes it has.
    pub(super) fn size(&self) -> i64 {
        self.0.len().try_into().unwrap_or(i64::MAX)
    }

    /// Hash of the content.
    pub(super) fn hash(&self) -> u128 {
        xxh3_128(&self.0)
    }

    /// Makes this the main database of a connection, which must be closed before the image goes.
    pub(super) fn attach(&mut self, connection: &Connection) -> Result<(), Failure> {
        let size = self.size();
        // SAFETY: the connection is open; the bytes are alive until it is closed, as the caller promises, and neither
        // freed nor made longer by SQLite, which is told to only read them.
        let code = unsafe {
            ffi::sqlite3_deserialize(
                connection.handle(),
                c"main".as_ptr(),
                self.0.as_mut_ptr(),
                size,
                size,
                ffi::SQLITE_DESERIALIZE_READONLY,
            )
        };
        if code == ffi::SQLITE_OK { Ok(()) } else { Err(Failure::Database(ffi::code_to_str(code).to_owned())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::sandbox::{Database, write_database};

    #[test]
    fn small_files_are_read_and_large_ones_opened() {
        let folder = tempfile::tempdir().unwrap();
        let [small, large] = ["small.sqlite", "large.sqlite"].map(|name| folder.path().join(name));
        write_database(&small, "CREATE TABLE t (a)");
        write_database(&large, "CREATE TABLE t (a); INSERT INTO t VALUES (zeroblob(5000000))");
        for (path, held) in [(&small, true), (&large, false)] {
            let mut database = Database::open(path, true).unwrap();
            assert_eq!((database.holds_file(), database.content().is_some()), (!held, held));
            assert_eq!(database.schema().unwrap().tables, [("t".to_owned(), vec!["a".to_owned()])]);
        }
    }

    #[test]
    fn files_that_are_written_with_a_log_are_read_as_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.sqlite");
        write_database(&path, "PRAGMA journal_mode = WAL; CREATE TABLE t (a); INSERT INTO t VALUES (1)");
        assert_eq!(std::fs::read(&path).unwrap()[FORMATS], [2, 2]);
        assert_eq!(Database::open(&path, true).unwrap().schema().unwrap().tables.len(), 1);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn content_tells_files_apart() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two, other] = ["one", "two", "other"].map(|name| folder.path().join(name));
        write_database(&one, "CREATE TABLE t (a)");
        std::fs::copy(&one, &two).unwrap();
        write_database(&other, "CREATE TABLE t (a); INSERT INTO t VALUES (1)");
        let [one, two, mut other] = [one, two, other].map(|path| Database::open(&path, true).unwrap());
        assert_eq!(one.content(), two.content());
        assert_ne!(one.content(), other.content());
        let [mut one, _] = [one, two];
        assert_eq!(one.definitions(), other.definitions());
    }
}
