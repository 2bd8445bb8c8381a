//! Random queries on a schema, in the many ways in which people and models write them.

use crate::dice::Dice;
use crate::schemas::{Schema, quoted};

/// A table that columns can be taken from: what they are qualified with, and their names, both as they are spelled.
type Visible = (String, Vec<String>);

pub struct Queries<'a> {
    dice: Dice<'a>,
    tables: Vec<Visible>,
    depth: usize,
    names: usize,
}

/// Whether SQLite reads a name without quotes as that name, wherever it stands.
fn is_plain(name: &str) -> bool {
    let word = |c: char| c == '_' || c.is_ascii_alphanumeric() || !c.is_ascii();
    let keywords = ["order", "group", "null"];
    name.chars().all(word) && !name.starts_with(|c: char| c.is_ascii_digit()) && !keywords.contains(&name)
}

impl<'a> Queries<'a> {
    pub fn new(dice: Dice<'a>, schema: &Schema) -> Self {
        let tables = schema.tables.iter().map(|table| (table.name.clone(), table.columns.clone())).collect();
        Self { dice, tables, depth: 0, names: 0 }
    }

    fn roll(&mut self, sides: usize) -> usize {
        self.dice.roll(sides)
    }

    fn pick<'t>(&mut self, texts: &[&'t str]) -> &'t str {
        self.dice.pick(texts)
    }

    fn one_in(&mut self, chance: usize) -> bool {
        self.dice.one_in(chance)
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("n{}", self.names)
    }

    pub fn statement(&mut self) -> String {
        let mut sql = self.query(&[], None);
        sql.push_str(self.pick(&["", ";", " ; -- end", " /* end */ "]));
        sql
    }

    fn query(&mut self, outer: &[Visible], columns: Option<usize>) -> String {
        self.depth += 1;
        let compound = self.one_in(8);
        let columns = columns.or_else(|| compound.then(|| 1 + self.roll(2)));
        let (mut sql, orderable) = self.select(outer, columns);
        if compound {
            for _ in 0..=self.roll(2) {
                sql.push_str(self.pick(&[" UNION ", " union all ", " INTERSECT ", " EXCEPT "]));
                sql.push_str(&self.select(outer, columns).0);
            }
            if self.one_in(2) {
                let term = if self.one_in(2) { "1".to_owned() } else { orderable[self.roll(orderable.len())].clone() };
                sql.push_str(&format!(" ORDER BY {term}{}", self.pick(&["", " DESC"])));
            }
        } else if self.one_in(3) {
            let terms: Vec<String> = (0..=self.roll(2))
                .map(|_| {
                    let term = orderable[self.roll(orderable.len())].clone();
                    term + self.pick(&["", " ASC", " desc", " COLLATE NOCASE", " DESC NULLS LAST", " NULLS FIRST"])
                })
                .collect();
            sql.push_str(&format!(" ORDER BY {}", terms.join(",")));
        }
        if self.one_in(if sql.contains(" ORDER BY ") { 2 } else { 6 }) {
            sql.push_str(self.pick(&[" LIMIT 1", " LIMIT 3", " limit 2 OFFSET 1", " LIMIT 1, 2", " LIMIT 4 OFFSET 0"]));
        }
        self.depth -= 1;
        sql
    }

    /// A `SELECT`, and what its `ORDER BY` may name.
    fn select(&mut self, outer: &[Visible], columns: Option<usize>) -> (String, Vec<String>) {
        let (from, tables) = self.from(outer);
        let mut visible = tables.clone();
        visible.extend(outer.iter().cloned());
        let grouped = self.one_in(4);
        let keys: Vec<String> = (0..=self.roll(2)).map(|_| self.column(&tables)).collect();
        let mut orderable = Vec::new();
        let mut aliases = Vec::new();
        let mut items = Vec::new();
        for number in 1..=columns.unwrap_or_else(|| 1 + self.roll(3)) {
            let item = match self.roll(if grouped { 6 } else { 5 }) {
                0 | 1 => self.column(&tables),
                2 => self.value(&visible),
                3 if columns.is_none() && !grouped => self.star(&tables),
                4 if !grouped => self.condition(&visible),
                _ if grouped && self.one_in(2) => keys[0].clone(),
                _ if grouped => self.aggregate(&tables),
                _ => self.column(&tables),
            };
            if item.ends_with('*') {
                items.push(item);
                continue;
            }
            // Behind a star, a number may be that of any column.
            orderable.push(number.to_string());
            orderable.push(item.clone());
            if self.one_in(3) {
                let alias = self.alias(&tables);
                items.push(format!("{item} {}{alias}", self.pick(&["AS ", "as "])));
                orderable.push(alias.clone());
                orderable.push(format!("- {alias}"));
                aliases.push(alias);
            } else {
                items.push(item);
            }
        }
        if !grouped || orderable.is_empty() {
            orderable.push(self.column(&tables));
        }
        let distinct = self.pick(&["", "", "", "DISTINCT ", "all "]);
        let (select, items) = (self.pick(&["SELECT", "select", "Select"]), items.join(self.pick(&[", ", ","])));
        let mut sql = format!("{select} {distinct}{items} {from}");
        if self.one_in(2) {
            sql.push_str(&format!(" WHERE {}", self.condition(&visible)));
        }
        if grouped {
            let key = match self.roll(4) {
                0 if !aliases.is_empty() => aliases[0].clone(),
                1 => (1 + self.roll(2)).to_string(),
                _ => keys.join(", "),
            };
            sql.push_str(&format!(" GROUP BY {key}"));
            orderable.push(self.aggregate(&tables));
            if self.one_in(3) {
                let aggregate = match self.roll(3) {
                    0 if !aliases.is_empty() => aliases[0].clone(),
                    _ => self.aggregate(&tables),
                };
                sql.push_str(&format!(" HAVING {aggregate} {} {}", self.pick(&[">", "=", "<>", "<="]), self.roll(4)));
            }
        }
        (sql, orderable)
    }

    /// An alias of a result column: a new name, or that of a column, which it may hide.
    fn alias(&mut self, tables: &[Visible]) -> String {
        if self.one_in(2) {
            return self.name();
        }
        let (_, columns) = &tables[self.dice.roll(tables.len())];
        if columns.is_empty() {
            return self.name();
        }
        let column = columns[self.dice.roll(columns.len())].clone();
        self.spelled(&column)
    }

    fn from(&mut self, outer: &[Visible]) -> (String, Vec<Visible>) {
        let mut sql = String::from("FROM ");
        let mut tables: Vec<Visible> = Vec::new();
        let count = if self.depth > 2 { 1 } else { 1 + self.roll(3) };
        for position in 0..count {
            let (text, table) = self.table(outer, &tables);
            let join = if position == 0 {
                ""
            } else {
                self.pick(&[" JOIN ", ", ", " INNER JOIN ", " cross join ", " LEFT JOIN ", " left outer join "])
            };
            sql.push_str(join);
            sql.push_str(&text);
            tables.push(table);
            if position == 0 || join.starts_with(',') {
                continue;
            }
            let shared: Vec<String> = tables[position]
                .1
                .iter()
                .filter(|column| tables[..position].iter().any(|(_, columns)| columns.contains(column)))
                .cloned()
                .collect();
            if !shared.is_empty() && self.one_in(4) {
                let column = shared[self.roll(shared.len())].clone();
                sql.push_str(&format!(" USING ({})", self.spelled(&column)));
            } else if !self.one_in(4) {
                let (left, right) = (self.column(&tables[..position]), self.column(&tables[position..]));
                let more = if self.one_in(4) { format!(" and {}", self.condition(&tables)) } else { String::new() };
                sql.push_str(&format!(" ON {left} = {right}{more}"));
            }
        }
        (sql, tables)
    }

    fn table(&mut self, outer: &[Visible], taken: &[Visible]) -> (String, Visible) {
        if self.depth < 3 && self.one_in(6) {
            return self.derived(outer);
        }
        let (name, columns) = self.tables[self.dice.roll(self.tables.len())].clone();
        let is_taken = taken.iter().any(|(visible, _)| *visible == name);
        if is_taken || self.one_in(2) {
            let alias = match self.roll(6) {
                0 if !taken.iter().any(|(visible, _)| visible == "T1") => "T1".to_owned(),
                // The name of another table, or of a column.
                1 => {
                    let (table, columns) = &self.tables[self.dice.roll(self.tables.len())];
                    let alias = if self.dice.one_in(2) { table.clone() } else { columns[0].clone() };
                    if taken.iter().any(|(visible, _)| *visible == alias) { self.name() } else { alias }
                }
                _ => self.name(),
            };
            let text = format!("{} {}{}", self.spelled(&name), self.pick(&["AS ", "as "]), self.spelled(&alias));
            return (text, (alias, columns));
        }
        (self.spelled(&name), (name, columns))
    }

    /// A query in the place of a table. Its columns may have the names of others, change names with each other, or share one.
    fn derived(&mut self, outer: &[Visible]) -> (String, Visible) {
        let alias = self.name();
        if self.one_in(3) {
            // The name of its column is not known here, so only a star reaches it.
            let text = format!("({}) {}{alias}", self.query(outer, Some(1)), self.pick(&["AS ", ""]));
            return (text, (alias, Vec::new()));
        }
        self.depth += 1;
        let (from, tables) = self.from(outer);
        let (items, columns) = if self.one_in(4) {
            ("*".to_owned(), tables.iter().flat_map(|(_, columns)| columns.clone()).collect())
        } else {
            let mut items = Vec::new();
            let mut columns = Vec::new();
            for _ in 0..=self.roll(3) {
                let (table, names) = &tables[self.dice.roll(tables.len())];
                if names.is_empty() {
                    continue;
                }
                let (column, other) = (names[self.dice.roll(names.len())].clone(), &names[self.dice.roll(names.len())]);
                let (table, other) = (table.clone(), other.clone());
                let item = format!("{}.{}", self.spelled(&table), self.spelled(&column));
                let name = match self.roll(4) {
                    0 => other,
                    1 => self.name(),
                    _ => {
                        items.push(item);
                        columns.push(column);
                        continue;
                    }
                };
                items.push(format!("{item} AS {}", self.spelled(&name)));
                columns.push(name);
            }
            if items.is_empty() { ("1 AS one".to_owned(), vec!["one".to_owned()]) } else { (items.join(", "), columns) }
        };
        let mut sql = format!("SELECT {}{items} {from}", self.pick(&["", "", "", "DISTINCT "]));
        if self.one_in(3) {
            sql.push_str(&format!(" WHERE {}", self.condition(&tables)));
        }
        if self.one_in(5) {
            sql.push_str(&format!(" ORDER BY {}", self.column(&tables)));
        }
        if self.one_in(6) {
            sql.push_str(" LIMIT 3");
        }
        self.depth -= 1;
        (format!("({sql}) {}{alias}", self.pick(&["AS ", ""])), (alias, columns))
    }

    /// A name in one of its spellings.
    fn spelled(&mut self, name: &str) -> String {
        match self.roll(7) {
            1 if is_plain(name) => name.to_ascii_uppercase(),
            2 => format!("`{name}`"),
            3 => quoted(name),
            4 => format!("[{name}]"),
            _ if is_plain(name) => name.to_owned(),
            _ => quoted(name),
        }
    }

    fn column(&mut self, tables: &[Visible]) -> String {
        let named: Vec<&Visible> = tables.iter().filter(|(_, columns)| !columns.is_empty()).collect();
        if named.is_empty() {
            return "1.5".to_owned();
        }
        let (table, columns) = named[self.dice.roll(named.len())];
        let column = columns[self.dice.roll(columns.len())].clone();
        let column = self.spelled(&column);
        if tables.len() == 1 && !self.one_in(3) || self.one_in(6) {
            column
        } else {
            format!("{}.{column}", self.spelled(table))
        }
    }

    fn star(&mut self, tables: &[Visible]) -> String {
        if self.one_in(2) {
            return "*".to_owned();
        }
        let table = tables[self.dice.roll(tables.len())].0.clone();
        format!("{}.*", self.spelled(&table))
    }

    fn aggregate(&mut self, tables: &[Visible]) -> String {
        let column = self.column(tables);
        match self.roll(11) {
            0 | 1 => "COUNT(*)".to_owned(),
            2 => "count(1)".to_owned(),
            3 => format!("count(DISTINCT {column})"),
            4 => format!("count('{}')", self.roll(3)),
            5 => format!("Max({column})"),
            6 => format!("min( {column} )"),
            7 => format!("group_concat({column})"),
            8 => format!("avg({column})"),
            9 => format!("count({column})"),
            _ => format!("sum({column})"),
        }
    }

    fn literal(&mut self) -> &'static str {
        self.pick(&[
            "1",
            "2",
            "'u'",
            "'2'",
            "'V'",
            "1.0",
            "-1",
            "\"v\"",
            "'it''s'",
            "\"no such\"",
            "3e0",
            "'1'",
            "' '",
            "true",
            "FALSE",
            "0",
            "null",
            "\"u\"",
            "'u '",
        ])
    }

    fn value(&mut self, visible: &[Visible]) -> String {
        self.depth += 1;
        let kinds = if self.depth > 4 { 3 } else { 12 };
        let value = match self.roll(kinds) {
            0 | 1 => self.column(visible),
            2 => self.literal().to_owned(),
            3 => format!("({})", self.value(visible)),
            4 => {
                let (left, right) = (self.value(visible), self.value(visible));
                format!("{left} {} {right}", self.pick(&["+", "-", "*", "/", "||", "%", "&", "|"]))
            }
            5 => format!("{} {}", self.pick(&["-", "+", "~"]), self.column(visible)),
            6 => format!("lower({})", self.value(visible)),
            7 => {
                let (condition, value) = (self.condition(visible), self.value(visible));
                format!("CASE WHEN {condition} THEN {value} ELSE {} END", self.literal())
            }
            8 => format!("CAST({} AS {})", self.value(visible), self.pick(&["INTEGER", "text", "REAL", "NUMERIC"])),
            9 => {
                let (from, tables) = self.from(visible);
                format!("(SELECT {} {from})", self.aggregate(&tables))
            }
            10 => format!("({})", self.query(visible, Some(1))),
            _ => format!("coalesce({}, {})", self.value(visible), self.literal()),
        };
        self.depth -= 1;
        value
    }

    fn condition(&mut self, visible: &[Visible]) -> String {
        self.depth += 1;
        let kinds = if self.depth > 4 { 4 } else { 15 };
        let value = if self.one_in(3) { self.value(visible) } else { self.column(visible) };
        let condition = match self.roll(kinds) {
            0 | 1 => format!("{value} {} {}", self.comparison(), self.literal()),
            2 => format!("{value} {} {}", self.comparison(), self.column(visible)),
            3 => format!("{}{}{value}", self.literal(), self.comparison()),
            4 => format!("{value} {}IN ({})", self.pick(&["", "NOT "]), self.literals()),
            5 => format!("{} AND {}", self.condition(visible), self.condition(visible)),
            6 => format!("{} or {}", self.condition(visible), self.condition(visible)),
            7 => format!("({})", self.condition(visible)),
            8 => format!("NOT {}", self.condition(visible)),
            9 => format!("{value} {}", self.pick(&["IS NULL", "IS NOT NULL", "ISNULL", "NOTNULL"])),
            10 => format!("{value} {}BETWEEN {} AND {}", self.pick(&["", "not "]), self.literal(), self.literal()),
            11 => format!("{value} {}LIKE '{}'", self.pick(&["", "NOT "]), self.pick(&["%u%", "_", "V", "2%"])),
            12 => format!("{value} {}IN ({})", self.pick(&["", "NOT "]), self.query(visible, Some(1))),
            13 => value,
            _ => format!("{}EXISTS ({})", self.pick(&["", "NOT "]), self.query(visible, Some(1))),
        };
        self.depth -= 1;
        condition
    }

    fn comparison(&mut self) -> &'static str {
        self.pick(&["=", "==", "<>", "!=", "<", ">", "<=", ">="])
    }

    fn literals(&mut self) -> String {
        let literals: Vec<&str> = (0..=self.roll(3)).map(|_| self.literal()).collect();
        literals.join(", ")
    }
}
