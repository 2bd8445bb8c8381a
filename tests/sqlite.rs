//! The SQLite inside is the one that verdicts rely on.

use qsql::exec::sandbox::{compile_options, sqlite_version};

#[test]
fn sqlite_is_compiled_as_configured() {
    let options = compile_options();
    let has = |name: &str| options.iter().any(|option| option == name);
    assert!(has("ENABLE_MATH_FUNCTIONS"), "{options:?}");
    assert!(has("LIKE_DOESNT_MATCH_BLOBS"), "{options:?}");
    assert!(!has("ENABLE_MEMORY_MANAGEMENT"), "{options:?}");
    // Temporary data is in files, which are those of `scratch.rs`.
    assert!(has("TEMP_STORE=1"), "{options:?}");
    assert!(sqlite_version().starts_with("3."));
}
