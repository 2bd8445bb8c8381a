//! Digests of result tables, taken row by row while SQLite steps, so that most comparisons keep no cells at all.
//!
//! Equal strict digests mean that two results are the same with the same columns in the same places; different loose
//! digests mean that the official comparison says no. Only between the two must [`same`](super::denotation::same) look
//! at the cells.

use xxhash_rust::xxh3::xxh3_128;

use super::denotation::{Value, decode, integral};

/// What is kept of a result: its size and two hashes of 128 bits, each as two independent lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
        let mut strict = Hash([self.digest.columns as u64; 2]);
        let mut loose = strict;
        for value in cells {
            let (exact, unified) = hash(value);
            strict = strict.then(exact);
            loose = loose.with(unified);
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
fn fold(a: u64, b: u64) -> u64 {
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
        Value::Text(bytes) => bytes_hash(3, decode(bytes).as_bytes()),
        Value::Blob(bytes) => bytes_hash(4, bytes),
    };
    (one, one)
}

#[expect(clippy::cast_possible_truncation, reason = "the halves of the hash")]
fn bytes_hash(tag: u64, bytes: &[u8]) -> Hash {
    let hash = xxh3_128(bytes);
    Hash([hash as u64, (hash >> 64) as u64]).then(Hash::of(tag, bytes.len() as u64))
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
}
