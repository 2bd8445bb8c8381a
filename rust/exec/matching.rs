//! Whether some permutation of columns turns one table into the other.
//!
//! The official tool enumerates permutations, which takes ages from about eight look-alike columns on. Here columns are
//! assigned one at a time; the rows fall into classes by what is assigned so far, and only columns whose cells spread
//! over the classes alike can be partners. That decides nearly every real table without a choice. Where a choice is
//! left, rows are told apart by how their cells spread over the columns that look alike, and then it is searched, exactly,
//! within a budget: the general problem is graph isomorphism, so a bound must exist.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;

use super::digest::fold;
use super::effort::{Effort, Stopped};

/// Numbers distinct cells or what stands for them, so that tables compare by numbers.
pub(super) struct Numbers<Cell>(HashMap<Cell, u32>);

impl<Cell> Default for Numbers<Cell> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<Cell: Eq + Hash> Numbers<Cell> {
    /// The number of a cell, the same for equal cells.
    pub(super) fn of(&mut self, cell: Cell) -> u32 {
        let next = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        *self.0.entry(cell).or_insert(next)
    }
}

/// Whether the columns of `prediction` can be permuted so that it has the same rows as `gold`, in order where
/// `ordered`, else as a bag. Both tables are given row by row, as numbers of cells, and are equally large.
pub(super) fn columns_match(
    gold: &[u32],
    prediction: &[u32],
    columns: usize,
    ordered: bool,
    effort: &mut Effort,
) -> Result<bool, Stopped> {
    let rows = gold.len() / columns.max(1);
    effort.pass(gold.len() + prediction.len())?;
    let gold = Side { columns: transpose(gold, columns, rows) };
    let prediction = Side { columns: transpose(prediction, columns, rows) };
    let classes = if ordered {
        // Each row is a class of its own, known by its position.
        let positions: Vec<u32> = (0..).take(rows).collect();
        Classes { gold: positions.clone(), prediction: positions, count: rows }
    } else {
        match Classes::by_content(&gold, &prediction, rows, effort)? {
            Some(classes) => classes,
            None => return Ok(false),
        }
    };
    let mut search = Search { gold: &gold, prediction: &prediction, effort };
    let all: Vec<usize> = (0..columns).collect();
    search.assign(classes, all.clone(), all)
}

struct Side {
    columns: Vec<Vec<u32>>,
}

fn transpose(cells: &[u32], columns: usize, rows: usize) -> Vec<Vec<u32>> {
    (0..columns).map(|column| (0..rows).map(|row| cells[row * columns + column]).collect()).collect()
}

/// Columns that can be partners by what is known: those of the gold, and as many of the prediction.
type Group = (Vec<usize>, Vec<usize>);

/// The class of each row of the two tables; rows can only be partners within a class.
struct Classes {
    gold: Vec<u32>,
    prediction: Vec<u32>,
    /// How many classes there are; they are numbered from 0.
    count: usize,
}

impl Classes {
    /// Rows with equal keys share a class; `None` where the two tables do not have equally many rows of each.
    fn by_keys<Key: Eq + Hash>(gold: impl Iterator<Item = Key>, prediction: impl Iterator<Item = Key>) -> Option<Self> {
        let mut numbers: HashMap<Key, u32> = HashMap::new();
        let mut surplus: Vec<i64> = Vec::new();
        let gold = gold
            .map(|key| {
                let next = u32::try_from(surplus.len()).unwrap_or(u32::MAX);
                let class = *numbers.entry(key).or_insert(next);
                if class == next {
                    surplus.push(0);
                }
                surplus[class as usize] += 1;
                class
            })
            .collect();
        let prediction = prediction
            .map(|key| {
                let class = *numbers.get(&key)?;
                surplus[class as usize] -= 1;
                Some(class)
            })
            .collect::<Option<_>>()?;
        surplus.iter().all(|&rows| rows == 0).then_some(Self { gold, prediction, count: surplus.len() })
    }

    /// Rows with the same bag of cells share a class, whatever the order of columns.
    fn by_content(gold: &Side, prediction: &Side, rows: usize, effort: &mut Effort) -> Result<Option<Self>, Stopped> {
        let mut keys = |side: &Side| -> Result<Vec<Vec<u32>>, Stopped> {
            let row = |row: usize| {
                effort.pass(4 * side.columns.len())?;
                let mut cells: Vec<u32> = side.columns.iter().map(|column| column[row]).collect();
                cells.sort_unstable();
                Ok(cells)
            };
            (0..rows).map(row).collect()
        };
        let (gold, prediction) = (keys(gold)?, keys(prediction)?);
        Ok(Self::by_keys(gold.into_iter(), prediction.into_iter()))
    }

    /// The classes divided by the cells of a column of each table that are assigned to each other; `None` where those do not
    /// agree.
    fn refine(&self, gold: &[u32], prediction: &[u32], effort: &mut Effort) -> Result<Option<Self>, Stopped> {
        effort.spend(REFINING * self.gold.len())?;
        Ok(Self::by_keys(self.gold.iter().zip(gold), self.prediction.iter().zip(prediction)))
    }

    /// The classes divided by how the cells of rows spread over groups of columns; `None` where the tables do not agree.
    /// Different spreads that happen to have the same hash are not told apart.
    fn refine_by_groups(
        &self,
        gold: &Side,
        prediction: &Side,
        groups: &[Group],
        effort: &mut Effort,
    ) -> Result<Option<Self>, Stopped> {
        let rows = self.gold.len();
        let mut spreads = |side: &Side, columns: fn(&Group) -> &[usize]| -> Result<Vec<u64>, Stopped> {
            let mut spreads = vec![0_u64; rows];
            for (number, group) in (0..).zip(groups) {
                for &column in columns(group) {
                    effort.spend(rows)?;
                    for (spread, &cell) in spreads.iter_mut().zip(&side.columns[column]) {
                        *spread = spread.wrapping_add(mixed(number, cell));
                    }
                }
            }
            Ok(spreads)
        };
        let (gold, prediction) = (spreads(gold, |group| &group.0)?, spreads(prediction, |group| &group.1)?);
        effort.spend(REFINING * rows)?;
        let (gold, prediction) = (self.gold.iter().zip(gold), self.prediction.iter().zip(prediction));
        Ok(Self::by_keys(gold, prediction))
    }

    /// Whether each row is alone in its class.
    fn is_discrete(&self) -> bool {
        self.count == self.gold.len()
    }
}

/// What it takes to put a row of both tables into a class, in cells that are looked at.
const REFINING: usize = 8;

struct Search<'a> {
    gold: &'a Side,
    prediction: &'a Side,
    effort: &'a mut Effort,
}

impl Search<'_> {
    /// Assigns the open columns of the gold to those of the prediction.
    fn assign(
        &mut self,
        mut classes: Classes,
        mut gold: Vec<usize>,
        mut prediction: Vec<usize>,
    ) -> Result<bool, Stopped> {
        loop {
            if gold.is_empty() {
                // Every cell has gone into the classes, which balance: the rows are the same.
                return Ok(true);
            }
            self.effort.spend(1)?;
            if classes.is_discrete() {
                return self.same_columns(&classes, &gold, &prediction);
            }
            let Some(groups) = self.groups(&classes, &gold, &prediction)? else { return Ok(false) };
            let forced = groups.iter().filter(|group| group.0.len() == 1);
            let mut decided = false;
            for (column, partner) in forced.map(|group| (group.0[0], group.1[0])) {
                let (one, other) = (&self.gold.columns[column], &self.prediction.columns[partner]);
                let Some(finer) = classes.refine(one, other, self.effort)? else { return Ok(false) };
                classes = finer;
                gold.retain(|&open| open != column);
                prediction.retain(|&open| open != partner);
                decided = true;
            }
            if decided {
                continue;
            }
            let finer = classes.refine_by_groups(self.gold, self.prediction, &groups, self.effort)?;
            let Some(finer) = finer else { return Ok(false) };
            if finer.count > classes.count {
                classes = finer;
                continue;
            }
            // The column with the fewest possible partners leaves the least to try.
            let Some((columns, partners)) = groups.into_iter().min_by_key(|group| group.0.len()) else {
                return Ok(true);
            };
            return self.choose(&classes, columns[0], &partners, &gold, &prediction);
        }
    }

    /// Tries the possible partners of a column one after the other.
    fn choose(
        &mut self,
        classes: &Classes,
        column: usize,
        partners: &[usize],
        gold: &[usize],
        prediction: &[usize],
    ) -> Result<bool, Stopped> {
        let without = |open: &[usize], column: usize| open.iter().copied().filter(|&one| one != column).collect();
        let mut tried: HashSet<&[u32]> = HashSet::new();
        for &partner in partners {
            let cells = &self.prediction.columns[partner];
            self.effort.spend(cells.len() + gold.len() + prediction.len())?;
            // Columns with the same cells in the same rows are interchangeable: what failed for one fails for all.
            if !tried.insert(cells) {
                continue;
            }
            if let Some(finer) = classes.refine(&self.gold.columns[column], cells, self.effort)?
                && self.assign(finer, without(gold, column), without(prediction, partner))?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The open columns by signature, those of the gold beside those of the prediction; `None` where the two tables do
    /// not have equally many of each.
    fn groups(
        &mut self,
        classes: &Classes,
        gold: &[usize],
        prediction: &[usize],
    ) -> Result<Option<Vec<Group>>, Stopped> {
        let mut groups: BTreeMap<u64, Group> = BTreeMap::new();
        for &column in gold {
            self.effort.spend(classes.gold.len())?;
            groups.entry(signature(&classes.gold, &self.gold.columns[column])).or_default().0.push(column);
        }
        for &column in prediction {
            self.effort.spend(classes.gold.len())?;
            groups.entry(signature(&classes.prediction, &self.prediction.columns[column])).or_default().1.push(column);
        }
        let is_even = groups.values().all(|group| group.0.len() == group.1.len());
        Ok(is_even.then(|| groups.into_values().collect()))
    }

    /// Where each row has its one partner, the tables are the same if they have the same columns in any order.
    fn same_columns(&mut self, classes: &Classes, gold: &[usize], prediction: &[usize]) -> Result<bool, Stopped> {
        let mut sorted = |side: &Side, rows: &[u32], open: &[usize]| -> Result<Vec<Vec<u32>>, Stopped> {
            let mut places = vec![0; rows.len()];
            for (row, &class) in rows.iter().enumerate() {
                places[class as usize] = row;
            }
            let in_order = |&column: &usize| {
                self.effort.spend(4 * places.len())?;
                Ok(places.iter().map(|&row| side.columns[column][row]).collect())
            };
            let mut columns: Vec<Vec<u32>> = open.iter().map(in_order).collect::<Result<_, Stopped>>()?;
            columns.sort_unstable();
            Ok(columns)
        };
        Ok(sorted(self.gold, &classes.gold, gold)? == sorted(self.prediction, &classes.prediction, prediction)?)
    }
}

/// A hash of how the cells of a column spread over the classes, the same in any order of rows. Equal spreads have equal
/// signatures; the rare others that do too are told apart when the column is assigned.
fn signature(classes: &[u32], column: &[u32]) -> u64 {
    classes.iter().zip(column).map(|(&class, &cell)| mixed(class, cell)).fold(0, u64::wrapping_add)
}

/// Two numbers as one that has no order and no sums with others.
fn mixed(one: u32, other: u32) -> u64 {
    let both = u64::from(one) << 32 | u64::from(other);
    fold(both ^ 0x9e37_79b9_7f4a_7c15, both.rotate_left(29) ^ 0xd1b5_4a32_d192_ed03)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::super::effort::WORK_PER_LOOK;
    use super::*;
    use crate::exec::sandbox::on_large_stack;

    fn bag(gold: &[&[u32]], prediction: &[&[u32]]) -> Result<bool, Stopped> {
        matches(&gold.concat(), &prediction.concat(), gold[0].len(), false)
    }

    fn matches(gold: &[u32], prediction: &[u32], columns: usize, ordered: bool) -> Result<bool, Stopped> {
        columns_match(gold, prediction, columns, ordered, &mut Effort::unhurried())
    }

    #[test]
    fn columns_and_rows_may_both_move() {
        assert_eq!(bag(&[&[1, 2, 3], &[4, 5, 6]], &[&[6, 4, 5], &[3, 1, 2]]), Ok(true));
        assert_eq!(bag(&[&[1, 2, 3], &[4, 5, 6]], &[&[6, 5, 4], &[3, 1, 2]]), Ok(false));
    }

    #[test]
    fn rows_count_as_often_as_they_occur() {
        assert_eq!(bag(&[&[1, 2], &[1, 2], &[2, 1]], &[&[2, 1], &[2, 1], &[1, 2]]), Ok(true));
        assert_eq!(bag(&[&[1, 1], &[1, 1], &[2, 2]], &[&[1, 1], &[2, 2], &[2, 2]]), Ok(false));
    }

    #[test]
    fn order_counts_where_it_matters() {
        assert_eq!(matches(&[1, 2, 3, 4], &[2, 1, 4, 3], 2, true), Ok(true));
        assert_eq!(matches(&[1, 2, 3, 4], &[3, 4, 1, 2], 2, true), Ok(false));
    }

    #[test]
    fn look_alike_columns_are_no_explosion() {
        let row: Vec<u32> = vec![7; 2000];
        let mut other = row.clone();
        other[3] = 8;
        let rows: Vec<&[u32]> = std::iter::repeat_n(row.as_slice(), 3).collect();
        // The search is as deep as the table is wide.
        let found = on_large_stack(|| (bag(&rows, &rows), bag(&[&row, &other], &[&other, &row])));
        assert_eq!(found.unwrap(), Ok((Ok(true), Ok(true))));
    }

    /// A permutation matrix and its shift have the same bags in all rows and columns; only a search sees that they match.
    #[test]
    fn symmetric_tables_are_searched() {
        let circle = |n: u32, step: u32| -> Vec<Vec<u32>> {
            (0..n)
                .map(|row| (0..n).map(|column| u32::from(column == row || column == (row + step) % n)).collect())
                .collect()
        };
        let flat = |rows: Vec<Vec<u32>>| rows.concat();
        // A circle of 30 is the same graph whichever coprime step draws it; with step 2 it falls into two circles.
        assert_eq!(matches(&flat(circle(30, 1)), &flat(circle(30, 7)), 30, false), Ok(true));
        assert_eq!(matches(&flat(circle(30, 1)), &flat(circle(30, 2)), 30, false), Ok(false));
    }

    /// A table with its rows and columns in other places.
    fn shuffled(cells: &[u32], columns: usize, seed: u64) -> Vec<u32> {
        let rows = cells.len() / columns;
        let order = |count: usize, salt: u32| {
            let mut order: Vec<usize> = (0..count).collect();
            order.sort_by_key(|&place| mixed(salt, u32::try_from(place).unwrap()).wrapping_mul(2 * seed + 1));
            order
        };
        let (row_order, column_order) = (order(rows, 1), order(columns, 2));
        row_order.iter().flat_map(|row| column_order.iter().map(move |column| cells[row * columns + column])).collect()
    }

    /// The table of a graph of so many vertices: which are neighbours, and which the same.
    fn graph(vertices: usize, neighbours: impl Fn(usize, usize) -> bool) -> Vec<u32> {
        let cell = |one: usize, other: usize| if one == other { 2 } else { u32::from(neighbours(one, other)) };
        (0..vertices)
            .flat_map(|one| (0..vertices).map(move |other| (one, other)))
            .map(|(one, other)| cell(one, other))
            .collect()
    }

    /// The graph of a Latin square: its cells, of which those in a row, in a column or with a symbol are neighbours.
    fn latin(order: usize, symbol: impl Fn(usize, usize) -> usize) -> Vec<u32> {
        let parts = |cell: usize| [cell / order, cell % order, symbol(cell / order, cell % order)];
        graph(order * order, |one, other| parts(one).iter().zip(parts(other)).any(|(&one, other)| one == other))
    }

    fn cyclic(order: usize) -> Vec<u32> {
        latin(order, |row, column| (row + column) % order)
    }

    /// The square of the direct product of two cyclic groups.
    fn product(one: usize, other: usize) -> Vec<u32> {
        latin(one * other, |row, column| {
            (row / other + column / other) % one * other + (row % other + column % other) % other
        })
    }

    /// The square of a dihedral group.
    fn dihedral(half: usize) -> Vec<u32> {
        latin(2 * half, |row, column| {
            let (turn, next) = (row % half, column % half);
            let turned = if row < half { turn + next } else { turn + half - next };
            turned % half + if (row < half) == (column < half) { 0 } else { half }
        })
    }

    /// Strongly regular graphs of the same parameters, and others that only a search tells apart.
    fn look_alikes() -> Vec<(&'static str, usize, Vec<u32>, Vec<u32>)> {
        let rook = |size: usize| {
            graph(size * size, move |one, other| one / size == other / size || one % size == other % size)
        };
        let shrikhande = graph(16, |one, other| {
            let difference = ((one / 4 + 4 - other / 4) % 4, (one % 4 + 4 - other % 4) % 4);
            [(0, 1), (0, 3), (1, 0), (3, 0), (1, 1), (3, 3)].contains(&difference)
        });
        let pairs: Vec<(usize, usize)> = (0..8).flat_map(|one| (0..one).map(move |other| (one, other))).collect();
        let meet = |one: usize, other: usize| {
            let [(a, b), (c, d)] = [pairs[one], pairs[other]];
            a == c || a == d || b == c || b == d
        };
        // Switching with respect to four edges that share no end makes a Chang graph of the triangular graph.
        let switched = |pair: usize| pairs[pair].0 == pairs[pair].1 + 4;
        let chang = graph(28, |one, other| meet(one, other) != (switched(one) != switched(other)));
        let circles = |lengths: &[usize]| {
            let bounds: Vec<(usize, usize)> = lengths
                .iter()
                .scan(0, |end, &length| {
                    *end += length;
                    Some((*end - length, length))
                })
                .collect();
            graph(lengths.iter().sum(), |one, other| {
                bounds.iter().any(|&(start, length)| {
                    let inside = |place: usize| (start..start + length).contains(&place);
                    let step = (one + length).abs_diff(other) % length;
                    inside(one) && inside(other) && (step == 1 || step == length - 1)
                })
            })
        };
        vec![
            ("Shrikhande and rook", 16, shrikhande, rook(4)),
            ("Chang and triangular", 28, chang, graph(28, meet)),
            ("circles", 48, circles(&[24, 24]), circles(&[12, 36])),
            ("Latin 4", 16, cyclic(4), product(2, 2)),
            ("Latin 6", 36, cyclic(6), dihedral(3)),
            ("Latin 8", 64, cyclic(8), product(2, 4)),
            ("Latin 9", 81, cyclic(9), product(3, 3)),
            ("Latin 10", 100, cyclic(10), dihedral(5)),
            ("Latin 12", 144, cyclic(12), product(2, 6)),
            ("Latin 12, dihedral", 144, dihedral(6), product(2, 6)),
        ]
    }

    #[test]
    fn look_alikes_are_told_apart_within_the_budget() {
        for (name, columns, one, other) in look_alikes() {
            for (gold, prediction, expected) in [
                (&one, &shuffled(&one, columns, 3), true),
                (&other, &shuffled(&other, columns, 5), true),
                (&one, &shuffled(&other, columns, 7), false),
            ] {
                let mut effort = Effort::unhurried();
                let found = columns_match(gold, prediction, columns, false, &mut effort);
                // Of the last, all choices are too many.
                let too_many = name == "Latin 12, dihedral" && !expected;
                assert_eq!(found, if too_many { Err(Stopped::Exhausted) } else { Ok(expected) }, "{name}");
                assert!(effort.longest() < WORK_PER_LOOK + 2 * REFINING as u64 * gold.len() as u64, "{name}");
            }
        }
    }

    #[test]
    fn searches_end_when_their_time_does() {
        let (_, columns, one, other) = look_alikes().pop().unwrap();
        for (mut effort, reason) in [
            (Effort::new(Duration::ZERO, Arc::default()), Stopped::Deadline),
            (Effort::new(Duration::MAX, Arc::new(AtomicBool::new(true))), Stopped::Cancelled),
            (Effort::new(Duration::from_millis(20), Arc::default()), Stopped::Deadline),
        ] {
            assert_eq!(columns_match(&one, &other, columns, false, &mut effort), Err(reason));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            rng_seed: RngSeed::Fixed(20), failure_persistence: None, ..ProptestConfig::with_cases(3000)
        })]
        #[test]
        fn answers_are_those_of_all_permutations(
            columns in 1_usize..5,
            cells in prop::collection::vec(0_u32..2, 0..20),
            others in prop::collection::vec(0_u32..2, 20),
            seed in 0_u64..1000,
            changed in any::<bool>(),
            ordered in any::<bool>(),
        ) {
            let gold = &cells[..cells.len() / columns * columns];
            let prediction = if changed { others[..gold.len()].to_vec() } else { shuffled(gold, columns, seed) };
            let expected = permutations(columns).iter().any(|order| {
                let mut rows: Vec<Vec<u32>> =
                    prediction.chunks(columns).map(|row| order.iter().map(|&column| row[column]).collect()).collect();
                let mut wanted: Vec<Vec<u32>> = gold.chunks(columns).map(<[u32]>::to_vec).collect();
                if !ordered {
                    rows.sort();
                    wanted.sort();
                }
                rows == wanted
            });
            prop_assert_eq!(matches(gold, &prediction, columns, ordered), Ok(expected));
        }
    }

    fn permutations(count: usize) -> Vec<Vec<usize>> {
        let Some(last) = count.checked_sub(1) else { return vec![Vec::new()] };
        let insert = |order: Vec<usize>| {
            (0..count).map(move |place| {
                let mut order = order.clone();
                order.insert(place, last);
                order
            })
        };
        permutations(last).into_iter().flat_map(insert).collect()
    }
}
