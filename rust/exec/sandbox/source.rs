//! The file of a database as SQLite reads it, which can be exchanged for another of the same layout.
//!
//! The variants of a test suite differ in their rows only. A connection that has read the schema of one and compiled queries
//! on it has done so for all of them; what is new is the file. So a connection opens no file by name: it reads what it was
//! handed, without locks, journals or logs, and no function here writes.

#![expect(unsafe_code, reason = "a file of the C interface")]

use std::cell::RefCell;
use std::ffi::{c_int, c_void};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::ptr;

use rusqlite::{Connection, ffi};
use xxhash_rust::xxh3::xxh3_128;

use super::Failure;
use crate::file;

/// Largest file that is held in memory. The largest of Spider's test suite has 700 kB.
const HELD_BYTES: u64 = 4 << 20;

/// Bytes that must follow a page that is read in place: of one that is damaged SQLite may read somewhat more.
const BEHIND_PAGE: usize = 256;

/// What the file is called in a connection: the same everywhere.
pub(super) const NAME: &str = "database";

/// Length of a header.
pub(super) const HEADER: usize = 100;

/// Where a header says whether the file is written and read with a log beside it.
const FORMATS: std::ops::Range<usize> = 18..20;

/// Where a header says how text is encoded: 1 is UTF-8.
pub(super) const ENCODING: std::ops::Range<usize> = 56..60;

/// Where a header counts changes and pages and names the SQLite that wrote last: the part that does not say how to read the
/// file.
const COUNTERS: [std::ops::Range<usize>; 2] = [24..40, 92..100];

/// What a connection reads.
#[derive(Debug)]
pub(super) struct Source {
    header: [u8; HEADER],
    size: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Held(Vec<u8>),
    OnDisk(File),
}

impl Source {
    /// Opens a file. If it is to be `held` and small enough, it is read into memory: that of `room`.
    pub(super) fn open(path: &Path, held: bool, room: Vec<u8>) -> Result<Self, Failure> {
        Self::read_or_open(path, held, room).map_err(|error| Failure::Database(error.to_string()))
    }

    fn read_or_open(path: &Path, held: bool, mut room: Vec<u8>) -> io::Result<Self> {
        let mut file = file::open(path)?;
        let size = file.metadata()?.len();
        let mut header = [0; HEADER];
        let known = HEADER.min(usize::try_from(size).unwrap_or(HEADER));
        if held && size <= HELD_BYTES {
            let needed = usize::try_from(size).unwrap_or_default();
            // What a large file needed is not kept for small ones.
            if room.capacity() > 2 * needed {
                room = Vec::new();
            }
            room.clear();
            room.reserve_exact(needed);
            room.resize(needed, 0);
            file.read_exact(&mut room)?;
            without_log(&mut room);
            header[..known].copy_from_slice(&room[..known]);
            return Ok(Self { header, size, content: Content::Held(room) });
        }
        read_exact_at(&file, &mut header[..known], 0)?;
        without_log(&mut header);
        Ok(Self { header, size, content: Content::OnDisk(file) })
    }

    /// What is left in a connection whose file was taken away.
    pub(super) fn none() -> Self {
        Self { header: [0; HEADER], size: 0, content: Content::Held(Vec::new()) }
    }

    /// How many bytes it has.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Hash of the content, if it is held in memory.
    pub(super) fn hash(&self) -> Option<u128> {
        match &self.content {
            Content::Held(bytes) => Some(xxh3_128(bytes)),
            Content::OnDisk(_) => None,
        }
    }

    /// The memory that it is held in.
    pub(super) fn into_room(self) -> Vec<u8> {
        match self.content {
            Content::Held(bytes) => bytes,
            Content::OnDisk(_) => Vec::new(),
        }
    }

    /// Whether it is held in memory.
    pub(super) fn is_held(&self) -> bool {
        matches!(self.content, Content::Held(_))
    }

    /// What its header says of how it is to be read: encoding, size of the pages, version of the schema.
    pub(super) fn layout(&self) -> [u8; HEADER] {
        let mut layout = self.header;
        for counters in COUNTERS {
            layout[counters].fill(0);
        }
        layout
    }

    /// The bytes from `at` on; those behind the end are zero.
    fn read(&self, out: &mut [u8], at: u64) -> c_int {
        let length = out.len().min(usize::try_from(self.size.saturating_sub(at)).unwrap_or(usize::MAX));
        let (known, beyond) = out.split_at_mut(length);
        beyond.fill(0);
        let start = usize::try_from(at).unwrap_or(usize::MAX);
        let code = match &self.content {
            _ if known.is_empty() => ffi::SQLITE_OK,
            _ if start.saturating_add(length) <= HEADER => {
                known.copy_from_slice(&self.header[start..start + length]);
                ffi::SQLITE_OK
            }
            Content::Held(bytes) => {
                known.copy_from_slice(&bytes[start..start + length]);
                ffi::SQLITE_OK
            }
            Content::OnDisk(file) => match read_exact_at(file, known, at) {
                Ok(()) => {
                    if let Some(header) = self.header.get(start..).filter(|header| !header.is_empty()) {
                        let length = header.len().min(known.len());
                        known[..length].copy_from_slice(&header[..length]);
                    }
                    ffi::SQLITE_OK
                }
                Err(_) => ffi::SQLITE_IOERR_READ,
            },
        };
        if code == ffi::SQLITE_OK && !beyond.is_empty() { ffi::SQLITE_IOERR_SHORT_READ } else { code }
    }
}

/// A log is a file beside the database, which is never looked at. It is empty, else the suite would not be run.
fn without_log(bytes: &mut [u8]) {
    if let Some(formats) = bytes.get_mut(FORMATS)
        && *formats == [2, 2]
    {
        formats.fill(1);
    }
}

fn read_exact_at(file: &File, out: &mut [u8], at: u64) -> io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::read_exact_at(file, out, at);
    #[cfg(windows)]
    {
        let (mut out, mut at) = (out, at);
        while !out.is_empty() {
            match std::os::windows::fs::FileExt::seek_read(file, out, at)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => (out, at) = (&mut out[read..], at + read as u64),
            }
        }
        Ok(())
    }
}

thread_local! {
    /// What the next database that this thread opens reads.
    static HANDED: RefCell<Option<Source>> = const { RefCell::new(None) };
}

/// Opens a connection by `open` that reads `source`; any other file is refused.
pub(super) fn handed<T>(source: Source, open: impl FnOnce() -> T) -> T {
    HANDED.set(Some(source));
    let opened = open();
    HANDED.set(None);
    opened
}

/// Exchanges what a connection reads, which must not be running a query. Returns what it read before.
pub(super) fn exchange(connection: &Connection, source: Source) -> Result<Source, Failure> {
    let mut file: *mut ffi::sqlite3_file = ptr::null_mut();
    // SAFETY: the connection is open, and tells the address of the file of its main database.
    let code = unsafe {
        let place = (&raw mut file).cast();
        ffi::sqlite3_file_control(connection.handle(), c"main".as_ptr(), ffi::SQLITE_FCNTL_FILE_POINTER, place)
    };
    // SAFETY: null or an open file, whose methods tell whether it is one of ours.
    let is_ours = !file.is_null() && unsafe { ptr::eq((*file).pMethods, &raw const METHODS) };
    // SAFETY: the connection is open.
    let is_idle = unsafe { ffi::sqlite3_txn_state(connection.handle(), c"main".as_ptr()) } == ffi::SQLITE_TXN_NONE;
    if code != ffi::SQLITE_OK || !is_ours || !is_idle {
        return Err(Failure::Database("not a file that can be exchanged".to_owned()));
    }
    // SAFETY: made by `open`, and used by the thread alone that has the connection. Nothing of it is borrowed: pages that lie in
    // the old file are given back when a query ends, and others are forgotten before the new file is looked at.
    unsafe {
        let old = std::mem::replace(&mut (*file.cast::<Reader>()).source, source);
        let code = ffi::sqlite3_file_control(
            connection.handle(),
            c"main".as_ptr(),
            ffi::SQLITE_FCNTL_RESET_CACHE,
            ptr::null_mut(),
        );
        if code == ffi::SQLITE_OK { Ok(old) } else { Err(Failure::Database(ffi::code_to_str(code).to_owned())) }
    }
}

/// A file that is open.
#[repr(C)]
pub(super) struct Reader {
    base: ffi::sqlite3_file,
    source: Source,
}

/// Makes `file` one that reads what was handed to the thread; returns SQLite's result code.
///
/// # Safety
///
/// `file` must be room for a [`Reader`].
pub(super) unsafe fn open(file: *mut ffi::sqlite3_file) -> c_int {
    let Some(source) = HANDED.take() else { return ffi::SQLITE_CANTOPEN };
    let base = ffi::sqlite3_file { pMethods: &raw const METHODS };
    // SAFETY: by the caller's promise.
    unsafe { file.cast::<Reader>().write(Reader { base, source }) };
    ffi::SQLITE_OK
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 3,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(nothing),
    xFileSize: Some(file_size),
    xLock: Some(nothing),
    xUnlock: Some(nothing),
    xCheckReservedLock: Some(is_locked),
    xFileControl: Some(control),
    xSectorSize: Some(zero),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: Some(fetch),
    xUnfetch: Some(unfetch),
};

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite closes a file once and gives the room back itself.
    unsafe { ptr::drop_in_place(file.cast::<Reader>()) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, out: *mut c_void, length: c_int, at: i64) -> c_int {
    let (Ok(length), Ok(at)) = (usize::try_from(length), u64::try_from(at)) else { return ffi::SQLITE_IOERR_READ };
    // SAFETY: an open file, and room for so many bytes, which SQLite may not have initialized.
    unsafe {
        out.cast::<u8>().write_bytes(0, length);
        (*file.cast::<Reader>()).source.read(std::slice::from_raw_parts_mut(out.cast(), length), at)
    }
}

unsafe extern "C" fn write(_: *mut ffi::sqlite3_file, _: *const c_void, _: c_int, _: i64) -> c_int {
    ffi::SQLITE_READONLY
}

unsafe extern "C" fn truncate(_: *mut ffi::sqlite3_file, _: i64) -> c_int {
    ffi::SQLITE_READONLY
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, size: *mut i64) -> c_int {
    // SAFETY: an open file, and room for its size.
    unsafe { *size = i64::try_from((*file.cast::<Reader>()).source.size).unwrap_or(i64::MAX) };
    ffi::SQLITE_OK
}

pub(super) unsafe extern "C" fn nothing(_: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    ffi::SQLITE_OK
}

pub(super) unsafe extern "C" fn is_locked(_: *mut ffi::sqlite3_file, locked: *mut c_int) -> c_int {
    // SAFETY: room for the answer.
    unsafe { *locked = 0 };
    ffi::SQLITE_OK
}

pub(super) unsafe extern "C" fn control(_: *mut ffi::sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

pub(super) unsafe extern "C" fn zero(_: *mut ffi::sqlite3_file) -> c_int {
    0
}

/// Long values are read where they are, page by page, and need not all be kept.
unsafe extern "C" fn characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_SUBPAGE_READ
}

/// Where a page lies in memory; null if it must be read.
unsafe extern "C" fn fetch(file: *mut ffi::sqlite3_file, at: i64, length: c_int, out: *mut *mut c_void) -> c_int {
    // SAFETY: an open file, and room for the address. SQLite does not write to pages of a file that is open for reading, and
    // gives them back before the file is exchanged.
    unsafe {
        *out = match &(*file.cast::<Reader>()).source.content {
            Content::Held(bytes) => {
                page(bytes, at, length).map_or(ptr::null_mut(), |page| page.as_ptr().cast_mut().cast())
            }
            Content::OnDisk(_) => ptr::null_mut(),
        };
    }
    ffi::SQLITE_OK
}

fn page(bytes: &[u8], at: i64, length: c_int) -> Option<&[u8]> {
    let (start, length) = (usize::try_from(at).ok()?, usize::try_from(length).ok()?);
    let end = start.checked_add(length)?;
    bytes.get(start..end.checked_add(BEHIND_PAGE)?).map(|bytes| &bytes[..length])
}

unsafe extern "C" fn unfetch(_: *mut ffi::sqlite3_file, _: i64, _: *mut c_void) -> c_int {
    ffi::SQLITE_OK
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::sandbox::{Database, Limits, write_database};

    fn digest(database: &mut Database, text: &str) -> crate::exec::digest::Digest {
        database.digest(text, &Limits::default()).unwrap()
    }

    #[test]
    fn the_last_page_is_not_read_in_place() {
        let bytes = [0; 8192];
        assert_eq!(page(&bytes, 0, 4096).map(<[u8]>::len), Some(4096));
        for (at, length) in [(4096, 4096), (8192, 4096), (-1, 10), (0, 8192), (i64::MAX, 4096)] {
            assert_eq!(page(&bytes, at, length), None);
        }
    }

    #[test]
    fn small_files_are_held_and_large_ones_opened() {
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
        for size in [4096, 65536] {
            let path = folder.path().join(format!("{size}.sqlite"));
            let script = "PRAGMA journal_mode = WAL; CREATE TABLE t (a); INSERT INTO t VALUES (1)";
            write_database(&path, &format!("PRAGMA page_size = {size}; {script}"));
            assert_eq!(std::fs::read(&path).unwrap()[FORMATS], [2, 2]);
            for held in [false, true] {
                assert_eq!(digest(&mut Database::open(&path, held).unwrap(), "SELECT a FROM t").rows, 1);
            }
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn content_tells_files_apart() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two, other] = ["one", "two", "other"].map(|name| folder.path().join(name));
        write_database(&one, "CREATE TABLE t (a)");
        std::fs::copy(&one, &two).unwrap();
        write_database(&other, "CREATE TABLE t (a); INSERT INTO t VALUES (1)");
        let [one, two, other] = [one, two, other].map(|path| Database::open(&path, true).unwrap());
        assert_eq!(one.content(), two.content());
        assert_ne!(one.content(), other.content());
    }

    #[test]
    fn files_that_are_none_are_failures() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.sqlite");
        let mut good = folder.path().join("good.sqlite");
        write_database(&good, "CREATE TABLE t (a); INSERT INTO t VALUES (1)");
        let whole = std::fs::read(&good).unwrap();
        assert!(matches!(Database::open(&path, false), Err(Failure::Database(_))));
        for held in [false, true] {
            for bytes in [&b"x"[..], &[7; 5000], &whole[..50], &whole[..4096]] {
                std::fs::write(&path, bytes).unwrap();
                let found = Database::open(&path, held)
                    .and_then(|mut database| database.digest("SELECT a FROM t", &Limits::default()));
                assert!(matches!(found, Err(Failure::Database(_))), "{held} {} {found:?}", bytes.len());
                let mut database = Database::open(&good, held).unwrap();
                let turned = database.turn(&path, held).and_then(|is_turned| {
                    if is_turned {
                        database.digest("SELECT a FROM t", &Limits::default()).map(|_| true)
                    } else {
                        Ok(false)
                    }
                });
                assert!(!matches!(turned, Ok(true)), "{held} {}", bytes.len());
            }
            // A file without a byte is a database without a table.
            std::fs::write(&path, b"").unwrap();
            assert_eq!(digest(&mut Database::open(&path, held).unwrap(), "SELECT 1 FROM sqlite_master").rows, 0);
            assert_eq!(Database::open(&good, held).unwrap().turn(&path, held), Ok(false));
        }
        good.pop();
        assert!(matches!(Database::open(&good, false), Err(Failure::Database(_))));
    }
}
