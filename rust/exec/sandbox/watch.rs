//! What a running query may still use, looked at from everywhere SQLite lets us in: between its instructions, at its
//! allocations, and at the questions it asks the authorizer.
//!
//! Only the instructions of the virtual machine have a progress handler. A query can also grow without bounds while it is
//! compiled, where common table expressions, window functions and terms of WHERE multiply, or while one instruction runs;
//! both allocate as they go.

#![expect(unsafe_code, reason = "SQLite holds the address of a watch")]

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{FUNCTION_CALLS, Failure, Limits};
use crate::exec::clock::Moment;

/// How many virtual machine instructions run between two looks at the limits. Few, because one of them may call a
/// function on a value as large as [`value_bytes`](super::value_bytes) allows.
pub(super) const STEPS_PER_LOOK: u16 = 32;

/// How many allocations of a query that is compiled count as one step. Earlier queries of a connection leave a few of them
/// done or to do again, so that their number must not decide but where a query goes far beyond all reason.
const ALLOCATIONS_PER_STEP: u16 = 4;

/// Most characters that a function of ours compares between two looks, which count as so many steps as between others.
pub(super) const CHARACTERS_PER_LOOK: usize = 1024;

/// Bytes that are searched or copied in the time of one comparison of characters.
pub(super) const BYTES_PER_CHARACTER: usize = 16;

/// Work that is done within microseconds, and how many looks may go by without one at the clock where there is no more.
const LITTLE_WORK: u64 = 1 << 32;
pub(super) const LONGEST_STRIDE: u32 = 16;

/// The watch of a connection, at an address that SQLite may hold while its owner moves.
///
/// All reach it by shared references and set its cells. A `Box` in its place would claim, whenever it is moved or borrowed
/// mutably, that nobody else does.
#[derive(Debug)]
pub(super) struct SharedWatch(NonNull<Watch>);

// SAFETY: a watch can go to another thread, and only the thread that has the connection follows its address.
unsafe impl Send for SharedWatch {}

impl SharedWatch {
    /// A watch that stops nothing before [`start`](Watch::start).
    pub(super) fn new() -> Self {
        Self(NonNull::from(Box::leak(Box::new(Watch::new()))))
    }

    /// What SQLite hands to the callbacks; valid until the watch is dropped.
    pub(super) fn address(&self) -> *mut c_void {
        self.0.as_ptr().cast()
    }
}

impl Deref for SharedWatch {
    type Target = Watch;

    fn deref(&self) -> &Watch {
        // SAFETY: allocated by `new` and freed by `drop`, and nothing borrows it mutably in between.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for SharedWatch {
    fn drop(&mut self) {
        // SAFETY: from `Box::leak` in `new`. The connection was closed before, so that nobody uses the address any more.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// The product of what a full-text search for many terms has allocated at once and the bytes that the query holds. Each term has
/// some allocations, and a copy of its places in the row at hand; what looks for terms near each other goes through all places
/// once for each pair, within a second at this product.
const SEARCH_WORK: u64 = 1 << 31;

/// Allocations of a query that searches for a few terms, or for none.
const FEW_ALLOCATIONS: u64 = 64;

/// What the callbacks of a connection look at. Only the thread that uses the connection touches it.
#[derive(Debug)]
pub(super) struct Watch {
    cancel: RefCell<Arc<AtomicBool>>,
    deadline: Cell<Moment>,
    looks: Cell<u64>,
    compiling: Cell<bool>,
    questions: Cell<u16>,
    allocations: Cell<u16>,
    functions: Cell<u32>,
    /// Characters that functions of ours have compared since the last look on account of them.
    compared: Cell<usize>,
    json: Cell<bool>,
    volatile: Cell<bool>,
    /// How many looks there are for one at the clock, and how many are left until the next.
    stride: Cell<u32>,
    pause: Cell<u32>,
    /// Whether the connection has our functions, and whether the query needs them and there are none.
    has_functions: Cell<bool>,
    lacks_functions: Cell<bool>,
    stopped: Cell<Option<Stopped>>,
    refused: Cell<Option<&'static str>>,
    /// What else there is to look at in a database with virtual tables.
    modules: Modules,
    /// Whether nothing has run on the connection yet, and whether the query must be the first.
    fresh: Cell<bool>,
    needs_fresh: Cell<bool>,
    /// Whether the query is a pragma that has not been asked about yet.
    own_pragma: Cell<bool>,
    /// What was let through because a module asks for it too.
    provisional: Cell<Option<&'static str>>,
    /// The name of the virtual table that is being defined.
    defined: RefCell<Option<Box<[u8]>>>,
}

/// What a connection knows of the virtual tables of its database.
#[derive(Debug, Default)]
struct Modules {
    /// Whether there are any.
    is_there: Cell<bool>,
    /// Their names, in lower case.
    tables: RefCell<Vec<Box<[u8]>>>,
    /// How many allocations there were when the first one was made behind a look between instructions.
    allocations: Cell<i64>,
    looked: Cell<bool>,
    /// Most that came to them until the next look.
    most_allocations: Cell<u64>,
}

/// What the compilation of a query has used and found out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Compilation {
    looks: u64,
    questions: u16,
    allocations: u16,
    functions: u32,
    compared: usize,
    json: bool,
    volatile: bool,
    pause: u32,
}

/// Why the query must stop, inside a function of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interrupted {
    /// A limit that the watch has noted.
    Limit,
    /// There is no memory for what the function has to keep.
    Memory,
}

#[derive(Clone, Copy, Debug)]
enum Stopped {
    Cancelled,
    Deadline,
    Steps,
    Stack,
    Functions,
    Modules,
}

impl Watch {
    fn new() -> Self {
        Self {
            cancel: RefCell::default(),
            deadline: Cell::new(Moment::now()),
            looks: Cell::new(0),
            compiling: Cell::new(false),
            questions: Cell::new(0),
            allocations: Cell::new(0),
            functions: Cell::new(0),
            compared: Cell::new(0),
            json: Cell::new(false),
            volatile: Cell::new(false),
            stride: Cell::new(1),
            pause: Cell::new(0),
            has_functions: Cell::new(false),
            lacks_functions: Cell::new(false),
            stopped: Cell::new(None),
            refused: Cell::new(None),
            modules: Modules::default(),
            fresh: Cell::new(true),
            needs_fresh: Cell::new(false),
            own_pragma: Cell::new(false),
            provisional: Cell::new(None),
            defined: RefCell::new(None),
        }
    }

    /// Sets the flag that cancels the queries from now on.
    pub(super) fn obey(&self, cancel: Arc<AtomicBool>) {
        self.cancel.replace(cancel);
    }

    /// The flag that cancels the queries.
    pub(super) fn cancel(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.cancel.borrow())
    }

    /// Begins a query, with its compilation.
    pub(super) fn start(&self, limits: &Limits) {
        self.deadline.set(Moment::now().after(limits.timeout));
        self.looks.set(limits.steps / u64::from(STEPS_PER_LOOK));
        self.compiling.set(true);
        self.questions.set(0);
        self.allocations.set(0);
        self.functions.set(0);
        self.compared.set(0);
        self.json.set(false);
        self.volatile.set(false);
        self.stride.set(1);
        self.pause.set(0);
        self.lacks_functions.set(false);
        self.stopped.set(None);
        self.refused.set(None);
        self.needs_fresh.set(false);
        self.own_pragma.set(false);
        self.provisional.set(None);
        self.modules.looked.set(true);
        self.modules.most_allocations.set(0);
    }

    /// What the compilation of the query has used and found out, to be told to [`resume`](Self::resume).
    pub(super) fn compilation(&self) -> Compilation {
        Compilation {
            looks: self.looks.get(),
            questions: self.questions.get(),
            allocations: self.allocations.get(),
            functions: self.functions.get(),
            compared: self.compared.get(),
            json: self.json.get(),
            volatile: self.volatile.get(),
            pause: self.pause.get(),
        }
    }

    /// Begins a query that was compiled under the same limits before, as if it had been compiled now.
    pub(super) fn resume(&self, limits: &Limits, compilation: &Compilation) {
        self.start(limits);
        self.looks.set(compilation.looks);
        self.questions.set(compilation.questions);
        self.allocations.set(compilation.allocations);
        self.functions.set(compilation.functions);
        self.compared.set(compilation.compared);
        self.json.set(compilation.json);
        self.volatile.set(compilation.volatile);
        self.pause.set(compilation.pause);
    }

    /// The query is compiled: from here on its instructions count as steps. `work` is the most that they may do from one
    /// look to the next, as [`WORK`](super::WORK) measures it; where that is little, not every look is one at the clock.
    pub(super) fn compiled(&self, work: u64) {
        self.compiling.set(false);
        self.stride.set(u32::try_from(LITTLE_WORK / work.max(1)).unwrap_or(u32::MAX).clamp(1, LONGEST_STRIDE));
    }

    /// Whether the query must stop now, [`STEPS_PER_LOOK`] steps after the last time it was asked.
    pub(super) fn steps(&self) -> bool {
        self.modules.looked.set(true);
        if let Some(pause) = self.pause.get().checked_sub(1) {
            self.pause.set(pause);
        } else {
            self.pause.set(self.stride.get() - 1);
            if self.overdue() {
                return true;
            }
        }
        let left = self.looks.get().checked_sub(1);
        left.map_or_else(|| self.stop(Stopped::Steps), |left| self.looks.set(left));
        left.is_none()
    }

    /// A function of ours is about to compare so many characters, or to do as much in other ways; whether it may.
    ///
    /// What is told at once is done without a look, so that it must be little, or one pass over an argument.
    pub(super) fn compares(&self, characters: usize) -> Result<(), Interrupted> {
        let compared = self.compared.get() + characters;
        self.compared.set(compared % CHARACTERS_PER_LOOK);
        for _ in 0..compared / CHARACTERS_PER_LOOK {
            gauge::look();
            if self.steps() {
                return Err(Interrupted::Limit);
            }
        }
        Ok(())
    }

    /// A function of ours is about to search or copy so many bytes; see [`compares`](Self::compares).
    pub(super) fn passes(&self, bytes: usize) -> Result<(), Interrupted> {
        self.compares(bytes / BYTES_PER_CHARACTER)
    }

    /// How many steps the query has left.
    pub(super) fn steps_left(&self) -> u64 {
        self.looks.get() * u64::from(STEPS_PER_LOOK)
    }

    /// Whether the query must stop now that it asks the authorizer. Questions count as steps while it is compiled; they
    /// are the same whatever ran before.
    pub(super) fn question(&self) -> bool {
        self.modules.looked.set(true);
        if self.stopped.get().is_some() {
            return true;
        }
        self.questions.set((self.questions.get() + 1) % STEPS_PER_LOOK);
        self.questions.get() == 0 && if self.compiling.get() { self.steps() } else { self.overdue() }
    }

    /// Whether the query must stop now that it allocates. While it is compiled, [`ALLOCATIONS_PER_STEP`] count as one step.
    ///
    /// It has `allocations` that are not freed, of so many `bytes`.
    pub(super) fn allocation(&self, allocations: i64, bytes: i64) -> bool {
        if self.stopped.get().is_some() {
            return true;
        }
        if self.modules.is_there.get() && !self.compiling.get() {
            return self.allocation_of_module(allocations, bytes);
        }
        self.allocations.set((self.allocations.get() + 1) % (ALLOCATIONS_PER_STEP * STEPS_PER_LOOK));
        if self.compiling.get() && self.allocations.get() == 0 {
            self.steps()
        } else {
            self.allocations.get().is_multiple_of(STEPS_PER_LOOK) && self.overdue()
        }
    }

    /// The same where modules may be at work. One that searches goes through a row without a look at anything, so it looks at the
    /// clock at every allocation, and must not have many terms with many places each.
    fn allocation_of_module(&self, allocations: i64, bytes: i64) -> bool {
        let modules = &self.modules;
        if modules.looked.replace(false) {
            modules.allocations.set(allocations);
        }
        let new = u64::try_from(allocations - modules.allocations.get()).unwrap_or(0);
        let most = modules.most_allocations.get().max(new);
        modules.most_allocations.set(most);
        let work = most.saturating_sub(FEW_ALLOCATIONS).saturating_mul(u64::try_from(bytes).unwrap_or(0));
        if work > SEARCH_WORK {
            self.stop(Stopped::Modules);
        }
        self.is_late()
    }

    /// The database has these virtual tables, or none.
    pub(super) fn set_virtual_tables(&self, names: &[String]) {
        self.modules.is_there.set(!names.is_empty());
        self.modules.tables.replace(names.iter().map(|name| name.to_ascii_lowercase().into_bytes().into()).collect());
    }

    /// Whether the database has virtual tables, whose modules compile statements of their own.
    pub(super) fn has_virtual_tables(&self) -> bool {
        self.modules.is_there.get()
    }

    /// Whether a table is one that an R*Tree keeps its content in.
    pub(super) fn is_of_tree(&self, table: &[u8]) -> bool {
        if !self.modules.is_there.get() {
            return false;
        }
        let (tables, lower) = (self.modules.tables.borrow(), table.to_ascii_lowercase());
        [&b"_node"[..], b"_rowid", b"_parent"]
            .iter()
            .filter_map(|end| lower.strip_suffix(*end))
            .any(|name| tables.iter().any(|table| **table == *name))
    }

    /// The definition at hand is that of a virtual table, or not.
    pub(super) fn defines_virtual_table(&self, name: Option<&[u8]>) {
        self.defined.replace(name.map(Into::into));
    }

    /// Whether a table is one in which the module of the virtual table that is being defined may keep its content.
    pub(super) fn is_of_definition(&self, table: &[u8]) -> bool {
        let defined = self.defined.borrow();
        let end = defined.as_ref().and_then(|name| table.strip_prefix(&**name));
        end.is_some_and(|end| end.starts_with(b"_"))
    }

    /// Whether a virtual table is being defined.
    pub(super) fn is_defining(&self) -> bool {
        self.defined.borrow().is_some()
    }

    /// The connection is new, or has run something.
    pub(super) fn set_fresh(&self, fresh: bool) {
        self.fresh.set(fresh);
    }

    /// Whether nothing has run on the connection yet.
    pub(super) fn is_fresh(&self) -> bool {
        self.fresh.get()
    }

    /// The query shows what its connection has been through; whether it must stop, since that is something.
    pub(super) fn looks_at_connection(&self) -> bool {
        self.needs_fresh.set(true);
        !self.fresh.get()
    }

    /// Whether the query shows what its connection has been through.
    pub(super) fn needs_fresh(&self) -> bool {
        self.needs_fresh.get()
    }

    /// Whether the query is a pragma itself.
    pub(super) fn set_pragma(&self, is_pragma: bool) {
        self.own_pragma.set(is_pragma);
    }

    /// Whether a pragma is that of the query: its own comes first, and what modules ask behind it.
    pub(super) fn takes_own_pragma(&self) -> bool {
        self.own_pragma.replace(false)
    }

    /// Notes what was let through because a module asks for it too; whether the query itself does shows when it is compiled.
    pub(super) fn let_through(&self, action: &'static str) {
        self.provisional.set(self.provisional.get().or(Some(action)));
    }

    /// What was let through.
    pub(super) fn provisional(&self) -> Option<&'static str> {
        self.provisional.get()
    }

    /// The query calls a function at one more place, perhaps one for JSON or of chance or time; whether it must stop.
    pub(super) fn function(&self, is_json: bool, is_volatile: bool) -> bool {
        self.json.set(self.json.get() || is_json);
        self.volatile.set(self.volatile.get() || is_volatile);
        self.functions.set(self.functions.get().saturating_add(1));
        if self.functions.get() > FUNCTION_CALLS {
            self.stop(Stopped::Functions);
        }
        self.stopped.get().is_some()
    }

    /// The query calls one of our functions; whether it must stop, since the connection has none yet.
    pub(super) fn own_function(&self) -> bool {
        self.lacks_functions.set(!self.has_functions.get());
        self.lacks_functions.get()
    }

    /// Whether the query was stopped for lack of our functions.
    pub(super) fn lacks_functions(&self) -> bool {
        self.lacks_functions.get()
    }

    /// The connection is another, which has none of our functions.
    pub(super) fn functions_gone(&self) {
        self.has_functions.set(false);
    }

    /// The connection has our functions from now on.
    pub(super) fn functions_registered(&self) {
        self.has_functions.set(true);
    }

    /// Whether the query calls functions for JSON.
    pub(super) fn calls_json(&self) -> bool {
        self.json.get()
    }

    /// Whether the query calls functions of chance or time.
    pub(super) fn is_volatile(&self) -> bool {
        self.volatile.get()
    }

    /// The query has used up the stack that it may have.
    pub(super) fn stack_ends(&self) {
        self.stop(Stopped::Stack);
    }

    /// Notes what the authorizer refused.
    pub(super) fn refuse(&self, action: &'static str) {
        self.refused.set(Some(action));
    }

    /// What the authorizer refused.
    pub(super) fn refused(&self) -> Option<&'static str> {
        self.refused.get()
    }

    /// Why the query was stopped, if it was.
    pub(super) fn failure(&self) -> Option<Failure> {
        Some(match self.stopped.get()? {
            Stopped::Cancelled => Failure::Cancelled,
            Stopped::Deadline => Failure::Timeout("the deadline passed".to_owned()),
            Stopped::Steps => Failure::Timeout("the budget of steps ran out".to_owned()),
            Stopped::Stack => Failure::TooLarge("nested too deeply".to_owned()),
            Stopped::Functions => Failure::TooLarge(format!("more than {FUNCTION_CALLS} function calls")),
            Stopped::Modules => Failure::TooLarge("a search for too many terms".to_owned()),
        })
    }

    /// Whether the query must stop now, asked by what takes long without an allocation or an instruction.
    pub(super) fn is_late(&self) -> bool {
        self.stopped.get().is_some() || self.overdue()
    }

    fn overdue(&self) -> bool {
        if self.cancel.borrow().load(Ordering::Relaxed) {
            self.stop(Stopped::Cancelled);
        } else if Moment::now() >= self.deadline.get() {
            self.stop(Stopped::Deadline);
        } else {
            return false;
        }
        true
    }

    /// Notes the first reason; what comes after follows from it.
    fn stop(&self, reason: Stopped) {
        self.stopped.set(self.stopped.get().or(Some(reason)));
    }
}

/// What functions of ours read and compare from one look to the next, in bytes. Only tests count it.
#[cfg(not(test))]
pub(super) mod gauge {
    #[inline]
    pub(in super::super) fn touch(_: usize) {}
    #[inline]
    pub(super) fn look() {}
}

#[cfg(test)]
pub(super) mod gauge {
    use std::cell::Cell;

    thread_local! {
        static TOUCHED: Cell<Touched> = const { Cell::new(Touched { since_look: 0, longest: 0, all: 0 }) };
    }

    /// How many bytes were touched.
    #[derive(Clone, Copy, Debug)]
    pub(in super::super) struct Touched {
        since_look: usize,
        /// Between two looks, or behind the last.
        pub(in super::super) longest: usize,
        pub(in super::super) all: usize,
    }

    pub(in super::super) fn touch(bytes: usize) {
        let Touched { since_look, longest, all } = TOUCHED.get();
        let since_look = since_look + bytes;
        TOUCHED.set(Touched { since_look, longest: longest.max(since_look), all: all + bytes });
    }

    pub(super) fn look() {
        TOUCHED.set(Touched { since_look: 0, ..TOUCHED.get() });
    }

    /// What was touched since this was called before.
    pub(in super::super) fn take() -> Touched {
        TOUCHED.replace(Touched { since_look: 0, longest: 0, all: 0 })
    }
}
