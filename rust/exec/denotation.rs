//! Result tables, and when two of them mean the same.
//!
//! Definition: `result_eq` in the official `exec_eval.py`. It runs on Python values, so a few of Python's rules are part
//! of it: `1 == 1.0`, an integer and a float compare exactly, and one step sorts the cells of a row by their `str()`.

use std::borrow::Cow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

use super::effort::{Effort, Stopped};
use super::matching;

/// One cell as SQLite hands it out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// `NULL`.
    Null,
    /// A 64-bit integer.
    Integer(i64),
    /// A float; never NaN, which SQLite turns into `NULL`.
    Real(f64),
    /// Text as stored, which may be invalid UTF-8.
    Text(&'a [u8]),
    /// Bytes.
    Blob(&'a [u8]),
}

/// One cell of a table that is kept.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub enum Cell {
    /// `NULL`.
    Null,
    /// An integer.
    Integer(i64),
    /// A float.
    Real(f64),
    /// Text without the bytes that were not UTF-8.
    Text(Box<str>),
    /// Bytes.
    Blob(Box<[u8]>),
}

/// Text as the official tool reads it: decoded as UTF-8, what cannot be decoded left out.
#[must_use]
pub fn decode(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(bytes.utf8_chunks().map(|chunk| chunk.valid()).collect()),
    }
}

/// The integer that a float equals, where there is one among the 64-bit integers.
///
/// This is how `1 == 1.0` and equal hashes come about in Python, exactly and at any size.
#[must_use]
pub fn integral(real: f64) -> Option<i64> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    #[expect(clippy::cast_possible_truncation, reason = "integral and within range by the condition")]
    ((-LIMIT..LIMIT).contains(&real) && real.fract() == 0.0).then_some(real as i64)
}

impl Hash for Cell {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Null => 0_u8.hash(state),
            Self::Integer(integer) => integer.hash(state),
            // 0.0 and -0.0 are equal.
            Self::Real(real) => (real + 0.0).to_bits().hash(state),
            Self::Text(text) => text.hash(state),
            Self::Blob(bytes) => bytes.hash(state),
        }
    }
}

impl Cell {
    /// Keeps a value.
    #[must_use]
    pub fn keep(value: Value<'_>) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Integer(integer) => Self::Integer(integer),
            Value::Real(real) => Self::Real(real),
            Value::Text(bytes) => Self::Text(decode(bytes).into()),
            Value::Blob(bytes) => Self::Blob(bytes.into()),
        }
    }

    /// The cell with every float that equals an integer turned into it, so that equality is Python's.
    fn normal(&self) -> Self {
        match self {
            Self::Real(real) => integral(*real).map_or(Self::Real(*real), Self::Integer),
            other => other.clone(),
        }
    }

    /// What it takes to copy, hash or spell the cell, in numbers that are compared.
    fn work(&self) -> usize {
        match self {
            Self::Null | Self::Integer(_) => 16,
            Self::Real(_) => 64,
            Self::Text(text) => 16 + text.len(),
            Self::Blob(bytes) => 16 + 4 * bytes.len(),
        }
    }

    /// `str(x) + str(type(x))` in Python, by which the official tool sorts the cells of a row.
    fn sort_key(&self) -> String {
        match self {
            Self::Null => "None<class 'NoneType'>".to_owned(),
            Self::Integer(integer) => format!("{integer}<class 'int'>"),
            Self::Real(real) => format!("{}<class 'float'>", float_repr(*real)),
            Self::Text(text) => format!("{text}<class 'str'>"),
            Self::Blob(bytes) => format!("{}<class 'bytes'>", bytes_repr(bytes)),
        }
    }
}

/// `repr` of a float in Python: the shortest digits that read back the same, in scientific notation outside of
/// `1e-4 ..= 1e16`.
fn float_repr(real: f64) -> String {
    if real.is_infinite() {
        return if real > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{real:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |mantissa| ("-", mantissa));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let fixed = format!("{real}");
        return if fixed.contains('.') { fixed } else { fixed + ".0" };
    }
    let direction = if exponent < 0 { '-' } else { '+' };
    format!("{sign}{mantissa}e{direction}{:02}", exponent.abs())
}

const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];

/// `repr` of bytes in Python.
fn bytes_repr(bytes: &[u8]) -> String {
    let quote = if bytes.contains(&b'\'') && !bytes.contains(&b'"') { '"' } else { '\'' };
    let mut out = format!("b{quote}");
    for &byte in bytes {
        match byte {
            b'\t' => out.push_str("\\t"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\\' => out.push_str("\\\\"),
            b' '..=b'~' if char::from(byte) == quote => out.extend(['\\', quote]),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => out.extend(['\\', 'x', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
        }
    }
    out.push(quote);
    out
}

/// A result table: its cells row by row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    columns: usize,
    cells: Vec<Cell>,
}

impl Table {
    /// An empty table of `columns` columns.
    #[must_use]
    pub fn new(columns: usize) -> Self {
        Self { columns, cells: Vec::new() }
    }

    /// Adds a cell; rows fill up from the left.
    pub fn push(&mut self, cell: Cell) {
        self.cells.push(cell);
    }

    /// Its rows, of at least one column each.
    #[must_use]
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[Cell]> {
        self.cells.chunks_exact(self.columns.max(1))
    }
}

/// Whether two results mean the same, as the official `result_eq` has it; rows in order where `ordered`, else as a bag.
///
/// The official tool tries the permutations of the columns one by one; [`matching`] finds the same answer without.
pub fn same(gold: &Table, prediction: &Table, ordered: bool, effort: &mut Effort) -> Result<bool, Stopped> {
    if gold.cells.is_empty() && prediction.cells.is_empty() {
        return Ok(true);
    }
    if gold.rows().len() != prediction.rows().len() || gold.columns != prediction.columns {
        return Ok(false);
    }
    let mut numbers = matching::Numbers::default();
    let [gold_cells, prediction_cells] = [gold, prediction].map(|table| {
        let number = |cell: &Cell| {
            effort.pass(cell.work())?;
            Ok(numbers.of(NormalCell(cell.normal())))
        };
        table.cells.iter().map(number).collect::<Result<Vec<u32>, Stopped>>()
    });
    let (gold_cells, prediction_cells) = (gold_cells?, prediction_cells?);
    let spelled = [spelled(gold, &gold_cells, effort)?, spelled(prediction, &prediction_cells, effort)?];
    if !quick_accept(&spelled, gold.columns, ordered, effort)? {
        return Ok(false);
    }
    matching::columns_match(&gold_cells, &prediction_cells, gold.columns, ordered, effort)
}

/// The numbers of a table's cells, those of each row sorted by [`Cell::sort_key`].
fn spelled(table: &Table, numbers: &[u32], effort: &mut Effort) -> Result<Vec<u32>, Stopped> {
    let mut out = Vec::with_capacity(numbers.len());
    for (row, numbers) in table.rows().zip(numbers.chunks_exact(table.columns.max(1))) {
        let mut cells = Vec::with_capacity(row.len());
        for (cell, &number) in row.iter().zip(numbers) {
            effort.pass(cell.work())?;
            cells.push((cell.sort_key(), number));
        }
        cells.sort_by(|(one, _), (other, _)| one.cmp(other));
        out.extend(cells.into_iter().map(|(_, number)| number));
    }
    Ok(out)
}

/// The official `quick_rej`: rows with their cells sorted by spelling are equal, in order or as *sets*.
///
/// Sorting by spelling makes it stricter than the permutations behind it: `(1, 10)` and `(1.0, 10)` sort differently.
fn quick_accept<'a>(
    [gold, prediction]: &'a [Vec<u32>; 2],
    columns: usize,
    ordered: bool,
    effort: &mut Effort,
) -> Result<bool, Stopped> {
    effort.pass(8 * gold.len())?;
    if ordered {
        return Ok(gold == prediction);
    }
    let rows = |cells: &'a [u32]| cells.chunks_exact(columns.max(1)).collect::<HashSet<_>>();
    Ok(rows(gold) == rows(prediction))
}

/// A normal cell as a key: equal and hashed as Python's values are.
#[derive(PartialEq)]
pub(super) struct NormalCell(Cell);

// Cells hold no NaN, so equality is an equivalence.
impl Eq for NormalCell {}

impl std::hash::Hash for NormalCell {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        match &self.0 {
            Cell::Null => 0_u8.hash(state),
            Cell::Integer(integer) => integer.hash(state),
            // Normal reals are no integers, `-0.0` among them, so equal ones have equal bits.
            Cell::Real(real) => real.to_bits().hash(state),
            Cell::Text(text) => text.hash(state),
            Cell::Blob(bytes) => bytes.hash(state),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[[Cell; 2]]) -> Table {
        let mut table = Table::new(2);
        rows.iter().flatten().for_each(|cell| table.push(cell.clone()));
        table
    }

    fn compared(gold: &Table, prediction: &Table, ordered: bool) -> Result<bool, Stopped> {
        same(gold, prediction, ordered, &mut Effort::unhurried())
    }

    fn blob(bytes: &[u8]) -> Cell {
        Cell::Blob(bytes.into())
    }

    #[test]
    fn rows_of_all_kinds_of_cells_are_a_bag_whatever_their_order() {
        let cells = [
            Cell::Null,
            Cell::Integer(-3),
            Cell::Real(0.5),
            Cell::Real(f64::INFINITY),
            Cell::Text("3".into()),
            Cell::Text("b'3'".into()),
            blob(b"3"),
            blob(b"\t\n\r\\'\xff"),
        ];
        let rows: Vec<_> = cells.iter().map(|cell| [cell.clone(), Cell::Integer(7)]).collect();
        let turned: Vec<_> = cells.iter().rev().map(|cell| [Cell::Real(7.0), cell.clone()]).collect();
        assert!(compared(&table(&rows), &table(&turned), false).unwrap());
        assert!(!compared(&table(&rows), &table(&turned), true).unwrap());
        for other in 1..cells.len() {
            let mut changed = turned.clone();
            changed[0][1] = cells[cells.len() - 1 - other].clone();
            assert!(!compared(&table(&rows), &table(&changed), false).unwrap());
        }
    }

    #[test]
    fn tables_without_cells_are_equal_and_others_differ_from_them() {
        let one = table(&[[Cell::Null, Cell::Null]]);
        assert!(compared(&Table::new(2), &Table::new(3), true).unwrap());
        assert!(!compared(&Table::new(2), &one, true).unwrap());
    }

    #[test]
    fn bytes_are_written_as_python_writes_them() {
        assert_eq!(bytes_repr(b"\t\n\r\\ a\x00\xff"), r"b'\t\n\r\\ a\x00\xff'");
        assert_eq!(bytes_repr(b"it's"), "b\"it's\"");
        assert_eq!(bytes_repr(b"'\""), "b'\\'\"'");
    }
}
