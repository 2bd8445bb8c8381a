//! Memory of SQLite, counted for each thread: what a query may not have, it does not get. A query that has used up its
//! time or its stack gets no memory either, which ends it even where SQLite has no other look at the limits.
//!
//! SQLite's own heap limit is one for the whole process, so a greedy query would starve its neighbours, and its counter is
//! one lock for all threads. Here every allocation is counted by the thread that makes it. A query runs on one thread from
//! its start to its end, so what that thread allocates in between is the query's.

#![expect(unsafe_code, reason = "SQLite takes its allocator as a table of C functions")]

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::OnceLock;

use rusqlite::ffi;

use super::STACK_BYTES;
use super::watch::{Interrupted, Watch};

/// What a thread may allocate for the query that it runs.
struct Account {
    /// Bytes that SQLite has allocated on this thread since the query began, less what it freed.
    used: Cell<i64>,
    /// How many allocations those are.
    count: Cell<i64>,
    /// How many bytes it may.
    limit: Cell<i64>,
    /// The watch of the running query; null between queries.
    watch: Cell<*const Watch>,
    /// The address down to which its stack may grow.
    stack_end: Cell<usize>,
}

thread_local! {
    static ACCOUNT: Account = const {
        Account {
            used: Cell::new(0),
            count: Cell::new(0),
            limit: Cell::new(i64::MAX),
            watch: Cell::new(ptr::null()),
            stack_end: Cell::new(0),
        }
    };
}

/// What an allocation takes beyond the bytes that SQLite asks for: its size in front of it, what the system's allocator
/// keeps, and what it rounds up by. A query of a million small rows has a million of them.
const OVERHEAD: i64 = 24;

/// SQLite's own allocator, which does the work.
struct Methods {
    malloc: unsafe extern "C" fn(c_int) -> *mut c_void,
    free: unsafe extern "C" fn(*mut c_void),
    realloc: unsafe extern "C" fn(*mut c_void, c_int) -> *mut c_void,
    size: unsafe extern "C" fn(*mut c_void) -> c_int,
}

static DEFAULT: OnceLock<Methods> = OnceLock::new();

/// Puts the counting allocator into SQLite. Must be called before SQLite is used in the process for the first time; says
/// whether it was.
pub(super) fn install() -> bool {
    static INSTALLED: OnceLock<bool> = OnceLock::new();
    *INSTALLED.get_or_init(|| {
        let mut methods = ffi::sqlite3_mem_methods {
            xMalloc: None,
            xFree: None,
            xRealloc: None,
            xSize: None,
            xRoundup: None,
            xInit: None,
            xShutdown: None,
            pAppData: ptr::null_mut(),
        };
        // SAFETY: configuration calls as SQLite documents them, before its initialization and on one thread, which the
        // lock sees to; later ones are refused with a result code. The table is copied by SQLite.
        unsafe {
            // The global counters are a lock that all threads would wait for.
            if ffi::sqlite3_config(ffi::SQLITE_CONFIG_MEMSTATUS, 0) != ffi::SQLITE_OK
                // No room for pages ahead of time: those of a database in memory are where they are.
                || ffi::sqlite3_config(ffi::SQLITE_CONFIG_PAGECACHE, ptr::null_mut::<c_void>(), 0, 0) != ffi::SQLITE_OK
                || ffi::sqlite3_config(ffi::SQLITE_CONFIG_GETMALLOC, &raw mut methods) != ffi::SQLITE_OK
            {
                return false;
            }
            let counting = ffi::sqlite3_mem_methods {
                xMalloc: Some(counted_malloc),
                xFree: Some(counted_free),
                xRealloc: Some(counted_realloc),
                ..methods
            };
            let (Some(malloc), Some(free), Some(realloc), Some(size)) =
                (methods.xMalloc, methods.xFree, methods.xRealloc, methods.xSize)
            else {
                return false;
            };
            DEFAULT.set(Methods { malloc, free, realloc, size }).is_ok()
                && ffi::sqlite3_config(ffi::SQLITE_CONFIG_MALLOC, &raw const counting) == ffi::SQLITE_OK
        }
    })
}

/// Runs `query` with at most `bytes` of new memory for SQLite, and none once `watch` says that it must stop. It has `held` of
/// them already, for its compiled form.
pub(super) fn limited<T>(bytes: usize, held: u64, watch: &Watch, query: impl FnOnce() -> T) -> T {
    /// Lifts the limits also when the query panics.
    struct Lift;
    impl Drop for Lift {
        fn drop(&mut self) {
            ACCOUNT.with(|account| {
                account.limit.set(i64::MAX);
                account.watch.set(ptr::null());
            });
        }
    }
    ACCOUNT.with(|account| {
        account.used.set(i64::try_from(held).unwrap_or(i64::MAX));
        account.count.set(0);
        account.limit.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        account.watch.set(watch);
        account.stack_end.set(stack_pointer().saturating_sub(STACK_BYTES));
    });
    let _lift = Lift;
    query()
}

/// Memory that a function of ours takes: it is the query's, as SQLite's is, until this is dropped.
#[derive(Debug, Default)]
pub(super) struct Charge(i64);

impl Charge {
    /// Takes so many bytes more.
    pub(super) fn add(&mut self, bytes: usize) -> Result<(), Interrupted> {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        ACCOUNT.with(|account| {
            if !account.has_room(bytes) {
                return Err(Interrupted::Memory);
            }
            account.add(bytes);
            self.0 += bytes;
            Ok(())
        })
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        ACCOUNT.with(|account| account.add(-self.0));
    }
}

/// Bytes that the present or latest query on this thread has allocated and not freed; 1 at least.
pub(super) fn used() -> u64 {
    ACCOUNT.with(|account| u64::try_from(account.used.get()).map_or(1, |bytes| bytes.max(1)))
}

/// An address in the present frame of the stack, which grows downwards on every machine that Rust's std is for.
#[inline]
fn stack_pointer() -> usize {
    let here = 0_u8;
    ptr::from_ref(&here).addr()
}

impl Account {
    /// Whether the thread may have so many bytes more.
    fn has_room(&self, bytes: i64) -> bool {
        // SAFETY: null, or set by `limited` to a watch that outlives the query.
        if let Some(watch) = unsafe { self.watch.get().as_ref() } {
            if stack_pointer() < self.stack_end.get() {
                watch.stack_ends();
            }
            if watch.allocation(self.count.get(), self.used.get()) {
                return false;
            }
        }
        self.used.get().saturating_add(bytes) <= self.limit.get()
    }

    fn add(&self, bytes: i64) {
        self.used.set(self.used.get() + bytes);
    }

    fn count(&self, allocations: i64) {
        self.count.set(self.count.get() + allocations);
    }
}

unsafe extern "C" fn counted_malloc(bytes: c_int) -> *mut c_void {
    let Some(methods) = DEFAULT.get() else { return ptr::null_mut() };
    ACCOUNT.with(|account| {
        if !account.has_room(i64::from(bytes) + OVERHEAD) {
            return ptr::null_mut();
        }
        // SAFETY: the default method with SQLite's own argument; what it returns is null or a live allocation.
        unsafe {
            let allocation = (methods.malloc)(bytes);
            if !allocation.is_null() {
                account.add(i64::from((methods.size)(allocation)) + OVERHEAD);
                account.count(1);
            }
            allocation
        }
    })
}

unsafe extern "C" fn counted_free(allocation: *mut c_void) {
    if let Some(methods) = DEFAULT.get() {
        // SAFETY: SQLite frees what this allocator gave it, once.
        unsafe {
            let bytes = i64::from((methods.size)(allocation)) + OVERHEAD;
            ACCOUNT.with(|account| {
                account.add(-bytes);
                account.count(-1);
            });
            (methods.free)(allocation);
        }
    }
}

unsafe extern "C" fn counted_realloc(allocation: *mut c_void, bytes: c_int) -> *mut c_void {
    let Some(methods) = DEFAULT.get() else { return ptr::null_mut() };
    // SAFETY: the allocation is live and from this allocator; on failure it stays so, and nothing is counted.
    ACCOUNT.with(|account| unsafe {
        let before = i64::from((methods.size)(allocation));
        if !account.has_room(i64::from(bytes) - before) {
            return ptr::null_mut();
        }
        let moved = (methods.realloc)(allocation, bytes);
        if !moved.is_null() {
            account.add(i64::from((methods.size)(moved)) - before);
        }
        moved
    })
}
