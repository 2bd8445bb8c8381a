//! The test suite of a database: every `.sqlite` file in its folder.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use super::stamp::Stamp;
use crate::error::{Error, Result};
use crate::file;

/// The files that a query is tried on, the database of that name first and its variants behind it, as they were when the
/// suite was found. Files come, go and change; whoever uses a suite for longer asks for it [again](Self::again).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suite {
    place: Place,
    /// The state of its folder, in which variants and logs come and go.
    folder: Option<Stamp>,
    /// Whether there was a log beside a file, which may have changes later, or one could be elsewhere.
    has_logs: bool,
    files: Vec<SuiteFile>,
    left_out: Vec<LeftOut>,
}

/// Where a suite is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// A database of a folder of databases, with its variants or alone.
    Database { folder: PathBuf, file: PathBuf, variants: bool },
    /// All databases of a folder.
    Folder(PathBuf),
    /// One file.
    File(PathBuf),
}

impl Place {
    fn folder(&self) -> Option<&Path> {
        match self {
            Self::Database { folder, .. } | Self::Folder(folder) => Some(folder),
            Self::File(file) => file.parent(),
        }
    }
}

/// A database file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuiteFile {
    path: PathBuf,
    stamp: Stamp,
}

impl SuiteFile {
    /// The database file at `path`, as it is now.
    pub fn new(path: PathBuf) -> std::io::Result<Self> {
        let stamp = Stamp::settled(&path)?;
        if !stamp.is_file() {
            file::require(&std::fs::metadata(&path)?)?;
        }
        Ok(Self { path, stamp })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What state it was in when the suite was found.
    #[must_use]
    pub fn stamp(&self) -> &Stamp {
        &self.stamp
    }
}

/// A file beside the databases of a suite that is none of them, though its name may look like it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Where it is.
    pub path: PathBuf,
    /// Why it is left out.
    pub reason: Reason,
}

/// Why a file is no variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Its name begins with a dot.
    Hidden,
    /// Its name is one that systems and editors give to files that nobody asked for.
    Leftover,
    /// `.sqlite` is in its name, but not at the end.
    Name,
    /// It is a folder, or a link that leads nowhere.
    NoFile,
    /// SQLite would not take it for a database.
    NoDatabase,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Hidden => "hidden",
            Self::Leftover => "left there by a system or an editor",
            Self::Name => "not called `*.sqlite`",
            Self::NoFile => "no file",
            Self::NoDatabase => "no SQLite database",
        })
    }
}

impl Suite {
    /// The suite of `db_id` in a folder of databases: `<db_id>/<db_id>.sqlite` and every other `.sqlite` file beside it.
    ///
    /// Leftovers such as `x.sqlite-journal` are no variants; the official tool takes them for databases and fails.
    pub fn find(database_dir: &Path, db_id: &str) -> Result<Self> {
        Self::database(database_dir, db_id, true)
    }

    /// The database `db_id` of a folder without its variants: `<db_id>/<db_id>.sqlite` alone.
    pub fn single(database_dir: &Path, db_id: &str) -> Result<Self> {
        Self::database(database_dir, db_id, false)
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

    fn database(database_dir: &Path, db_id: &str, variants: bool) -> Result<Self> {
        let file = Self::main_file(database_dir, db_id)?;
        Self::look(Place::Database { folder: database_dir.join(db_id), file, variants }, None)
    }

    /// The suite at `path`: a single `.sqlite` file alone, or all those of a folder.
    pub fn at(path: &Path) -> Result<Self> {
        let path = path.to_owned();
        Self::look(if path.is_dir() { Place::Folder(path) } else { Place::File(path) }, None)
    }

    /// The suite as it is now, if it is not what it was: if anything came or went in its folder, or a file of it changed. It is
    /// checked like the first time either way.
    pub fn again(&self) -> Result<Option<Self>> {
        let is_as_it_was = |path: &Path, stamp: &Stamp| Stamp::now(path).is_ok_and(|now| now == *stamp);
        let folder = self.place.folder().zip(self.folder.as_ref());
        let is_as_before = !self.has_logs
            && folder.is_some_and(|(path, stamp)| is_as_it_was(path, stamp))
            && self.files.iter().all(|file| is_as_it_was(&file.path, &file.stamp));
        if is_as_before {
            return Ok(None);
        }
        let now = Self::look(self.place.clone(), Some(self))?;
        Ok(if now.files == self.files && now.left_out == self.left_out { None } else { Some(now) })
    }

    /// Looks for a suite, with all checks that there are. What was `known` before need not be read again to see that it is a
    /// database.
    fn look(place: Place, known: Option<&Self>) -> Result<Self> {
        let (mut files, mut left_out) = (Vec::new(), Vec::new());
        let stamp = place.folder().and_then(|folder| Stamp::settled(folder).ok());
        match &place {
            Place::File(path) => files.push(one_file(path)?),
            Place::Database { folder, file: path, .. } => {
                let missing = |source| {
                    if file::is_unusable(&source) && !path.is_dir() {
                        return Error::Unreadable { path: path.clone(), source };
                    }
                    let db_id = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    Error::DatabaseMissing { db_id, path: path.clone() }
                };
                // What cannot be looked at shows when the database is opened.
                files.push(SuiteFile::new(path.clone()).map_err(missing)?);
            }
            Place::Folder(_) => {}
        }
        if let Place::Database { folder, variants: true, .. } | Place::Folder(folder) = &place {
            let main = files.first().map(|file| file.path.clone());
            let is_known = |file: &SuiteFile| known.is_some_and(|known| known.files.contains(file));
            for name in names(folder)? {
                let path = folder.join(&name);
                if main.as_ref() == Some(&path) {
                    continue;
                }
                match candidate(&name) {
                    Some(Ok(())) => match SuiteFile::new(path.clone()) {
                        Ok(file) if is_known(&file) || is_database(&path) => files.push(file),
                        Ok(_) => left_out.push(LeftOut { path, reason: Reason::NoDatabase }),
                        Err(_) => left_out.push(LeftOut { path, reason: Reason::NoFile }),
                    },
                    Some(Err(reason)) => left_out.push(LeftOut { path, reason }),
                    None => {}
                }
            }
            if files.is_empty() {
                let db_id = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let path = folder.join(format!("{db_id}.sqlite"));
                return Err(Error::DatabaseMissing { db_id, path });
            }
            files.sort_by_cached_key(|file| (main.as_ref() != Some(&file.path), natural(&file.path)));
            left_out.sort_by(|one, other| one.path.cmp(&other.path));
        }
        let mut has_logs = false;
        for file in &files {
            has_logs |= check_logs(&file.path)?;
            // Logs lie beside the file itself, in a folder of which nothing else is known.
            if let Some(itself) = behind_link(&file.path) {
                check_logs(&itself)?;
                has_logs = true;
            }
        }
        Ok(Self { place, folder: stamp, has_logs, files, left_out })
    }

    /// The files, at least one.
    #[must_use]
    pub fn files(&self) -> &[SuiteFile] {
        &self.files
    }

    /// Files beside them that may look like databases to people or programs, in the order of their names.
    #[must_use]
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// The name of a file of the suite, as verdicts show it.
    #[must_use]
    pub fn name(&self, index: usize) -> String {
        self.files[index].path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

fn one_file(path: &Path) -> Result<SuiteFile> {
    SuiteFile::new(path.to_owned()).map_err(|source| Error::Unreadable { path: path.to_owned(), source })
}

/// The names of what is in a folder.
fn names(folder: &Path) -> Result<Vec<OsString>> {
    let unreadable = |source| Error::Unreadable { path: folder.to_owned(), source };
    let entries = std::fs::read_dir(folder).map_err(unreadable)?;
    entries.map(|entry| Ok(entry.map_err(unreadable)?.file_name())).collect()
}

/// Names of files that systems leave in folders that were looked at.
const LEFTOVERS: [&str; 3] = ["thumbs.db", "ehthumbs.db", "desktop.ini"];

/// Whether a name is that of a file which SQLite writes beside a database in use; `check_logs` looks into it.
fn is_log(name: &str) -> bool {
    ["-journal", "-wal", "-shm"].iter().any(|end| name.ends_with(end))
}

/// Whether a name is that of a variant; the reason why not, if one might think so.
fn candidate(name: &OsStr) -> Option<std::result::Result<(), Reason>> {
    let name = name.to_string_lossy();
    if name.starts_with('.') {
        return Some(Err(Reason::Hidden));
    }
    let is_backup = name.ends_with('~') || name.starts_with("~$") || name.starts_with('#') && name.ends_with('#');
    if is_backup || LEFTOVERS.contains(&name.to_lowercase().as_str()) {
        return Some(Err(Reason::Leftover));
    }
    match name.rsplit_once('.') {
        Some((_, "sqlite")) => Some(Ok(())),
        _ if is_log(&name) => None,
        _ if name.contains(".sqlite") => Some(Err(Reason::Name)),
        _ => None,
    }
}

/// Whether SQLite would take a file for a database by its header (the file format, section 1.3). One without a byte is a
/// database without tables, and one that cannot be read might be one.
fn is_database(path: &Path) -> bool {
    let mut header = Vec::new();
    let read = file::open(path).and_then(|file| file.take(100).read_to_end(&mut header));
    match header.as_slice() {
        _ if read.is_err() => true,
        [] => true,
        &[_, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, large, small, _, reads, _, 64, 32, 32, ..] => {
            let page = u16::from_be_bytes([large, small]);
            header.starts_with(b"SQLite format 3\0")
                && reads <= 2
                && (page == 1 || page >= 512 && page.is_power_of_two())
        }
        _ => false,
    }
}

/// Refuses a file with a log of changes or the journal of a transaction beside it; returns whether there is one without.
fn check_logs(file: &Path) -> Result<bool> {
    let beside = |suffix: &str| {
        let mut name = file.to_owned().into_os_string();
        name.push(suffix);
        PathBuf::from(name)
    };
    let (log, journal) = (beside("-wal"), beside("-journal"));
    let found = std::fs::metadata(&log);
    if found.as_ref().is_ok_and(|found| found.is_file() && found.len() > 0) {
        return Err(Error::PendingLog { path: log });
    }
    if is_hot(&journal) {
        return Err(Error::HotJournal { path: journal });
    }
    Ok(found.is_ok() || journal.exists())
}

/// Where a link leads, if a file is one.
fn behind_link(file: &Path) -> Option<PathBuf> {
    let is_link = std::fs::symlink_metadata(file).is_ok_and(|found| found.is_symlink());
    if is_link { std::fs::canonicalize(file).ok() } else { None }
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
            let content = if file.ends_with(".sqlite") { &b""[..] } else { b"x" };
            std::fs::write(root.path().join("car_1").join(file), content).unwrap();
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
    fn files_that_are_no_variants_are_left_out_with_the_reason() {
        let others = [
            "._car_1.sqlite",
            ".DS_Store",
            ".car_1.sqlite.swp",
            ".hidden.sqlite",
            "Thumbs.db",
            "desktop.ini",
            "notes.sqlite~",
            "#car_1.sqlite#",
            "~$car_1.sqlite",
            "car_1.sqlite.bak",
            "car_1.sqlite3",
            "car_1.json",
            "schema.sql",
        ];
        let root = folder(&[&["car_1.sqlite", "car_1v1.sqlite", "car_1.sqlite-shm"], &others[..]].concat());
        let write = |name: &str, content: &[u8]| std::fs::write(root.path().join("car_1").join(name), content).unwrap();
        write("text.sqlite", b"SELECT 1");
        write("page.sqlite", &[&b"SQLite format 3\0"[..], &[0; 84]].concat());
        write("short.sqlite", b"SQLite format 3\0");
        std::fs::create_dir(root.path().join("car_1/folder.sqlite")).unwrap();
        let suite = Suite::find(root.path(), "car_1").unwrap();
        assert_eq!(
            (suite.files().len(), suite.name(0), suite.name(1)),
            (2, "car_1.sqlite".into(), "car_1v1.sqlite".into())
        );
        let left_out: Vec<String> = suite
            .left_out()
            .iter()
            .map(|LeftOut { path, reason }| format!("{}: {reason}", path.file_name().unwrap().to_str().unwrap()))
            .collect();
        assert_eq!(
            left_out,
            [
                "#car_1.sqlite#: left there by a system or an editor",
                ".DS_Store: hidden",
                "._car_1.sqlite: hidden",
                ".car_1.sqlite.swp: hidden",
                ".hidden.sqlite: hidden",
                "Thumbs.db: left there by a system or an editor",
                "car_1.sqlite.bak: not called `*.sqlite`",
                "car_1.sqlite3: not called `*.sqlite`",
                "desktop.ini: left there by a system or an editor",
                "folder.sqlite: no file",
                "notes.sqlite~: left there by a system or an editor",
                "page.sqlite: no SQLite database",
                "short.sqlite: no SQLite database",
                "text.sqlite: no SQLite database",
                "~$car_1.sqlite: left there by a system or an editor",
            ]
        );
        assert_eq!(Suite::at(&root.path().join("car_1")).unwrap().files(), suite.files());
        assert!(Suite::single(root.path(), "car_1").unwrap().left_out().is_empty());
    }

    #[test]
    fn the_database_itself_stays_whatever_it_is_called_and_holds() {
        let root = tempfile::tempdir().unwrap();
        for name in [".car", "car~", "car"] {
            std::fs::create_dir(root.path().join(name)).unwrap();
            std::fs::write(root.path().join(format!("{name}/{name}.sqlite")), b"no database").unwrap();
            assert_eq!(Suite::find(root.path(), name).unwrap().files().len(), 1, "{name}");
        }
        assert!(matches!(Suite::at(&root.path().join("car")), Err(Error::DatabaseMissing { .. })));
    }

    #[test]
    fn a_suite_is_what_it_was_until_something_changes() {
        let root = folder(&["car_1.sqlite", "car_1v1.sqlite"]);
        let path = |name: &str| root.path().join("car_1").join(name);
        for find in [Suite::find, Suite::single] {
            let suite = find(root.path(), "car_1").unwrap();
            assert_eq!(suite.again().unwrap(), None);
            // Of the same size, and of another.
            std::fs::write(path("car_1.sqlite"), b"").unwrap();
            assert!(suite.again().unwrap().is_some_and(|now| now.files()[0] != suite.files()[0]));
        }
        let suite = Suite::find(root.path(), "car_1").unwrap();
        std::fs::write(path("car_1v1.sqlite"), b"no database").unwrap();
        let now = suite.again().unwrap().unwrap();
        assert_eq!((now.files().len(), now.left_out().len(), now.again().unwrap()), (1, 1, None));
        std::fs::write(path("car_1v1.sqlite"), b"").unwrap();
        std::fs::write(path("car_1v2.sqlite"), b"").unwrap();
        assert_eq!(suite.again().unwrap().unwrap().files().len(), 3);
        std::fs::write(path("car_1v2.sqlite-wal"), b"x").unwrap();
        assert!(matches!(suite.again(), Err(Error::PendingLog { .. })));
        std::fs::remove_file(path("car_1v2.sqlite-wal")).unwrap();
        std::fs::write(path("car_1.sqlite-journal"), JOURNAL_MAGIC).unwrap();
        assert!(matches!(suite.again(), Err(Error::HotJournal { .. })));
        let single = Suite::at(&path("car_1v1.sqlite")).unwrap();
        std::fs::write(path("car_1v1.sqlite-wal"), b"x").unwrap();
        assert!(matches!(single.again(), Err(Error::PendingLog { .. })));
        std::fs::remove_dir_all(path("")).unwrap();
        assert!(matches!(suite.again(), Err(Error::DatabaseMissing { .. })));
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

    #[cfg(unix)]
    #[test]
    fn a_log_beside_the_file_that_a_link_leads_to_is_seen() {
        let root = folder(&["car_1.sqlite"]);
        let elsewhere = root.path().join("elsewhere.sqlite");
        std::fs::write(&elsewhere, b"").unwrap();
        std::os::unix::fs::symlink(&elsewhere, root.path().join("car_1/car_1v1.sqlite")).unwrap();
        let suite = Suite::find(root.path(), "car_1").unwrap();
        assert_eq!((suite.files().len(), suite.again().unwrap()), (2, None));
        std::fs::write(root.path().join("elsewhere.sqlite-wal"), b"x").unwrap();
        assert!(matches!(suite.again(), Err(Error::PendingLog { .. })));
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
