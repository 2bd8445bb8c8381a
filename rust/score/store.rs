//! Digests of golds in a file, from one process to the next.
//!
//! The file is a heap of records, each with a checksum, and only ever appended to, so that several processes may write at
//! once and one that is killed spoils no more than its last record. What cannot be read as a record is skipped.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::error::{Error, Result};
use crate::exec::digest::Digest;
use crate::exec::sandbox;
use crate::file;

/// A file of digests. It is read when the first is asked for.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    /// Sorted by key; or why the file cannot be read.
    records: OnceLock<std::result::Result<Vec<Record>, String>>,
}

type Record = (u128, Digest);

/// Bytes of a record: key, digest, checksum of both.
const RECORD: usize = 16 + Digest::BYTES + 16;

/// Largest file. Beyond it, the older half goes; one of twice that size is no file of ours.
const LARGEST: usize = 32 << 20;

/// To be raised whenever digests come about in another way.
const FORMAT: u32 = 2;

impl Store {
    /// The file in `folder` for the SQLite inside: another one may have other results.
    pub(super) fn new(folder: &Path) -> Self {
        let options = xxh3_64(sandbox::compile_options().join(" ").as_bytes());
        let name = format!("golds-{FORMAT}-sqlite-{}-{:08x}.bin", sandbox::sqlite_version(), options >> 32);
        Self { path: folder.join(name), records: OnceLock::new() }
    }

    pub(super) fn get(&self, key: u128) -> Option<Digest> {
        let records = self.records.get_or_init(|| self.read().map(sorted)).as_ref().ok()?;
        let place = records.binary_search_by_key(&key, |(key, _)| *key).ok()?;
        Some(records[place].1)
    }

    /// Adds records. A file that could not be read is not written either.
    pub(super) fn append(&self, records: &[Record]) -> Result<()> {
        if let Some(Err(message)) = self.records.get() {
            return Err(self.error(message.clone()));
        }
        if records.is_empty() {
            return Ok(());
        }
        self.write(&records.iter().flat_map(to_bytes).collect::<Vec<u8>>())
            .map_err(|error| self.error(error.to_string()))
    }

    fn write(&self, new: &[u8]) -> std::io::Result<()> {
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut file = file::append(&self.path)?;
        if usize::try_from(file.metadata()?.len()).is_ok_and(|size| size + new.len() <= LARGEST) {
            // In one call, so that what others append at the same time is not mixed with it.
            return file.write_all(new);
        }
        drop(file);
        let mut bytes: Vec<u8> =
            from_bytes(&file::read(&self.path, 2 * LARGEST as u64)?).iter().flat_map(to_bytes).collect();
        bytes.extend_from_slice(new);
        let kept = &bytes[bytes.len().saturating_sub(LARGEST / 2 / RECORD * RECORD)..];
        let temporary = self.path.with_extension(format!("{}.tmp", std::process::id()));
        let written = std::fs::write(&temporary, kept).and_then(|()| std::fs::rename(&temporary, &self.path));
        if written.is_err() {
            // It may not even be there.
            let _ = std::fs::remove_file(&temporary);
        }
        written
    }

    fn read(&self) -> std::result::Result<Vec<Record>, String> {
        match file::read(&self.path, 2 * LARGEST as u64) {
            Ok(bytes) => Ok(from_bytes(&bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn error(&self, message: String) -> Error {
        Error::Cache { path: self.path.clone(), message }
    }
}

fn sorted(mut records: Vec<Record>) -> Vec<Record> {
    records.sort_unstable_by_key(|(key, _)| *key);
    records
}

fn to_bytes((key, digest): &Record) -> [u8; RECORD] {
    let mut bytes = [0; RECORD];
    bytes[..16].copy_from_slice(&key.to_le_bytes());
    bytes[16..RECORD - 16].copy_from_slice(&digest.to_bytes());
    let checksum = xxh3_128(&bytes[..RECORD - 16]);
    bytes[RECORD - 16..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// The records in `bytes`, in their order.
fn from_bytes(bytes: &[u8]) -> Vec<Record> {
    let mut records = Vec::with_capacity(bytes.len() / RECORD);
    let mut rest = bytes;
    while let Some((record, behind)) = rest.split_first_chunk::<RECORD>() {
        rest = if let Some(record) = from_record(record) {
            records.push(record);
            behind
        } else {
            // Behind a record that was cut off the next one starts anywhere.
            &rest[1..]
        };
    }
    records
}

fn from_record(bytes: &[u8; RECORD]) -> Option<Record> {
    let (content, checksum) = bytes.split_last_chunk::<16>()?;
    if u128::from_le_bytes(*checksum) != xxh3_128(content) {
        return None;
    }
    let (key, digest) = content.split_first_chunk::<16>()?;
    Some((u128::from_le_bytes(*key), Digest::from_bytes(digest.try_into().ok()?)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::denotation::Value;
    use crate::exec::digest::Digester;

    fn record(number: u32) -> Record {
        let mut digester = Digester::new(1, false);
        digester.row(std::iter::once(Value::Integer(i64::from(number))));
        (u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835), digester.finish())
    }

    #[test]
    fn what_was_written_is_found_by_others() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("not/there/yet");
        let records: Vec<Record> = (0..1000).map(record).collect();
        let (one, two) = (Store::new(&below), Store::new(&below));
        one.append(&records[..600]).unwrap();
        two.append(&records[500..]).unwrap();
        let third = Store::new(&below);
        for (key, digest) in &records {
            assert_eq!(third.get(*key), Some(*digest));
        }
        assert_eq!(third.get(7), None);
    }

    #[test]
    fn a_torn_record_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let records: Vec<Record> = (0..4).map(record).collect();
        store.append(&records[..2]).unwrap();
        let bytes = std::fs::read(&store.path).unwrap();
        std::fs::write(&store.path, &bytes[..bytes.len() - 5]).unwrap();
        store.append(&records[2..]).unwrap();
        let found: Vec<bool> = records.iter().map(|(key, _)| store.get(*key).is_some()).collect();
        assert_eq!(found, [true, false, true, true]);
        std::fs::write(&store.path, vec![7; 10_000]).unwrap();
        assert_eq!(Store::new(folder.path()).get(records[0].0), None);
    }

    #[test]
    fn the_file_is_bounded_and_keeps_the_latest() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let records: Vec<Record> = (0..300_000).map(record).collect();
        for chunk in records.chunks(100_000) {
            for _ in 0..2 {
                store.append(chunk).unwrap();
                assert!(std::fs::metadata(&store.path).unwrap().len() <= LARGEST as u64);
            }
        }
        assert_eq!(store.get(records[299_999].0), Some(records[299_999].1));
        assert_eq!(store.get(records[0].0), None);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        std::fs::create_dir(&store.path).unwrap();
        assert_eq!(store.get(1), None);
        assert!(matches!(store.append(&[record(1)]), Err(Error::Cache { .. })));
    }
}
