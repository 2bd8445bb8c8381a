//! The official grammar: words and a schema make a [`Query`] or a [`Rejection`].
//!
//! This is the parser of the official `process_sql.py`, function by function, with what it accepts by accident:
//!
//! * Aliases are collected from the whole text before anything is parsed, from wherever the word `as` stands; the last
//!   one of a name wins, for every subquery alike (`scan_alias`). An alias may not be the name of a table.
//! * A query's `from` is the first one behind its start, so a query without one borrows a later one (`parse_from`).
//! * A column without a table belongs to the first table of `from` that has it (`parse_col`).
//! * A right side that is neither a query, a literal nor a number is a column, and the words behind it are skipped up to
//!   the next `,`, `)`, `and`, or keyword of a clause or join, which leaves out `or` (`parse_value`). A number is what
//!   Python's `float` takes.
//! * Commas in a select list and words between conditions may be missing.
//! * `limit` takes any word, `order by` one direction for all its values, the last.
//! * Whatever follows a complete query is ignored.
//!
//! A rejection is any Python exception, so nesting that exhausts Python's stack is one too: [`parse`] counts the
//! official program's stack frames and rejects where they would reach Python's limit of 1,000.
//!
//! # Beyond the official verdicts
//!
//! On the gold side the official run dies of a rejection; here a gold query is parsed like any other.

use std::collections::HashMap;

use super::number::float;
use super::query::{
    Aggregate, Arithmetic, ColumnUnit, ConditionItem, Direction, OrderBy, Query, SelectItem, SetOperator, Table,
    ValueUnit,
};
use super::rejection::{Reason, Rejection};
use super::schema::{Identifier, Schema};
use super::words::{Kind, Words, words};

/// Parses a query: the official `get_sql`.
///
/// The official driver replaces every `value` in a prediction by `1` before it gets here, in text that it takes from one
/// line of a file; neither is done here.
pub fn parse(sql: &str, schema: &Schema) -> Result<Query, Rejection> {
    let words = words(sql)?;
    if words.is_empty() {
        return Err(Rejection { reason: Reason::Empty, word: None, offset: None });
    }
    let query = aliases(&words, schema)
        .and_then(|aliases| Parser { aliases, end: words.len(), at: 0, words: &words, schema }.query(FIRST_FRAME));
    query.map(|query| *query).map_err(|rejection| *rejection)
}

/// Python's default recursion limit.
const FRAME_LIMIT: usize = 1000;

/// The outermost `parse_sql` runs below the module, `evaluate` and `get_sql`.
const FIRST_FRAME: usize = 4;

mod conditions;

/// Queries and rejections are boxed so that the stack frames stay small: the grammar nests some 500 deep.
type Parsed<T> = Result<T, Box<Rejection>>;

/// What every alias stands for: the official `scan_alias` and `get_tables_with_alias`.
fn aliases<'a>(words: &'a Words, schema: &Schema) -> Parsed<HashMap<&'a str, &'a str>> {
    let mut aliases = HashMap::new();
    for index in (0..words.len()).filter(|&index| words.kind(index) == Some(Kind::As)) {
        if index + 1 == words.len() {
            return reject(words, index + 1, Reason::UnexpectedEnd("an alias"));
        }
        let alias = words.text(index + 1);
        if schema.has_table(alias) {
            return reject(words, index + 1, Reason::AliasNamesTable(alias.into()));
        }
        // With nothing before it `as` takes the last word, Python's index -1. No query starts with `as`, so it never
        // matters what that is.
        aliases.insert(alias, words.text(index.checked_sub(1).unwrap_or(words.len() - 1)));
    }
    Ok(aliases)
}

#[cold]
fn reject<T>(words: &Words, word: usize, reason: Reason) -> Parsed<T> {
    Err(Box::new(Rejection { reason, word: Some(word), offset: words.offset(word) }))
}

struct Parser<'a> {
    words: &'a Words,
    schema: &'a Schema,
    aliases: HashMap<&'a str, &'a str>,
    /// The next word.
    at: usize,
    /// Where the words end, as far as the construct being parsed can see.
    end: usize,
}

impl<'a> Parser<'a> {
    /// The kind of the next word, if there is one.
    fn peek(&self) -> Option<Kind> {
        if self.at < self.end { self.words.kind(self.at) } else { None }
    }

    fn next_is(&self, kind: Kind) -> bool {
        self.peek() == Some(kind)
    }

    /// Whether the next word is of this kind; if so it is passed.
    fn skip(&mut self, kind: Kind) -> bool {
        let skip = self.next_is(kind);
        self.at += usize::from(skip);
        skip
    }

    /// The kind of the next word, which there has to be.
    fn need(&self, expected: &'static str) -> Parsed<Kind> {
        match self.peek() {
            Some(kind) => Ok(kind),
            None => self.reject(Reason::UnexpectedEnd(expected)),
        }
    }

    fn expect(&mut self, kind: Kind, expected: &'static str) -> Parsed<()> {
        if self.need(expected)? == kind {
            self.at += 1;
            return Ok(());
        }
        self.reject(Reason::Unexpected { expected, found: self.text(self.at).into() })
    }

    fn text(&self, index: usize) -> &'a str {
        self.words.text(index)
    }

    fn reject<T>(&self, reason: Reason) -> Parsed<T> {
        reject(self.words, self.at, reason)
    }

    /// Counts a call of the official program, in which `frame` is the caller's; each one calls something further.
    fn call(&self, frame: usize) -> Parsed<usize> {
        if frame + 2 > FRAME_LIMIT { self.reject(Reason::TooDeep) } else { Ok(frame + 1) }
    }

    /// What a name stands for: the official `tables_with_alias`.
    fn resolve(&self, name: &'a str) -> Option<&'a str> {
        self.aliases.get(name).copied().or_else(|| self.schema.has_table(name).then_some(name))
    }

    /// `parse_sql`, which calls itself for the right side of a set operation
    fn query(&mut self, mut frame: usize) -> Parsed<Box<Query>> {
        let mut left_sides = Vec::new();
        let mut query = self.arm(frame)?;
        while let Some(operator) = self.peek().and_then(set_operator) {
            self.at += 1;
            frame = self.call(frame)?;
            left_sides.push((operator, query));
            query = self.arm(frame)?;
        }
        for (operator, mut left) in left_sides.into_iter().rev() {
            left.set_operation = Some((operator, query));
            query = left;
        }
        Ok(query)
    }

    /// A query up to a set operator.
    fn arm(&mut self, frame: usize) -> Parsed<Box<Query>> {
        let mut query = Box::<Query>::default();
        let start = self.at;
        let parenthesised = self.need("a query")? == Kind::LeftParenthesis;

        // `from` first: the select list needs its tables.
        let scope = self.from(frame, &mut query)?;
        let behind_from = std::mem::replace(&mut self.at, start + usize::from(parenthesised));
        self.select(frame, &mut query, &scope)?;
        self.at = behind_from;

        if self.skip(Kind::Where) {
            query.filter = self.conditions(self.call(frame)?, &scope)?;
        }
        self.group_by(frame, &mut query, &scope)?;
        if self.skip(Kind::Having) {
            query.having = self.conditions(self.call(frame)?, &scope)?;
        }
        self.order_by(frame, &mut query, &scope)?;
        if self.skip(Kind::Limit) {
            self.need("a number")?;
            self.at += 1;
            query.limit = true;
        }

        while self.skip(Kind::Semicolon) {}
        if parenthesised {
            self.expect(Kind::RightParenthesis, "`)`")?;
        }
        while self.skip(Kind::Semicolon) {}
        Ok(query)
    }

    /// `parse_from`; returns the tables that a bare column may belong to.
    fn from(&mut self, caller: usize, query: &mut Query) -> Parsed<Vec<&'a str>> {
        let frame = self.call(caller)?;
        let Some(from) = (self.at..self.end).find(|&index| self.words.kind(index) == Some(Kind::From)) else {
            self.at = self.end;
            return self.reject(Reason::UnexpectedEnd("`from`"));
        };
        self.at = from + 1;
        let mut scope = Vec::new();
        while self.at < self.end {
            let parenthesised = self.skip(Kind::LeftParenthesis);
            if self.need("a table")? == Kind::Select {
                query.tables.push(Table::Query(self.query(self.call(frame)?)?));
            } else {
                self.skip(Kind::Join);
                let (table, name) = self.table(frame)?;
                query.tables.push(Table::Named(table));
                // Searched in order for every bare column, where a second time finds nothing new.
                if !scope.contains(&name) {
                    scope.push(name);
                }
            }
            if self.skip(Kind::On) {
                let conditions = self.conditions(frame, &scope)?;
                if !query.on.is_empty() {
                    query.on.0.push(ConditionItem::And);
                }
                query.on.0.extend(conditions.0);
            }
            if parenthesised {
                self.expect(Kind::RightParenthesis, "`)`")?;
            }
            if self.peek().is_some_and(ends_tables) {
                break;
            }
        }
        Ok(scope)
    }

    /// `parse_table_unit`
    fn table(&mut self, caller: usize) -> Parsed<(Identifier, &'a str)> {
        self.call(caller)?;
        let kind = self.need("a table")?;
        let word = self.text(self.at);
        let found = self.resolve(word).and_then(|name| Some((self.schema.identifier(name)?, name)));
        let Some(table) = found else {
            return self.reject(match (kind, word) {
                (Kind::Comma, _) => Reason::Construct("a join written as a comma"),
                (Kind::As, _) => Reason::Construct("alias of a subquery"),
                (_, "inner" | "left" | "right" | "full" | "outer" | "cross" | "natural") => {
                    Reason::Construct("a join other than plain `join`")
                }
                _ => Reason::UnknownTable(word.into()),
            });
        };
        self.at += 1;
        if self.next_is(Kind::As) {
            self.at += 2;
        }
        Ok(table)
    }

    /// `parse_select`
    fn select(&mut self, caller: usize, query: &mut Query, scope: &[&'a str]) -> Parsed<()> {
        let frame = self.call(caller)?;
        if self.need("`select`")? != Kind::Select {
            let found = self.text(self.at);
            return self.reject(match found {
                "all" => Reason::Construct("`all` behind a set operator"),
                "with" => Reason::Construct("`with`"),
                _ => Reason::Unexpected { expected: "`select`", found: found.into() },
            });
        }
        self.at += 1;
        query.distinct = self.skip(Kind::Distinct);
        while let Some(kind) = self.peek().filter(|kind| !kind.starts_clause()) {
            if kind == Kind::As {
                return self.reject(Reason::Construct("column alias"));
            }
            let aggregate = aggregate(kind);
            self.at += usize::from(aggregate.is_some());
            let value = self.value_unit(frame, scope)?;
            query.select.push(SelectItem { aggregate: aggregate.unwrap_or(Aggregate::None), value });
            self.skip(Kind::Comma);
        }
        Ok(())
    }

    /// `parse_group_by`
    fn group_by(&mut self, caller: usize, query: &mut Query, scope: &[&'a str]) -> Parsed<()> {
        let frame = self.call(caller)?;
        if !self.skip(Kind::Group) {
            return Ok(());
        }
        self.expect(Kind::By, "`by`")?;
        while self.peek().is_some_and(|kind| !ends_tables(kind)) {
            query.group_by.push(self.column_unit(frame, scope)?);
            if !self.skip(Kind::Comma) {
                break;
            }
        }
        Ok(())
    }

    /// `parse_order_by`
    fn order_by(&mut self, caller: usize, query: &mut Query, scope: &[&'a str]) -> Parsed<()> {
        let frame = self.call(caller)?;
        if !self.skip(Kind::Order) {
            return Ok(());
        }
        self.expect(Kind::By, "`by`")?;
        let mut order = OrderBy { direction: Direction::Ascending, values: Vec::new() };
        while self.peek().is_some_and(|kind| !ends_tables(kind)) {
            order.values.push(self.value_unit(frame, scope)?);
            if self.skip(Kind::Descending) {
                order.direction = Direction::Descending;
            } else if self.skip(Kind::Ascending) {
                order.direction = Direction::Ascending;
            }
            if !self.skip(Kind::Comma) {
                break;
            }
        }
        query.order_by = Some(order);
        Ok(())
    }

    /// `parse_val_unit`
    fn value_unit(&mut self, caller: usize, scope: &[&'a str]) -> Parsed<ValueUnit> {
        let frame = self.call(caller)?;
        self.need("a column")?;
        let parenthesised = self.skip(Kind::LeftParenthesis);
        let left = self.column_unit(frame, scope)?;
        let operator = self.peek().and_then(arithmetic);
        let right = if operator.is_some() {
            self.at += 1;
            Some(self.column_unit(frame, scope)?)
        } else {
            None
        };
        if parenthesised {
            self.expect(Kind::RightParenthesis, "`)`")?;
        }
        Ok(ValueUnit { operator: operator.unwrap_or(Arithmetic::None), left, right })
    }

    /// `parse_col_unit`; of `((count(a))` the official program wants one `)` fewer, since an aggregate returns early.
    fn column_unit(&mut self, caller: usize, scope: &[&'a str]) -> Parsed<ColumnUnit> {
        let frame = self.call(caller)?;
        self.need("a column")?;
        let parenthesised = self.skip(Kind::LeftParenthesis);
        if let Some(aggregate) = aggregate(self.need("a column")?) {
            self.at += 1;
            self.expect(Kind::LeftParenthesis, "`(`")?;
            self.need("a column")?;
            let distinct = self.skip(Kind::Distinct);
            let column = self.column(frame, scope)?;
            self.expect(Kind::RightParenthesis, "`)`")?;
            return Ok(ColumnUnit { aggregate, column, distinct });
        }
        let distinct = self.skip(Kind::Distinct);
        let column = self.column(frame, scope)?;
        if parenthesised {
            self.expect(Kind::RightParenthesis, "`)`")?;
        }
        Ok(ColumnUnit { aggregate: Aggregate::None, column, distinct })
    }

    /// `parse_col`
    fn column(&mut self, caller: usize, scope: &[&'a str]) -> Parsed<Identifier> {
        self.call(caller)?;
        let kind = self.need("a column")?;
        let word = self.text(self.at);
        let column = if kind == Kind::Star {
            self.schema.identifier(word)
        } else if let Some((table, column)) = word.split_once('.') {
            if column.contains('.') {
                return self.reject(Reason::Dots(word.into()));
            }
            let Some(table) = self.resolve(table) else {
                return self.reject(Reason::UnknownTable(table.into()));
            };
            // A table may have a dot in its name and be found by two names that are parts of it.
            self.schema.column(table, column).or_else(|| self.schema.identifier(&format!("{table}.{column}")))
        } else {
            self.bare_column(word, scope)
        };
        let Some(column) = column else {
            return self.unknown_column(kind, word);
        };
        self.at += 1;
        Ok(column)
    }

    /// A column without a table. An alias may make of anything in the schema a table of `from`, also of a column; what
    /// is no table then ends the search.
    fn bare_column(&self, word: &str, scope: &[&'a str]) -> Option<Identifier> {
        for name in scope {
            let table = self.resolve(name)?;
            if !self.schema.has_table(table) {
                return None;
            }
            if let Some(column) = self.schema.column(table, word) {
                return Some(column);
            }
        }
        None
    }

    fn unknown_column<T>(&self, kind: Kind, word: &str) -> Parsed<T> {
        let called = self.words.kind(self.at + 1) == Some(Kind::LeftParenthesis);
        self.reject(match word {
            _ if kind == Kind::Literal => Reason::Construct("a literal in the place of a column"),
            "case" => Reason::Construct("`case`"),
            "null" => Reason::Construct("`null`"),
            _ if called && kind == Kind::Other => Reason::Function(word.into()),
            _ if float(word).is_some() => Reason::Construct("a number in the place of a column"),
            _ if word.len() > 1 && word.contains(['=', '+', '-', '/', '|']) => Reason::Glued(word.into()),
            _ => Reason::UnknownColumn(word.into()),
        })
    }
}

/// What ends the tables of `from`, the columns of `group by` and `order by`, and conditions.
fn ends_tables(kind: Kind) -> bool {
    kind.starts_clause() || matches!(kind, Kind::RightParenthesis | Kind::Semicolon)
}

fn set_operator(kind: Kind) -> Option<SetOperator> {
    Some(match kind {
        Kind::Intersect => SetOperator::Intersect,
        Kind::Union => SetOperator::Union,
        Kind::Except => SetOperator::Except,
        _ => return None,
    })
}

fn aggregate(kind: Kind) -> Option<Aggregate> {
    Some(match kind {
        Kind::None => Aggregate::None,
        Kind::Maximum => Aggregate::Max,
        Kind::Minimum => Aggregate::Min,
        Kind::Count => Aggregate::Count,
        Kind::Sum => Aggregate::Sum,
        Kind::Average => Aggregate::Avg,
        _ => return None,
    })
}

fn arithmetic(kind: Kind) -> Option<Arithmetic> {
    Some(match kind {
        Kind::None => Arithmetic::None,
        Kind::Minus => Arithmetic::Minus,
        Kind::Plus => Arithmetic::Plus,
        Kind::Star => Arithmetic::Times,
        Kind::Slash => Arithmetic::Divide,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
