//! Temporary files of SQLite, in memory that counts as the query's.
//!
//! Kept in memory by SQLite itself (`temp_store`), a sort takes place within one instruction, for seconds in which nothing
//! looks at the limits. With files it sorts small parts and merges them row by row. But nothing here may write a file, so
//! the file system that connections are opened with keeps temporary files in memory. Of those on disk it opens none; a
//! database is read through what [`source`] was handed.

#![expect(unsafe_code, reason = "a file system of the C interface")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::OnceLock;

use rusqlite::ffi;

use super::source::{self, control, is_locked, nothing, zero};

/// What the file system is called.
pub(super) const NAME: &CStr = c"qsql";

/// Bytes of memory that a file takes at once.
const CHUNK: usize = 64 << 10;

/// How files with a name may be opened.
const READ_DATABASE: c_int = ffi::SQLITE_OPEN_MAIN_DB | ffi::SQLITE_OPEN_READONLY;

/// Registers the file system, which needs SQLite to be configured; says whether that was possible.
pub(super) fn register() -> bool {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    *REGISTERED.get_or_init(|| {
        // SAFETY: the default file system is static. Ours is a copy that lives forever; the functions that it shares with
        // the original look at their arguments and at what is copied.
        unsafe {
            let Some(system) = NonNull::new(ffi::sqlite3_vfs_find(ptr::null())) else { return false };
            let ours = Box::leak(Box::new(*system.as_ptr()));
            ours.szOsFile =
                c_int::try_from(size_of::<Scratch>().max(size_of::<source::Reader>())).unwrap_or(c_int::MAX);
            ours.zName = NAME.as_ptr();
            ours.pNext = ptr::null_mut();
            ours.xOpen = Some(open);
            ours.xDelete = Some(delete);
            ours.xAccess = Some(access);
            ours.xFullPathname = Some(full_name);
            ffi::sqlite3_vfs_register(ours, 0) == ffi::SQLITE_OK
        }
    })
}

unsafe extern "C" fn open(
    _ours: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives room for the larger of our two kinds of file, and null or room for the flags.
    unsafe {
        // What fails to open must not be closed.
        (*file).pMethods = ptr::null();
        // Temporary files have no name.
        if name.is_null() {
            let base = ffi::sqlite3_file { pMethods: &raw const METHODS };
            file.cast::<Scratch>().write(Scratch { base, chunks: Vec::new(), size: 0 });
            if !out_flags.is_null() {
                *out_flags = flags;
            }
            return ffi::SQLITE_OK;
        }
        if flags & READ_DATABASE != READ_DATABASE {
            return ffi::SQLITE_CANTOPEN;
        }
        if !out_flags.is_null() {
            *out_flags = ffi::SQLITE_OPEN_READONLY;
        }
        source::open(file)
    }
}

unsafe extern "C" fn delete(_ours: *mut ffi::sqlite3_vfs, _name: *const c_char, _sync: c_int) -> c_int {
    ffi::SQLITE_IOERR_DELETE
}

/// No other file is there, such as a journal.
unsafe extern "C" fn access(_ours: *mut ffi::sqlite3_vfs, _name: *const c_char, _: c_int, found: *mut c_int) -> c_int {
    // SAFETY: room for the answer.
    unsafe { *found = 0 };
    ffi::SQLITE_OK
}

/// Names mean nothing, and stay as they are.
unsafe extern "C" fn full_name(
    _ours: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    length: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: a C string, and room for `length` bytes.
    unsafe {
        let name = CStr::from_ptr(name).to_bytes_with_nul();
        if usize::try_from(length).is_ok_and(|length| length < name.len()) {
            return ffi::SQLITE_CANTOPEN;
        }
        ptr::copy_nonoverlapping(name.as_ptr(), out.cast(), name.len());
    }
    ffi::SQLITE_OK
}

/// A file of chunks; what is beyond them or was never written is zero.
#[repr(C)]
struct Scratch {
    base: ffi::sqlite3_file,
    chunks: Vec<Chunk>,
    size: usize,
}

/// [`CHUNK`] bytes from SQLite's allocator, which counts them.
struct Chunk(NonNull<u8>);

impl Chunk {
    fn new() -> Option<Self> {
        // SAFETY: the allocation is as long as what is written to it.
        unsafe {
            let bytes = NonNull::new(ffi::sqlite3_malloc64(CHUNK as u64).cast::<u8>())?;
            bytes.write_bytes(0, CHUNK);
            Some(Self(bytes))
        }
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: an allocation of that length, all of it initialized, and borrowed as long as the chunk.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_ptr(), CHUNK) }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // SAFETY: allocated by SQLite and not used again.
        unsafe { ffi::sqlite3_free(self.0.as_ptr().cast()) }
    }
}

impl Scratch {
    /// The parts of chunks that hold `length` bytes from `at` on, which must exist.
    fn parts(&mut self, at: usize, length: usize) -> impl Iterator<Item = &mut [u8]> {
        let end = at + length;
        let chunks =
            self.chunks.iter_mut().enumerate().skip(at / CHUNK).take_while(move |(index, _)| index * CHUNK < end);
        chunks.map(move |(index, chunk)| {
            let start = index * CHUNK;
            &mut chunk.bytes()[at.saturating_sub(start)..(end - start).min(CHUNK)]
        })
    }

    fn read(&mut self, out: &mut [u8], at: usize) -> c_int {
        let length = out.len().min(self.size.saturating_sub(at));
        let (mut known, beyond) = out.split_at_mut(length);
        for part in self.parts(at, length) {
            let (now, later) = known.split_at_mut(part.len());
            now.copy_from_slice(part);
            known = later;
        }
        beyond.fill(0);
        if beyond.is_empty() { ffi::SQLITE_OK } else { ffi::SQLITE_IOERR_SHORT_READ }
    }

    fn write(&mut self, bytes: &[u8], at: usize) -> c_int {
        let Some(end) = at.checked_add(bytes.len()) else { return ffi::SQLITE_FULL };
        while self.chunks.len() * CHUNK < end {
            let Some(chunk) = Chunk::new() else { return ffi::SQLITE_IOERR_NOMEM };
            self.chunks.push(chunk);
        }
        let mut rest = bytes;
        for part in self.parts(at, bytes.len()) {
            let (now, later) = rest.split_at(part.len());
            part.copy_from_slice(now);
            rest = later;
        }
        self.size = self.size.max(end);
        ffi::SQLITE_OK
    }

    fn truncate(&mut self, size: usize) {
        self.chunks.truncate(size.div_ceil(CHUNK));
        if let Some(last) = self.chunks.get_mut(size / CHUNK) {
            last.bytes()[size % CHUNK..].fill(0);
        }
        self.size = self.size.min(size);
    }
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 1,
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
    xDeviceCharacteristics: Some(zero),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

/// # Safety
///
/// `file` must be one that [`open`] made, not closed yet.
unsafe fn scratch<'a>(file: *mut ffi::sqlite3_file) -> &'a mut Scratch {
    // SAFETY: by the caller's promise; SQLite uses a file on one thread at a time.
    unsafe { &mut *file.cast::<Scratch>() }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite closes a file once and gives the room back itself.
    unsafe { ptr::drop_in_place(file.cast::<Scratch>()) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, out: *mut c_void, length: c_int, at: i64) -> c_int {
    let (Ok(length), Ok(at)) = (usize::try_from(length), usize::try_from(at)) else { return ffi::SQLITE_IOERR_READ };
    // SAFETY: an open file, and room for so many bytes, which SQLite may not have initialized.
    unsafe {
        out.cast::<u8>().write_bytes(0, length);
        scratch(file).read(std::slice::from_raw_parts_mut(out.cast(), length), at)
    }
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, bytes: *const c_void, length: c_int, at: i64) -> c_int {
    let (Ok(length), Ok(at)) = (usize::try_from(length), usize::try_from(at)) else { return ffi::SQLITE_IOERR_WRITE };
    // SAFETY: an open file, and so many bytes.
    unsafe { scratch(file).write(std::slice::from_raw_parts(bytes.cast(), length), at) }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    // SAFETY: an open file.
    unsafe { scratch(file) }.truncate(usize::try_from(size).unwrap_or_default());
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, size: *mut i64) -> c_int {
    // SAFETY: an open file, and room for its size.
    unsafe { *size = i64::try_from(scratch(file).size).unwrap_or(i64::MAX) };
    ffi::SQLITE_OK
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::exec::sandbox::{Database, Failure, Limits, Reader, Row, memory};
    use std::ops::ControlFlow;

    /// Counts rows.
    struct Rows(u64);

    impl Reader for Rows {
        fn start(&mut self, _: usize) -> ControlFlow<()> {
            ControlFlow::Continue(())
        }

        fn row(&mut self, _: &Row<'_>) -> ControlFlow<()> {
            self.0 += 1;
            ControlFlow::Continue(())
        }
    }

    fn database(folder: &std::path::Path) -> Database {
        let path = folder.join("t.sqlite");
        assert!(memory::install());
        rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
        Database::open(&path, false).unwrap()
    }

    const NUMBERS: &str = "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r LIMIT 20000)";

    #[test]
    fn what_does_not_fit_the_cache_is_memory_of_the_query_and_goes_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut database = database(folder.path());
        // A sort, and a table that is kept to be read twice, each of 20 MB.
        let sorted = format!("{NUMBERS} SELECT x FROM r ORDER BY randomblob(1000)");
        let kept = format!(
            "{NUMBERS}, m(b) AS MATERIALIZED (SELECT randomblob(1000) FROM r) SELECT 1 FROM m UNION ALL SELECT 1 FROM m"
        );
        for (query, rows) in [(sorted, 20_000), (kept, 40_000)] {
            for round in 0..3 {
                let mut read = Rows(0);
                database.query(&query, &Limits::default(), &mut read).unwrap();
                assert_eq!(read.0, rows);
                assert!(round == 0 || memory::used() < 1000, "{} bytes are left", memory::used());
            }
            let few = Limits { memory: 10 << 20, ..Limits::default() };
            let failure = database.query(&query, &few, &mut Rows(0)).unwrap_err();
            assert!(matches!(failure, Failure::TooLarge(_)), "{failure:?}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn no_other_file_is_opened_or_deleted() {
        let folder = tempfile::tempdir().unwrap();
        drop(database(folder.path()));
        let path = std::ffi::CString::new(folder.path().join("t.sqlite").to_str().unwrap()).unwrap();
        let mut file =
            Scratch { base: ffi::sqlite3_file { pMethods: &raw const METHODS }, chunks: Vec::new(), size: 0 };
        let kinds = [
            ffi::SQLITE_OPEN_MAIN_DB | ffi::SQLITE_OPEN_READWRITE | ffi::SQLITE_OPEN_CREATE,
            ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_READONLY,
            ffi::SQLITE_OPEN_TEMP_DB | ffi::SQLITE_OPEN_READWRITE | ffi::SQLITE_OPEN_DELETEONCLOSE,
        ];
        for flags in kinds {
            file.base.pMethods = &raw const METHODS;
            // SAFETY: room for a file, a C string, and no room for flags.
            let code = unsafe { open(ptr::null_mut(), path.as_ptr(), (&raw mut file).cast(), flags, ptr::null_mut()) };
            assert_eq!((code, file.base.pMethods), (ffi::SQLITE_CANTOPEN, ptr::null()));
        }
        // SAFETY: a C string.
        assert_ne!(unsafe { delete(ptr::null_mut(), path.as_ptr(), 0) }, ffi::SQLITE_OK);
        assert!(folder.path().join("t.sqlite").exists());
    }

    #[test]
    fn files_hold_what_was_written() {
        let mut file =
            Scratch { base: ffi::sqlite3_file { pMethods: &raw const METHODS }, chunks: Vec::new(), size: 0 };
        let text: Vec<u8> = (0..=255).cycle().take(3 * CHUNK + 5).collect();
        assert_eq!(file.write(&text, CHUNK - 7), ffi::SQLITE_OK);
        assert_eq!(file.size, 4 * CHUNK - 2);
        let mut out = vec![1; text.len()];
        assert_eq!(file.read(&mut out, CHUNK - 7), ffi::SQLITE_OK);
        assert_eq!(out, text);
        let mut hole = [1; 10];
        assert_eq!(file.read(&mut hole, 3), ffi::SQLITE_OK);
        assert_eq!(hole, [0; 10]);
        let mut end = [1; 10];
        assert_eq!(file.read(&mut end, 4 * CHUNK - 4), ffi::SQLITE_IOERR_SHORT_READ);
        assert_eq!(end, [text[text.len() - 2], text[text.len() - 1], 0, 0, 0, 0, 0, 0, 0, 0]);
        file.truncate(CHUNK - 5);
        assert_eq!((file.size, file.chunks.len()), (CHUNK - 5, 1));
        assert_eq!(file.write(b"x", CHUNK + 1), ffi::SQLITE_OK);
        let mut after = [9; 8];
        assert_eq!(file.read(&mut after, CHUNK - 6), ffi::SQLITE_OK);
        assert_eq!(after, [text[1], 0, 0, 0, 0, 0, 0, b'x']);
        file.truncate(0);
        assert_eq!((file.size, file.chunks.len()), (0, 0));
        assert_eq!(file.read(&mut [0; 1], 0), ffi::SQLITE_IOERR_SHORT_READ);
    }
}
