//! Threads whose stack is large enough for SQLite, which parses and compiles by recursion.

use super::STACK_BYTES;
use crate::error::{Error, Result, caught};

/// Does `work` on a thread that has the stack which a query may use, and as much again for what is called when that is used
/// up. The threads of callers may have much less. The inner error is what a panic said.
pub fn on_large_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<std::result::Result<T, String>> {
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().stack_size(2 * STACK_BYTES);
        let running = builder.spawn_scoped(scope, || caught(work));
        let running = running.map_err(|error| Error::Threads { threads: 1, message: error.to_string() })?;
        Ok(running.join().unwrap_or_else(|_| Err(String::new())))
    })
}
