//! Digests of the results of golds, kept so that no gold runs twice on the same content of a database.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::path::Path;
use std::sync::Mutex;

use xxhash_rust::xxh3::Xxh3;

use super::compare::Runner;
use super::lock;
use super::store::Store;
use crate::error::Error;
use crate::exec::digest::Digest;
use crate::exec::sandbox::{Failure, Limits};

/// Digests that are known, in memory and, where there is a folder for it, on disk.
#[derive(Debug, Default)]
pub(super) struct Golds {
    known: Mutex<Known>,
    store: Option<Store>,
}

/// Two generations: when the young one has its half of the budget, it becomes the old one, and the old one goes.
#[derive(Debug, Default)]
struct Known {
    young: Digests,
    old: Digests,
    /// Those that the store has not.
    new: Vec<(u128, Digest)>,
}

type Digests = HashMap<u128, Digest, BuildHasherDefault<Folded>>;

/// The hash of a key is the key, which is one already.
#[derive(Debug, Default)]
struct Folded(u64);

impl Hasher for Folded {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, &byte| hash.rotate_left(8) ^ u64::from(byte));
    }

    #[expect(clippy::cast_possible_truncation, reason = "half of a hash is one")]
    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }
}

/// What a digest is kept under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key(u128);

impl Key {
    /// For the gold `text` on a database. Limits are part of it, since a gold that goes beyond them has no digest.
    pub(super) fn new(content: u128, text: &str, ordered: bool, limits: &Limits) -> Self {
        let mut hash = Xxh3::new();
        hash.update(&content.to_le_bytes());
        hash.update(&[u8::from(ordered)]);
        hash.update(&limits.steps.to_le_bytes());
        hash.update(&(limits.memory as u64).to_le_bytes());
        hash.update(text.as_bytes());
        Self(hash.digest128())
    }
}

impl Golds {
    /// Most memory of all digests.
    const BYTES: usize = 64 << 20;

    /// Digests of a generation. A hash map takes up to twice the room of what is in it.
    const GENERATION: usize = Self::BYTES / 2 / 2 / size_of::<(u128, Digest)>();

    /// With the digests that a folder keeps.
    pub(super) fn stored(folder: &Path) -> Self {
        Self { known: Mutex::default(), store: Some(Store::new(folder)) }
    }

    /// Whether what is kept outlives the process, so that keys must come from the content of files.
    pub(super) fn is_stored(&self) -> bool {
        self.store.is_some()
    }

    /// The digest of the gold `text` on the database of `runner`, which runs it if there is none under `key`. What may be
    /// kept then goes to `found`: only who holds the database knows in the end whether its file stayed what it was.
    ///
    /// A gold without a statement fails: it says nothing that a prediction could be compared with.
    pub(super) fn find(
        &self,
        key: Key,
        runner: &mut Runner<'_>,
        text: &str,
        found: &mut Vec<(Key, Digest)>,
    ) -> Result<Digest, Failure> {
        if let Some(digest) = self.get(key) {
            return Ok(digest);
        }
        let digest = runner.gold(text)?;
        // Every statement that may run has a column.
        if digest.columns == 0 {
            return Err(Failure::Sql("there is no statement in it".to_owned()));
        }
        if !runner.database.is_volatile() {
            found.push((key, digest));
        }
        Ok(digest)
    }

    /// Keeps what was found on a database whose file stayed what it was.
    pub(super) fn keep(&self, found: &[(Key, Digest)]) {
        if found.is_empty() {
            return;
        }
        let mut known = lock(&self.known);
        for &(key, digest) in found {
            known.insert(key, digest);
        }
        if self.store.is_some() {
            known.new.extend(found.iter().map(|(key, digest)| (key.0, *digest)));
        }
    }

    fn get(&self, key: Key) -> Option<Digest> {
        let mut known = lock(&self.known);
        if let Some(digest) = known.young.get(&key.0) {
            return Some(*digest);
        }
        let digest = known.old.get(&key.0).copied().or_else(|| self.store.as_ref()?.get(key.0))?;
        known.insert(key, digest);
        Some(digest)
    }

    /// Writes to disk what is new.
    pub(super) fn save(&self) -> Result<(), Error> {
        let Some(store) = &self.store else { return Ok(()) };
        let new = std::mem::take(&mut lock(&self.known).new);
        store.append(&new)
    }
}

impl Known {
    fn insert(&mut self, key: Key, digest: Digest) {
        if self.young.len() >= Golds::GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key.0, digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::digest::Digester;
    use crate::exec::sandbox::{Database, write_database};

    #[test]
    fn what_is_found_is_known_once_it_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.sqlite");
        write_database(&path, "CREATE TABLE t (a); INSERT INTO t VALUES (1)");
        let mut database = Database::open(&path, false).unwrap();
        let (golds, limits) = (Golds::default(), Limits::default());
        let key = Key::new(1, "SELECT a FROM t", false, &limits);
        let mut runner = Runner::new(&mut database, &limits, false);
        // A file that changes in use has results that are never kept.
        for _ in 0..2 {
            golds.find(key, &mut runner, "SELECT a FROM t", &mut Vec::new()).unwrap();
        }
        assert_eq!(runner.executions, 2);
        let mut found = Vec::new();
        let digest = golds.find(key, &mut runner, "SELECT a FROM t", &mut found).unwrap();
        golds.keep(&found);
        assert_eq!(golds.find(key, &mut runner, "SELECT a FROM t", &mut found).unwrap(), digest);
        assert_eq!((runner.executions, found.len()), (3, 1));
    }

    #[test]
    fn a_gold_without_a_statement_fails() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.sqlite");
        write_database(&path, "CREATE TABLE t (a)");
        let mut database = Database::open(&path, false).unwrap();
        let (golds, limits) = (Golds::default(), Limits::default());
        let mut runner = Runner::new(&mut database, &limits, false);
        for text in
            ["", " \n", ";", "; ", "-- SELECT 1", "/* SELECT 1", "/**/;-- SELECT 1", "\u{feff}", "\u{feff}-- x\n;"]
        {
            let mut found = Vec::new();
            let failure = golds.find(Key::new(1, text, false, &limits), &mut runner, text, &mut found).unwrap_err();
            assert_eq!((failure.to_string().as_str(), found.len()), ("there is no statement in it", 0), "{text:?}");
        }
        let text = "SELECT a FROM t -- returns nothing";
        assert!(golds.find(Key::new(1, text, false, &limits), &mut runner, text, &mut Vec::new()).is_ok());
    }

    #[test]
    fn of_two_generations_the_older_goes() {
        let mut known = Known::default();
        let digest = Digester::new(1, false).finish();
        for number in 0..=2 * Golds::GENERATION as u128 {
            known.insert(Key(number), digest);
        }
        assert_eq!((known.young.len(), known.old.len()), (1, Golds::GENERATION));
        assert!(known.old.contains_key(&(Golds::GENERATION as u128)));
    }
}
