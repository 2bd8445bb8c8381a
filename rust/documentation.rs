//! Build script: takes the docstrings out of `_core.pyi`, so that editors, `help()` and rustdoc show one text.
//!
//! Each becomes a file named like `Scorer.score`, which `#[doc = documented!("Scorer.score")]` includes.

#![expect(clippy::print_stdout, reason = "how a build script talks to cargo")]

use std::error::Error;
use std::fs;
use std::path::Path;

const STUB: &str = "python/qsql/_core.pyi";
const QUOTES: &str = "\"\"\"";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={STUB}");
    println!("cargo::rerun-if-changed=rust/documentation.rs");
    if std::env::var_os("CARGO_FEATURE_PYTHON").is_none() {
        return Ok(());
    }
    let folder = std::env::var("OUT_DIR")?;
    let stub = fs::read_to_string(STUB).map_err(|error| format!("{STUB}: {error}"))?;
    for (name, text) in docstrings(&stub) {
        fs::write(Path::new(&folder).join(name), text)?;
    }
    Ok(())
}

/// Names of classes, functions, methods and properties, with their docstrings, dedented.
fn docstrings(stub: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut class = None;
    // What was defined last and has no docstring yet.
    let mut defined: Option<String> = None;
    let mut lines = stub.lines();
    while let Some(line) = lines.next() {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if let Some(rest) = text.strip_prefix("class ") {
            class = Some(identifier(rest));
            defined = Some(identifier(rest).to_owned());
        } else if let Some(rest) = text.strip_prefix("def ") {
            let owner = class.filter(|_| indent > 0).map(|class| format!("{class}."));
            defined = Some(owner.unwrap_or_default() + identifier(rest));
        } else if let (Some(first), Some(name)) =
            (text.strip_prefix(QUOTES), defined.take_if(|_| text.starts_with(QUOTES)))
        {
            found.push((name, docstring(first, indent, &mut lines)));
        }
    }
    found
}

fn identifier(text: &str) -> &str {
    text.split(|character: char| character != '_' && !character.is_alphanumeric()).next().unwrap_or_default()
}

/// The docstring that begins with `first`, up to its closing quotes.
fn docstring<'a>(first: &'a str, indent: usize, lines: &mut impl Iterator<Item = &'a str>) -> String {
    let mut text = String::new();
    let mut line = first;
    loop {
        if let Some((end, _)) = line.split_once(QUOTES) {
            text.push_str(end);
            return text.trim_end().to_owned();
        }
        text.push_str(line.trim_end());
        text.push('\n');
        let Some(next) = lines.next() else { return text };
        let blank = next.len() - next.trim_start().len();
        line = &next[blank.min(indent)..];
    }
}
