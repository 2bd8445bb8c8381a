//! Whether some permutation of columns turns one table into the other.
//!
//! The official tool enumerates permutations, which takes ages from about eight look-alike columns on. Here columns are
//! assigned one at a time; the rows fall into classes by what is assigned so far, and only columns whose cells spread
//! over the classes alike can be partners. That decides nearly every real table without a choice. Where a choice is
//! left, it is searched, exactly, within a budget: the general problem is graph isomorphism, so a bound must exist.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};

/// The search for a column permutation used up its budget without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted;

/// Cells that one comparison may look at: some seconds of work, thousands of times what any benchmark query needs.
const BUDGET: u64 = 1 << 28;

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
) -> Result<bool, Exhausted> {
    let rows = gold.len() / columns.max(1);
    let gold = Side { columns: transpose(gold, columns, rows) };
    let prediction = Side { columns: transpose(prediction, columns, rows) };
    let classes = if ordered {
        // Each row is a class of its own, known by its position.
        let positions: Vec<u32> = (0..).take(rows).collect();
        Classes { gold: positions.clone(), prediction: positions }
    } else {
        match Classes::by_content(&gold, &prediction, rows) {
            Some(classes) => classes,
            None => return Ok(false),
        }
    };
    let mut search = Search { gold: &gold, prediction: &prediction, budget: BUDGET };
    let all: Vec<usize> = (0..columns).collect();
    search.assign(classes, all.clone(), all)
}

struct Side {
    columns: Vec<Vec<u32>>,
}

fn transpose(cells: &[u32], columns: usize, rows: usize) -> Vec<Vec<u32>> {
    (0..columns).map(|column| (0..rows).map(|row| cells[row * columns + column]).collect()).collect()
}

/// The class of each row of the two tables; rows can only be partners within a class.
struct Classes {
    gold: Vec<u32>,
    prediction: Vec<u32>,
}

impl Classes {
    /// Rows with the same bag of cells share a class, whatever the order of columns; `None` where the two tables do not
    /// have equally many rows of each.
    fn by_content(gold: &Side, prediction: &Side, rows: usize) -> Option<Self> {
        let mut numbers: HashMap<Vec<u32>, u32> = HashMap::new();
        let mut classes = |side: &Side| -> Vec<u32> {
            (0..rows)
                .map(|row| {
                    let mut cells: Vec<u32> = side.columns.iter().map(|column| column[row]).collect();
                    cells.sort_unstable();
                    let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
                    *numbers.entry(cells).or_insert(next)
                })
                .collect()
        };
        let classes = Self { gold: classes(gold), prediction: classes(prediction) };
        classes.balanced().then_some(classes)
    }

    /// The classes after a column of each table was assigned to the other; `None` where their cells do not agree.
    fn refine(&self, gold: &[u32], prediction: &[u32]) -> Option<Self> {
        let mut numbers: HashMap<(u32, u32), u32> = HashMap::new();
        let mut classes = |old: &[u32], column: &[u32]| -> Vec<u32> {
            old.iter()
                .zip(column)
                .map(|(&class, &cell)| {
                    let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
                    *numbers.entry((class, cell)).or_insert(next)
                })
                .collect()
        };
        let classes = Self { gold: classes(&self.gold, gold), prediction: classes(&self.prediction, prediction) };
        classes.balanced().then_some(classes)
    }

    /// Whether each row is alone in its class.
    fn is_discrete(&self) -> bool {
        let mut classes = self.gold.clone();
        classes.sort_unstable();
        classes.windows(2).all(|pair| pair[0] != pair[1])
    }

    /// Whether both tables have equally many rows in each class.
    fn balanced(&self) -> bool {
        let sorted = |classes: &[u32]| {
            let mut classes = classes.to_vec();
            classes.sort_unstable();
            classes
        };
        sorted(&self.gold) == sorted(&self.prediction)
    }
}

struct Search<'a> {
    gold: &'a Side,
    prediction: &'a Side,
    budget: u64,
}

impl Search<'_> {
    /// Assigns the open columns of the gold to those of the prediction.
    fn assign(
        &mut self,
        classes: Classes,
        mut gold: Vec<usize>,
        mut prediction: Vec<usize>,
    ) -> Result<bool, Exhausted> {
        let mut classes = classes;
        loop {
            if gold.is_empty() {
                // Every cell has gone into the classes, which balance: the rows are the same.
                return Ok(true);
            }
            let work = (gold.len() + prediction.len()) as u64 * classes.gold.len() as u64;
            self.budget = self.budget.checked_sub(work.max(1)).ok_or(Exhausted)?;
            if classes.is_discrete() {
                return Ok(self.same_columns(&classes, &gold, &prediction));
            }
            let Some(groups) = self.groups(&classes, &gold, &prediction) else { return Ok(false) };
            let forced = groups.iter().filter(|group| group.0.len() == 1);
            let mut decided = false;
            for (column, partner) in forced.map(|group| (group.0[0], group.1[0])) {
                let Some(finer) = classes.refine(&self.gold.columns[column], &self.prediction.columns[partner]) else {
                    return Ok(false);
                };
                classes = finer;
                gold.retain(|&open| open != column);
                prediction.retain(|&open| open != partner);
                decided = true;
            }
            if decided {
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
    ) -> Result<bool, Exhausted> {
        let without = |open: &[usize], column: usize| open.iter().copied().filter(|&one| one != column).collect();
        let mut tried: Vec<usize> = Vec::new();
        for &partner in partners {
            let cells = &self.prediction.columns[partner];
            // Columns with the same cells in the same rows are interchangeable: what failed for one fails for all.
            if tried.iter().any(|&other| &self.prediction.columns[other] == cells) {
                continue;
            }
            tried.push(partner);
            if let Some(finer) = classes.refine(&self.gold.columns[column], cells)
                && self.assign(finer, without(gold, column), without(prediction, partner))?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The open columns by signature, those of the gold beside those of the prediction; `None` where the two tables do
    /// not have equally many of each.
    fn groups(&self, classes: &Classes, gold: &[usize], prediction: &[usize]) -> Option<Vec<(Vec<usize>, Vec<usize>)>> {
        let mut groups: BTreeMap<u64, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
        for &column in gold {
            groups.entry(signature(&classes.gold, &self.gold.columns[column])).or_default().0.push(column);
        }
        for &column in prediction {
            groups.entry(signature(&classes.prediction, &self.prediction.columns[column])).or_default().1.push(column);
        }
        groups.values().all(|group| group.0.len() == group.1.len()).then(|| groups.into_values().collect())
    }

    /// Where each row has its one partner, the tables are the same if they have the same columns in any order.
    fn same_columns(&self, classes: &Classes, gold: &[usize], prediction: &[usize]) -> bool {
        let sorted = |side: &Side, rows: &[u32], open: &[usize]| {
            let mut order: Vec<usize> = (0..rows.len()).collect();
            order.sort_unstable_by_key(|&row| rows[row]);
            let mut columns: Vec<Vec<u32>> =
                open.iter().map(|&column| order.iter().map(|&row| side.columns[column][row]).collect()).collect();
            columns.sort_unstable();
            columns
        };
        sorted(self.gold, &classes.gold, gold) == sorted(self.prediction, &classes.prediction, prediction)
    }
}

/// A hash of how the cells of a column spread over the classes, the same in any order of rows. Equal spreads have equal
/// signatures; the rare others that do too are told apart when the column is assigned.
fn signature(classes: &[u32], column: &[u32]) -> u64 {
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    classes.iter().zip(column).map(|pair| hasher.hash_one(pair)).fold(0, u64::wrapping_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::sandbox::on_large_stack;

    fn bag(gold: &[&[u32]], prediction: &[&[u32]]) -> Result<bool, Exhausted> {
        columns_match(&gold.concat(), &prediction.concat(), gold[0].len(), false)
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
        assert_eq!(columns_match(&[1, 2, 3, 4], &[2, 1, 4, 3], 2, true), Ok(true));
        assert_eq!(columns_match(&[1, 2, 3, 4], &[3, 4, 1, 2], 2, true), Ok(false));
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
        assert_eq!(columns_match(&flat(circle(30, 1)), &flat(circle(30, 7)), 30, false), Ok(true));
        assert_eq!(columns_match(&flat(circle(30, 1)), &flat(circle(30, 2)), 30, false), Ok(false));
    }
}
