//! The databases that stay open from one use to the next.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::lock;
use crate::exec::sandbox::{Database, Failure};
use crate::exec::stamp::Stamp;
use crate::exec::suite::SuiteFile;
use crate::file;

/// Open databases that nobody is using.
#[derive(Debug, Default)]
pub(super) struct Databases {
    idle: Mutex<Idle>,
    /// Whether what stands for a file's content comes from all of its bytes, and so is the same in every process.
    hashes_content: bool,
}

/// Databases of the present batch are fresh: most of them will not be used again, and memory that is used over and over
/// costs less than new memory. Those that came back in a later batch are kept.
#[derive(Debug, Default)]
struct Idle {
    fresh: Kind<Vec<(PathBuf, Open)>>,
    kept: Kind<HashMap<PathBuf, Vec<Open>>>,
    /// The batch in which each database was used first.
    seen: HashMap<PathBuf, u64>,
    /// How many batches there were.
    batch: u64,
    /// How often one was put back.
    uses: u64,
}

#[derive(Debug, Default)]
struct Kind<T> {
    databases: T,
    total: Total,
}

/// What some databases take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Total {
    /// Bytes of memory.
    bytes: u64,
    /// File descriptors.
    files: u64,
}

#[derive(Debug)]
struct Open {
    stamp: Stamp,
    database: Database,
    content: u128,
    /// When it was put back, counted in uses.
    used: u64,
}

impl Total {
    /// Most of fresh databases.
    const FRESH: Self = Self { bytes: 24 << 20, files: 32 };

    /// Most of those that are kept: enough for Spider's dev set with all of its variants. A process may have about a
    /// thousand file descriptors.
    const KEPT: Self = Self { bytes: 192 << 20, files: 128 };

    fn of(database: &Database) -> Self {
        Self { bytes: database.memory(), files: u64::from(database.holds_file()) }
    }

    fn add(&mut self, database: &Database) {
        let Self { bytes, files } = Self::of(database);
        self.bytes += bytes;
        self.files += files;
    }

    fn remove(&mut self, database: &Database) {
        let Self { bytes, files } = Self::of(database);
        self.bytes -= bytes;
        self.files -= files;
    }

    fn exceeds(self, most: Self) -> bool {
        self.bytes > most.bytes || self.files > most.files
    }
}

impl Idle {
    /// Whether a database was used in an earlier batch.
    fn returns(&self, path: &Path) -> bool {
        self.kept.databases.contains_key(path) || self.seen.get(path).is_some_and(|&batch| batch < self.batch)
    }

    fn take(&mut self, path: &Path) -> Option<Open> {
        if let Some(open) = self.kept.databases.get_mut(path).and_then(Vec::pop) {
            self.kept.total.remove(&open.database);
            return Some(open);
        }
        self.take_fresh(|other| other.as_os_str() == path.as_os_str())
    }

    /// The latest fresh database of another file in the same folder.
    fn take_variant(&mut self, path: &Path) -> Option<Open> {
        let folder = path.parent()?.as_os_str();
        self.take_fresh(|other| other.parent().is_some_and(|other| other.as_os_str() == folder))
    }

    fn take_fresh(&mut self, is_it: impl Fn(&Path) -> bool) -> Option<Open> {
        let place = self.fresh.databases.iter().rposition(|(path, _)| is_it(path))?;
        let (_, open) = self.fresh.databases.remove(place);
        self.fresh.total.remove(&open.database);
        Some(open)
    }

    /// Puts a database back; returns those that must go for it, the longest unused first.
    fn put(&mut self, path: &Path, open: Open) -> Vec<Open> {
        self.uses += 1;
        let open = Open { used: self.uses, ..open };
        let returns = self.returns(path);
        if !self.seen.contains_key(path) {
            self.seen.insert(path.to_owned(), self.batch);
        }
        let mut gone = Vec::new();
        if !returns {
            self.fresh.total.add(&open.database);
            self.fresh.databases.push((path.to_owned(), open));
            while self.fresh.total.exceeds(Total::FRESH) {
                let (_, oldest) = self.fresh.databases.remove(0);
                self.fresh.total.remove(&oldest.database);
                gone.push(oldest);
            }
            return gone;
        }
        self.kept.total.add(&open.database);
        self.kept.databases.entry(path.to_owned()).or_default().push(open);
        while self.kept.total.exceeds(Total::KEPT) {
            let idle = self.kept.databases.values_mut().filter(|idle| !idle.is_empty());
            // The latest put back are behind the others.
            let Some(oldest) = idle.min_by_key(|idle| idle[0].used).map(|idle| idle.remove(0)) else { break };
            self.kept.total.remove(&oldest.database);
            gone.push(oldest);
        }
        gone
    }
}

impl Databases {
    /// None yet. If `hashes_content`, what stands for a file's content is the same in every process.
    pub(super) fn new(hashes_content: bool) -> Self {
        Self { idle: Mutex::default(), hashes_content }
    }

    /// Tells the uses of a new batch from earlier ones.
    pub(super) fn start_batch(&self) {
        let mut idle = lock(&self.idle);
        idle.batch += 1;
        // If they come back, it is to be kept.
        let gone = std::mem::take(&mut idle.fresh);
        drop(idle);
        drop(gone);
    }

    /// Gives `use_it` the database in a file and what stands for its content, and keeps it open afterwards. A file that is
    /// not what it was when its suite was found, or changes while it is used, is a failure: what was read of it is neither
    /// its old nor its new content.
    pub(super) fn with<T>(
        &self,
        file: &SuiteFile,
        cancel: &Arc<AtomicBool>,
        use_it: impl FnOnce(&mut Database, u128) -> T,
    ) -> Result<T, Failure> {
        self.with_open(file, cancel, false, use_it)
    }

    /// The same for one of several variants on which the same queries run. Rather than to open it, a variant is turned to it
    /// that is open already.
    pub(super) fn with_variant<T>(
        &self,
        file: &SuiteFile,
        cancel: &Arc<AtomicBool>,
        use_it: impl FnOnce(&mut Database, u128) -> T,
    ) -> Result<T, Failure> {
        self.with_open(file, cancel, true, use_it)
    }

    fn with_open<T>(
        &self,
        file: &SuiteFile,
        cancel: &Arc<AtomicBool>,
        is_variant: bool,
        use_it: impl FnOnce(&mut Database, u128) -> T,
    ) -> Result<T, Failure> {
        let (path, stamp) = (file.path(), file.stamp());
        let (idle, other, returns) = {
            let mut all = lock(&self.idle);
            let (idle, returns) = (all.take(path), all.returns(path));
            let turns = is_variant && !returns && idle.is_none();
            (idle, if turns { all.take_variant(path) } else { None }, returns)
        };
        // What is used once is not worth being read as a whole, unless that is needed anyway.
        let held = returns || self.hashes_content;
        let mut open = match idle {
            Some(open) if open.stamp == *stamp => open,
            _ => {
                let turned = other.and_then(|open| turned(open.database, path, held));
                let mut database = turned.map_or_else(|| Database::open(path, held), Ok)?;
                if is_variant && !returns {
                    database.keep_queries();
                }
                let content = match database.content() {
                    Some(content) if self.hashes_content => content,
                    None if self.hashes_content => hash_of_file(path)?,
                    _ => xxh3_128(format!("{} {stamp:?}", path.display()).as_bytes()),
                };
                Open { stamp: stamp.clone(), database, content, used: 0 }
            }
        };
        open.database.watch(Arc::clone(cancel));
        let result = use_it(&mut open.database, open.content);
        let after = Stamp::now(path).map_err(|error| Failure::Database(error.to_string()))?;
        if after != open.stamp {
            return Err(Failure::Database("the file changed while it was in use".to_owned()));
        }
        // Closing takes a while: not under the lock.
        let gone = lock(&self.idle).put(path, open);
        drop(gone);
        Ok(result)
    }
}

/// A database that was turned to the file at `path`. What goes wrong shows again when that is opened.
fn turned(mut database: Database, path: &Path, held: bool) -> Option<Database> {
    database.turn(path, held).is_ok_and(|is_turned| is_turned).then_some(database)
}

fn hash_of_file(path: &Path) -> Result<u128, Failure> {
    let hash = || {
        let mut file = file::open(path)?;
        let mut hash = Xxh3::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(hash.digest128()),
                length => hash.update(&buffer[..length]),
            }
        }
    };
    hash().map_err(|error: std::io::Error| Failure::Database(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::sandbox::write_database;

    fn folder(count: usize) -> (tempfile::TempDir, Vec<PathBuf>) {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = (0..count).map(|number| folder.path().join(format!("{number}.sqlite"))).collect();
        write_database(&paths[0], "CREATE TABLE t (a); INSERT INTO t VALUES (zeroblob(900000))");
        for path in &paths[1..] {
            std::fs::copy(&paths[0], path).unwrap();
        }
        (folder, paths)
    }

    fn file(path: &Path) -> SuiteFile {
        SuiteFile::new(path.to_owned()).unwrap()
    }

    fn open(databases: &Databases) -> (usize, usize) {
        let idle = lock(&databases.idle);
        (idle.fresh.databases.len(), idle.kept.databases.values().map(Vec::len).sum())
    }

    #[test]
    fn databases_that_come_back_in_another_batch_are_kept() {
        let (_folder, paths) = folder(30);
        let (databases, cancel) = (Databases::default(), Arc::default());
        let run = |paths: &[PathBuf]| {
            databases.start_batch();
            for path in paths {
                databases.with(&file(path), &cancel, |_, _| ()).unwrap();
            }
            open(&databases)
        };
        assert_eq!(run(&paths), (25, 0));
        assert_eq!(run(&paths[..5]), (0, 5));
        assert_eq!(run(&paths), (0, 30));
        assert_eq!(run(&paths), (0, 30));
        let idle = lock(&databases.idle);
        assert_eq!((idle.fresh.total, idle.kept.total.files), (Total::default(), 0));
    }

    #[test]
    fn of_variants_one_is_turned_to_the_others_until_they_come_back() {
        let (_folder, paths) = folder(3);
        let (_other, others) = folder(1);
        for hashes_content in [false, true] {
            let (databases, cancel) = (Databases::new(hashes_content), Arc::default());
            let run = |path: &Path| databases.with_variant(&file(path), &cancel, |_, content| content).unwrap();
            databases.start_batch();
            let contents: Vec<u128> = paths.iter().map(|path| run(path)).collect();
            assert_eq!(contents.windows(2).all(|pair| pair[0] == pair[1]), hashes_content);
            assert_eq!(open(&databases), (1, 0));
            assert_eq!(run(&paths[0]), contents[0]);
            run(&others[0]);
            assert_eq!(open(&databases), (2, 0));
            // A file that cannot be turned to is opened.
            write_database(&paths[1], "CREATE TABLE u (a)");
            assert_ne!(run(&paths[1]), contents[1]);
            assert_eq!(open(&databases), (2, 0));
            databases.start_batch();
            for path in &paths {
                run(path);
            }
            assert_eq!(open(&databases), (0, 3));
            std::fs::copy(&paths[0], &paths[1]).unwrap();
        }
    }

    #[test]
    fn what_is_open_is_used_unless_the_file_is_another() {
        let (_folder, paths) = folder(1);
        let (databases, cancel) = (Databases::default(), Arc::default());
        let content = || databases.with(&file(&paths[0]), &cancel, |_, content| content).unwrap();
        let before = content();
        assert_eq!(content(), before);
        std::fs::write(&paths[0], b"").unwrap();
        assert_ne!(content(), before);
        let gone = file(&paths[0]);
        std::fs::remove_file(&paths[0]).unwrap();
        assert!(databases.with(&gone, &cancel, |_, _| ()).is_err());
    }

    #[test]
    fn a_file_that_changes_in_use_gives_no_result() {
        let (_folder, paths) = folder(1);
        let (databases, cancel) = (Databases::default(), Arc::default());
        let before = file(&paths[0]);
        let result = databases.with(&before, &cancel, |_, _| std::fs::write(&paths[0], b"other").unwrap());
        assert!(matches!(result, Err(Failure::Database(_))));
        assert_eq!(open(&databases), (0, 0));
        // Nor does one that has changed since its suite was found.
        std::fs::write(&paths[0], b"").unwrap();
        let result = databases.with(&before, &cancel, |_, _| ());
        assert!(matches!(result, Err(Failure::Database(_))));
        assert!(databases.with(&file(&paths[0]), &cancel, |_, _| ()).is_ok());
    }
}
