//! The databases that stay open from one use to the next.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::lock;
use crate::exec::sandbox::{Database, Failure};

/// Open databases that nobody is using.
#[derive(Debug, Default)]
pub(super) struct Databases {
    idle: Mutex<Idle>,
    /// Whether the content of every file is hashed, however large it is.
    hashes_files: bool,
}

#[derive(Debug, Default)]
struct Idle {
    databases: HashMap<PathBuf, Vec<Open>>,
    /// Memory of all of them.
    bytes: u64,
    /// How many hold a file descriptor.
    files: usize,
    /// How often one was put back.
    uses: u64,
}

#[derive(Debug)]
struct Open {
    stamp: Stamp,
    database: Database,
    content: u128,
    /// When it was put back, counted in uses.
    used: u64,
}

/// What tells one state of a file from another without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    size: u64,
    modified: Option<SystemTime>,
    /// Device and number of the file, where there are such.
    identity: Option<(u64, u64)>,
}

impl Stamp {
    fn of(path: &Path) -> Result<Self, Failure> {
        let found = std::fs::metadata(path).map_err(|error| Failure::Database(error.to_string()))?;
        #[cfg(unix)]
        let identity = Some((std::os::unix::fs::MetadataExt::dev(&found), std::os::unix::fs::MetadataExt::ino(&found)));
        #[cfg(not(unix))]
        let identity = None;
        Ok(Self { size: found.len(), modified: found.modified().ok(), identity })
    }
}

impl Idle {
    /// Most memory of databases that stay open: enough for Spider's dev set with all of its variants.
    const BYTES: u64 = 192 << 20;

    /// Most of them that hold a file descriptor, of which a process may have about a thousand.
    const FILES: usize = 128;

    fn take(&mut self, path: &Path) -> Option<Open> {
        let open = self.databases.get_mut(path)?.pop()?;
        self.forget(&open);
        Some(open)
    }

    fn forget(&mut self, open: &Open) {
        self.bytes -= open.database.memory();
        self.files -= usize::from(open.database.holds_file());
    }

    /// Puts a database back; returns those that must go for it, the longest unused first.
    fn put(&mut self, path: &Path, open: Open) -> Vec<Open> {
        self.uses += 1;
        self.bytes += open.database.memory();
        self.files += usize::from(open.database.holds_file());
        let open = Open { used: self.uses, ..open };
        match self.databases.get_mut(path) {
            Some(idle) => idle.push(open),
            None => drop(self.databases.insert(path.to_owned(), vec![open])),
        }
        let mut gone = Vec::new();
        while self.bytes > Self::BYTES || self.files > Self::FILES {
            let wanted = |open: &Open| self.files <= Self::FILES || open.database.holds_file();
            // The latest put back are behind the others.
            let oldest = self.databases.values_mut().filter(|idle| idle.first().is_some_and(wanted));
            let Some(idle) = oldest.min_by_key(|idle| idle[0].used) else { break };
            let open = idle.remove(0);
            self.forget(&open);
            gone.push(open);
        }
        gone
    }
}

impl Databases {
    /// None yet. If `hashes_files`, what stands for a file's content is the same in every process.
    pub(super) fn new(hashes_files: bool) -> Self {
        Self { idle: Mutex::default(), hashes_files }
    }

    /// Gives `use_it` the database at `path` and what stands for its content, and keeps it open afterwards. A file that
    /// changes meanwhile is a failure: what was read of it is neither its old nor its new content.
    pub(super) fn with<T>(
        &self,
        path: &Path,
        cancel: &Arc<AtomicBool>,
        use_it: impl FnOnce(&mut Database, u128) -> T,
    ) -> Result<T, Failure> {
        let stamp = Stamp::of(path)?;
        let idle = lock(&self.idle).take(path);
        let mut open = match idle {
            Some(open) if open.stamp == stamp => open,
            _ => {
                let database = Database::open(path)?;
                let content = match database.content() {
                    Some(content) => content,
                    None if self.hashes_files => hash_of_file(path)?,
                    None => xxh3_128(format!("{} {stamp:?}", path.display()).as_bytes()),
                };
                Open { stamp, database, content, used: 0 }
            }
        };
        open.database.watch(Arc::clone(cancel));
        let content = open.content;
        let result = open.database.session(|database| use_it(database, content));
        if Stamp::of(path)? != open.stamp {
            return Err(Failure::Database("the file changed while it was in use".to_owned()));
        }
        // Closing takes a while: not under the lock.
        let gone = lock(&self.idle).put(path, open);
        drop(gone);
        Ok(result)
    }
}

fn hash_of_file(path: &Path) -> Result<u128, Failure> {
    let hash = || {
        let mut file = std::fs::File::open(path)?;
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
