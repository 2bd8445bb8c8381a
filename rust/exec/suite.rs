//! The test suite of a database: every `.sqlite` file in its folder.

use std::io::Read;
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result};
use crate::file;

/// The files that a query is tried on, the database of that name first and its variants behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suite {
    files: Vec<PathBuf>,
}

impl Suite {
    /// The suite of `db_id` in a folder of databases: `<db_id>/<db_id>.sqlite` and every other `.sqlite` file beside it.
    ///
    /// Leftovers such as `x.sqlite-journal` are no variants; the official tool takes them for databases and fails.
    pub fn find(database_dir: &Path, db_id: &str) -> Result<Self> {
        let main = Self::main(database_dir, db_id)?;
        let mut files = sqlite_files(&database_dir.join(db_id))?;
        files.sort_by_cached_key(|file| (file.file_name() != main.file_name(), natural(file)));
        Self::checked(files)
    }

    /// The database `db_id` of a folder without its variants: `<db_id>/<db_id>.sqlite` alone.
    pub fn single(database_dir: &Path, db_id: &str) -> Result<Self> {
        Self::checked(vec![Self::main(database_dir, db_id)?])
    }

    /// Where the main file of a database is, if there is one; no `db_id` leads out of the folder.
    pub fn main_file(database_dir: &Path, db_id: &str) -> Result<PathBuf> {
        let mut parts = Path::new(db_id).components();
        // On Windows a name such as `c:x` is a path of its own.
        let is_name = matches!((parts.next(), parts.next()), (Some(Component::Normal(name)), None) if name == db_id);
        if !is_name || db_id.contains(['/', '\\', '\0']) {
            return Err(Error::DatabaseName { db_id: db_id.to_owned() });
        }
        Ok(database_dir.join(db_id).join(format!("{db_id}.sqlite")))
    }

    fn main(database_dir: &Path, db_id: &str) -> Result<PathBuf> {
        let main = Self::main_file(database_dir, db_id)?;
        match std::fs::metadata(&main) {
            Ok(found) if !found.is_dir() => match file::require(&found) {
                Ok(()) => Ok(main),
                Err(source) => Err(Error::Unreadable { path: main, source }),
            },
            _ => Err(Error::DatabaseMissing { db_id: db_id.to_owned(), path: main }),
        }
    }

    /// The suite at `path`: a single `.sqlite` file alone, or all those of a folder.
    pub fn at(path: &Path) -> Result<Self> {
        if path.is_dir() {
            let mut files = sqlite_files(path)?;
            if files.is_empty() {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let path = path.join(format!("{name}.sqlite"));
                return Err(Error::DatabaseMissing { db_id: name, path });
            }
            files.sort_by_cached_key(|file| natural(file));
            return Self::checked(files);
        }
        match std::fs::metadata(path).and_then(|found| file::require(&found)) {
            Ok(()) => Self::checked(vec![path.to_owned()]),
            Err(source) => Err(Error::Unreadable { path: path.to_owned(), source }),
        }
    }

    fn checked(files: Vec<PathBuf>) -> Result<Self> {
        for file in &files {
            let beside = |suffix: &str| {
                let mut name = file.clone().into_os_string();
                name.push(suffix);
                PathBuf::from(name)
            };
            let log = beside("-wal");
            if std::fs::metadata(&log).is_ok_and(|found| found.is_file() && found.len() > 0) {
                return Err(Error::PendingLog { path: log });
            }
            let journal = beside("-journal");
            if is_hot(&journal) {
                return Err(Error::HotJournal { path: journal });
            }
        }
        Ok(Self { files })
    }

    /// The files, at least one.
    #[must_use]
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The name of a file of the suite, as verdicts show it.
    #[must_use]
    pub fn name(&self, index: usize) -> String {
        self.files[index].file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

fn sqlite_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = |source| Error::Unreadable { path: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "sqlite") && path.is_file() {
            files.push(path);
        }
    }
    Ok(files)
}

/// What names with numbers in them are sorted by, so that `car_1v2` comes before `car_1v10`.
fn natural(path: &Path) -> (Vec<(String, u64)>, String) {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut parts: Vec<(String, u64)> = Vec::new();
    let mut rest = name.as_str();
    while !rest.is_empty() {
        let text = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let digits = rest[text..].find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len() - text);
        parts.push((rest[..text].to_owned(), rest[text..text + digits].parse().unwrap_or(u64::MAX)));
        rest = &rest[text + digits..];
    }
    (parts, name)
}

/// What a rollback journal begins with while its transaction is open (the file format of SQLite, section 3).
const JOURNAL_MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];

/// Whether a rollback journal has pages to be put back.
fn is_hot(journal: &Path) -> bool {
    let mut header = [0; JOURNAL_MAGIC.len()];
    file::open(journal).and_then(|mut file| file.read_exact(&mut header)).is_ok() && header == JOURNAL_MAGIC
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("car_1")).unwrap();
        for file in files {
            std::fs::write(root.path().join("car_1").join(file), b"x").unwrap();
        }
        root
    }

    #[test]
    fn variants_are_in_natural_order_behind_the_database_itself() {
        let root = folder(&["car_1v10.sqlite", "car_1v2.sqlite", "a.sqlite", "car_1.sqlite"]);
        let suite = Suite::find(root.path(), "car_1").unwrap();
        let names: Vec<String> = (0..suite.files().len()).map(|index| suite.name(index)).collect();
        assert_eq!(names, ["car_1.sqlite", "a.sqlite", "car_1v2.sqlite", "car_1v10.sqlite"]);
    }

    #[test]
    fn a_single_database_has_no_variants() {
        let root = folder(&["car_1v2.sqlite", "car_1.sqlite", "car_1v2.sqlite-wal"]);
        let suite = Suite::single(root.path(), "car_1").unwrap();
        assert_eq!((suite.files().len(), suite.name(0)), (1, "car_1.sqlite".to_owned()));
        assert!(matches!(Suite::single(root.path(), "car_2"), Err(Error::DatabaseMissing { .. })));
        assert!(matches!(Suite::single(root.path(), ".."), Err(Error::DatabaseName { .. })));
    }

    #[test]
    fn leftovers_are_no_variants() {
        let root = folder(&["car_1.sqlite", "car_1.sqlite-journal", "notes.txt", "car_1.sqlite.bak"]);
        std::fs::create_dir(root.path().join("car_1/folder.sqlite")).unwrap();
        assert_eq!(Suite::find(root.path(), "car_1").unwrap().files().len(), 1);
    }

    #[test]
    fn a_log_with_changes_is_an_error() {
        let root = folder(&["car_1.sqlite", "car_1.sqlite-wal"]);
        assert!(matches!(Suite::find(root.path(), "car_1"), Err(Error::PendingLog { .. })));
    }

    #[test]
    fn a_transaction_that_has_not_ended_is_an_error() {
        let root = folder(&["car_1.sqlite", "car_1.sqlite-journal"]);
        let journal = root.path().join("car_1/car_1.sqlite-journal");
        // One that ended leaves nothing, zeros, or no file, by the journal's mode.
        for header in [&[][..], &[0; 512]] {
            std::fs::write(&journal, header).unwrap();
            assert!(Suite::find(root.path(), "car_1").is_ok());
        }
        std::fs::write(&journal, JOURNAL_MAGIC).unwrap();
        assert!(matches!(Suite::find(root.path(), "car_1"), Err(Error::HotJournal { path }) if path == journal));
        assert!(matches!(Suite::single(root.path(), "car_1"), Err(Error::HotJournal { .. })));
    }

    #[test]
    fn names_cannot_leave_the_folder() {
        let root = folder(&["car_1.sqlite"]);
        for name in ["", ".", "..", "../car_1", "car_1/..", "a\\b", "a\0b"] {
            assert!(matches!(Suite::find(root.path(), name), Err(Error::DatabaseName { .. })), "{name:?}");
        }
        assert!(matches!(Suite::find(root.path(), "other"), Err(Error::DatabaseMissing { .. })));
    }
}
