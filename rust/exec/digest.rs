//! Digests of result tables, taken row by row while SQLite steps, so that most comparisons keep no cells at all.
//!
//! Equal strict digests mean that two results are the same with the same columns in the same places; different loose
//! digests mean that the official comparison says no. Only between the two must [`same`](super::denotation::same) look
//! at the cells.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::denotation::{Value, decode, integral};
use super::effort::{Effort, Stopped};
use super::matching;

/// What is kept of a result: its size and two hashes of 128 bits, each as two independent lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Digest {
    /// How many columns the statement has.
    pub columns: usize,
    /// How many rows it returned.
    pub rows: u64,
    /// Of the cells in their columns, integers and floats told apart.
    strict: Hash,
    /// Of the cells of each row in any order, `1` and `1.0` taken as one.
    loose: Hash,
}

/// How two digests relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// The results mean the same.
    Same,
    /// They do not.
    Different,
    /// The cells must decide.
    Unclear,
}

impl Digest {
    /// Length of what [`to_bytes`](Self::to_bytes) gives.
    pub const BYTES: usize = 48;

    /// The digest as bytes, the same on every machine.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let [a, b] = self.strict.0;
        let [c, d] = self.loose.0;
        let mut bytes = [0; Self::BYTES];
        for (out, word) in bytes.chunks_exact_mut(8).zip([self.columns as u64, self.rows, a, b, c, d]) {
            out.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// The digest that bytes stand for; `None` for those of a table wider than this machine can count.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let mut words = bytes.chunks_exact(8).map(|word| word.try_into().map(u64::from_le_bytes));
        let mut next = || words.next()?.ok();
        let columns = usize::try_from(next()?).ok()?;
        let rows = next()?;
        let [strict, loose] = [Hash([next()?, next()?]), Hash([next()?, next()?])];
        Some(Self { columns, rows, strict, loose })
    }

    /// Compares by the rules of the official `result_eq`, as far as digests can tell.
    #[must_use]
    pub fn relation(&self, other: &Self) -> Relation {
        if self.rows == 0 && other.rows == 0 {
            return Relation::Same;
        }
        if self.rows != other.rows || self.columns != other.columns || self.loose != other.loose {
            return Relation::Different;
        }
        if self.strict == other.strict { Relation::Same } else { Relation::Unclear }
    }
}

/// The cells of a small result row by row, each as its loose hash, to find out how columns were moved.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    cells: Vec<Hash>,
    /// Whether cells are missing, or one is a float that equals an integer. Such a float has another place than the
    /// integer where the official tool sorts the cells of a row by their spelling, which hashes cannot tell.
    unusable: bool,
}

impl Trace {
    /// Most cells that are kept.
    const CELLS: usize = 1 << 15;

    fn push(&mut self, strict: Hash, loose: Hash) {
        if self.unusable {
            return;
        }
        self.unusable = strict != loose || self.cells.len() == Self::CELLS;
        self.cells.push(loose);
    }

    /// Whether two results mean the same whose digests leave it open; `None` if the cells themselves must decide.
    ///
    /// By equal loose digests the rows have the same cells, so that only the order of the columns is left of the official
    /// rule.
    #[must_use]
    pub fn same(
        &self,
        other: &Self,
        columns: usize,
        ordered: bool,
        effort: &mut Effort,
    ) -> Option<Result<bool, Stopped>> {
        if self.unusable || other.unusable || self.cells.len() != other.cells.len() {
            return None;
        }
        let mut numbers = matching::Numbers::default();
        let [one, two] =
            [self, other].map(|trace| trace.cells.iter().map(|&cell| numbers.of(cell)).collect::<Vec<_>>());
        Some(matching::columns_match(&one, &two, columns, ordered, effort))
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.cells.clear();
        self.unusable = false;
    }
}

/// Builds a [`Digest`].
#[derive(Clone, Debug)]
pub struct Digester {
    digest: Digest,
    ordered: bool,
}

impl Digester {
    /// For a result of `columns` columns, whose rows are a sequence where `ordered`, else a bag.
    #[must_use]
    pub fn new(columns: usize, ordered: bool) -> Self {
        let empty = Hash([0; 2]);
        Self { digest: Digest { columns, rows: 0, strict: empty, loose: empty }, ordered }
    }

    /// Takes in one row.
    pub fn row<'a>(&mut self, cells: impl Iterator<Item = Value<'a>>) {
        self.trace(cells, None);
    }

    /// Takes in one row, and leaves a trace of it.
    pub fn trace<'a>(&mut self, cells: impl Iterator<Item = Value<'a>>, mut trace: Option<&mut Trace>) {
        let mut strict = Hash([self.digest.columns as u64; 2]);
        let mut loose = strict;
        for value in cells {
            let (exact, unified) = hash(value);
            strict = strict.then(exact);
            loose = loose.with(unified);
            if let Some(trace) = &mut trace {
                trace.push(exact, unified);
            }
        }
        let loose = loose.then(Hash([1; 2]));
        self.digest.rows += 1;
        if self.ordered {
            self.digest.strict = self.digest.strict.then(strict);
            self.digest.loose = self.digest.loose.then(loose);
        } else {
            self.digest.strict = self.digest.strict.with(strict);
            self.digest.loose = self.digest.loose.with(loose);
        }
    }

    /// Rows so far.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.digest.rows
    }

    /// The digest of all rows taken in.
    #[must_use]
    pub fn finish(self) -> Digest {
        self.digest
    }
}

/// Two lanes of 64 bits, mixed with different constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
struct Hash([u64; 2]);

/// Odd constants without structure: digits of the fractional parts of the square roots of small primes.
const LANES: [[u64; 2]; 2] =
    [[0x6a09_e667_f3bc_c909, 0xbb67_ae85_84ca_a73b], [0x3c6e_f372_fe94_f82b, 0xa54f_f53a_5f1d_36f1]];

impl Hash {
    /// Mixes two words into a hash.
    fn of(tag: u64, word: u64) -> Self {
        Self(LANES.map(|[a, b]| fold(word ^ a, fold(tag.wrapping_add(b), a) ^ b)))
    }

    /// This, and after it that: the order matters.
    fn then(self, next: Self) -> Self {
        let mut out = self;
        for ((lane, next), [a, b]) in out.0.iter_mut().zip(next.0).zip(LANES) {
            *lane = fold(lane.wrapping_mul(b).wrapping_add(next) ^ a, b) ^ next.rotate_left(32);
        }
        out
    }

    /// This together with that, in any order.
    fn with(self, other: Self) -> Self {
        Self([self.0[0].wrapping_add(other.0[0]), self.0[1].wrapping_add(other.0[1])])
    }
}

/// The two halves of a full product, folded: every bit of the result depends on every bit of both.
#[expect(clippy::cast_possible_truncation, reason = "the halves of the product")]
pub(super) fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// The strict and the loose hash of a cell.
fn hash(value: Value<'_>) -> (Hash, Hash) {
    let one = match value {
        Value::Null => Hash::of(0, 0),
        Value::Integer(integer) => Hash::of(1, integer.cast_unsigned()),
        Value::Real(real) => {
            let exact = Hash::of(2, real.to_bits());
            return (exact, integral(real).map_or(exact, |integer| Hash::of(1, integer.cast_unsigned())));
        }
        // Most text is ASCII, which is found out faster than that it is UTF-8.
        Value::Text(bytes) if bytes.is_ascii() => bytes_hash(3, bytes),
        Value::Text(bytes) => bytes_hash(3, decode(bytes).as_bytes()),
        Value::Blob(bytes) => bytes_hash(4, bytes),
    };
    (one, one)
}

#[expect(clippy::cast_possible_truncation, reason = "the halves of the hash")]
fn bytes_hash(tag: u64, bytes: &[u8]) -> Hash {
    let hash = xxh3_128_with_seed(bytes, tag);
    Hash([hash as u64, (hash >> 64) as u64])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(ordered: bool, rows: &[&[Value<'_>]]) -> Digest {
        let mut digester = Digester::new(rows.first().map_or(1, |row| row.len()), ordered);
        for row in rows {
            digester.row(row.iter().copied());
        }
        digester.finish()
    }

    const A: Value<'_> = Value::Text(b"a");
    const ONE: Value<'_> = Value::Integer(1);

    #[test]
    fn types_are_told_apart_unless_python_equates_them() {
        let apart = [Value::Null, ONE, Value::Real(1.5), Value::Text(b"1"), Value::Blob(b"1"), Value::Text(b"")];
        for (i, a) in apart.iter().enumerate() {
            for (j, b) in apart.iter().enumerate() {
                let expected = if i == j { Relation::Same } else { Relation::Different };
                assert_eq!(digest(false, &[&[*a]]).relation(&digest(false, &[&[*b]])), expected, "{a:?} {b:?}");
            }
        }
        assert_eq!(digest(false, &[&[ONE]]).relation(&digest(false, &[&[Value::Real(1.0)]])), Relation::Unclear);
    }

    #[test]
    fn moved_columns_are_left_to_the_cells() {
        assert_eq!(digest(false, &[&[ONE, A]]).relation(&digest(false, &[&[A, ONE]])), Relation::Unclear);
        assert_eq!(digest(false, &[&[ONE, A]]).relation(&digest(false, &[&[ONE, ONE]])), Relation::Different);
    }

    #[test]
    fn order_counts_where_it_matters() {
        let (first, second) = (digest(false, &[&[ONE], &[A]]), digest(false, &[&[A], &[ONE]]));
        assert_eq!(first.relation(&second), Relation::Same);
        let (first, second) = (digest(true, &[&[ONE], &[A]]), digest(true, &[&[A], &[ONE]]));
        assert_eq!(first.relation(&second), Relation::Different);
    }

    #[test]
    fn empty_results_are_the_same_at_any_width() {
        assert_eq!(Digester::new(1, false).finish().relation(&Digester::new(5, false).finish()), Relation::Same);
        assert_eq!(Digester::new(1, false).finish().relation(&digest(false, &[&[ONE]])), Relation::Different);
    }

    #[test]
    fn undecodable_bytes_do_not_count() {
        let (clean, dirty) = (digest(false, &[&[A]]), digest(false, &[&[Value::Text(b"\xffa\xc3")]]));
        assert_eq!(clean.relation(&dirty), Relation::Same);
    }

    /// The trace of a result, as the comparison of columns uses it.
    fn trace(rows: &[&[Value<'_>]]) -> Trace {
        let (mut digester, mut trace) = (Digester::new(rows[0].len(), false), Trace::default());
        for row in rows {
            digester.trace(row.iter().copied(), Some(&mut trace));
        }
        trace
    }

    #[test]
    fn traces_find_moved_columns() {
        let gold = trace(&[&[ONE, A], &[A, ONE]]);
        assert_eq!(gold.same(&trace(&[&[A, ONE], &[ONE, A]]), 2, true, &mut Effort::unhurried()), Some(Ok(true)));
        // Each row has the same cells, but no one order of columns fits both.
        assert_eq!(gold.same(&trace(&[&[ONE, A], &[ONE, A]]), 2, true, &mut Effort::unhurried()), Some(Ok(false)));
    }

    #[test]
    fn traces_leave_to_the_cells_what_they_cannot_tell() {
        let (plain, real) = (trace(&[&[ONE, A]]), trace(&[&[Value::Real(1.0), A]]));
        assert_eq!(plain.same(&real, 2, false, &mut Effort::unhurried()), None);
        let row = vec![ONE; Trace::CELLS + 1];
        let mut large = trace(&[&row]);
        assert_eq!(large.same(&large.clone(), row.len(), false, &mut Effort::unhurried()), None);
        large.clear();
        assert_eq!(large.same(&Trace::default(), 1, false, &mut Effort::unhurried()), Some(Ok(true)));
    }

    #[test]
    fn digests_survive_as_bytes() {
        let digest = digest(true, &[&[ONE, A], &[Value::Null, Value::Real(0.5)]]);
        assert_eq!(Digest::from_bytes(&digest.to_bytes()), Some(digest));
    }
}
