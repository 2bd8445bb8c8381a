//! Random schemas with rows: names that are hard to read, every kind of column, key and index, and values that tie.

use crate::dice::Dice;

/// A table or view.
pub struct Table {
    pub name: String,
    pub columns: Vec<String>,
}

pub struct Schema {
    pub script: String,
    pub tables: Vec<Table>,
}

/// Names of tables: of aliases in canonical forms, of columns, keywords, and such that need quotes.
const TABLES: &[&str] = &["a", "b", "t1", "T2", "order", "two words", "true", "x", "id", "it's", "É", "match", "\"q\""];

const COLUMNS: &[&str] = &[
    "id",
    "x",
    "y",
    "name",
    "group",
    "two words",
    "true",
    "false",
    "T1",
    "a",
    "match",
    "É",
    "1st",
    "q\"q",
    "it's",
    "null",
    "rowid",
    "count",
    "u",
    "Name2",
];

const TYPES: &[&str] =
    &["INT", "TEXT", "", "REAL", "NUMERIC", "BLOB", "VARCHAR(9)", "TEXT COLLATE NOCASE", "COLLATE RTRIM"];

const VALUES: &[&str] = &[
    "1", "2", "NULL", "'u'", "'U'", "'v'", "1.0", "1.5", "'1'", "'2'", "0", "-1", "3", "'u '", "x'61'", "'a'", "2.0",
    "'x'", "''", "1e10", "'id'", "'true'",
];

pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Distinct names out of a list; SQLite does not tell their cases apart.
fn names(dice: &mut Dice<'_>, pool: &[&str], count: usize) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut at = dice.roll(pool.len());
    while found.len() < count {
        let name = pool[at % pool.len()];
        if !found.iter().any(|other| other.eq_ignore_ascii_case(name)) {
            found.push(name.to_owned());
        }
        at += 1 + dice.roll(5);
    }
    found
}

impl Schema {
    pub fn random(dice: &mut Dice<'_>) -> Self {
        let count = 2 + dice.roll(3);
        let mut schema = Self { script: String::new(), tables: Vec::new() };
        for name in names(dice, TABLES, count) {
            schema.table(dice, name);
        }
        if dice.one_in(3) {
            schema.view(dice);
        }
        if dice.one_in(4) {
            schema.script.push_str("ANALYZE;\n");
        }
        schema
    }

    fn table(&mut self, dice: &mut Dice<'_>, name: String) {
        let count = 1 + dice.roll(5);
        let columns = names(dice, COLUMNS, count);
        let has_integer_key = dice.one_in(2);
        let is_strict = dice.one_in(8);
        let mut definitions = Vec::new();
        let mut stored = Vec::new();
        for (position, column) in columns.iter().enumerate() {
            let column = quoted(column);
            if position == 0 && has_integer_key {
                definitions.push(format!("{column} INTEGER PRIMARY KEY"));
            } else if position > 1 && dice.one_in(8) {
                let kind = dice.pick(&["VIRTUAL", "STORED"]);
                let declared = if is_strict { "TEXT" } else { "" };
                definitions.push(format!("{column} {declared} AS ({} || 'u') {kind}", stored[0]));
                continue;
            } else {
                let declared = if is_strict { dice.pick(&["INT", "TEXT", "ANY"]) } else { dice.pick(TYPES) };
                let constraint = dice.pick(&["", "", "", "", "NOT NULL DEFAULT 'u'", "UNIQUE", "DEFAULT 1"]);
                definitions.push(format!("{column} {declared} {constraint}"));
            }
            stored.push(column);
        }
        let mut options = Vec::new();
        if !has_integer_key && dice.one_in(3) {
            let key = if stored.len() > 1 && dice.one_in(2) { stored[..2].join(", ") } else { stored[0].clone() };
            definitions.push(format!("PRIMARY KEY ({key})"));
            if dice.one_in(2) {
                options.push("WITHOUT ROWID");
            }
        }
        if is_strict {
            options.push("STRICT");
        }
        let table = quoted(&name);
        self.script.push_str(&format!("CREATE TABLE {table} ({}) {};\n", definitions.join(", "), options.join(", ")));
        for number in 0..dice.roll(4) {
            self.index(dice, &format!("{name} {number}"), &table, &columns);
        }
        for _ in 0..dice.roll(10) {
            let mut values: Vec<&str> = stored.iter().map(|_| dice.pick(VALUES)).collect();
            if has_integer_key {
                values[0] = "NULL";
            }
            let stored = stored.join(", ");
            // What a constraint forbids is left out.
            self.script
                .push_str(&format!("INSERT OR IGNORE INTO {table} ({stored}) VALUES ({});\n", values.join(", ")));
        }
        self.tables.push(Table { name, columns });
    }

    fn index(&mut self, dice: &mut Dice<'_>, name: &str, table: &str, columns: &[String]) {
        let unique = if dice.one_in(6) { "UNIQUE " } else { "" };
        let terms: Vec<String> = (0..=dice.roll(2))
            .map(|_| {
                let column = quoted(&columns[dice.roll(columns.len())]);
                let term = match dice.roll(8) {
                    0 => format!("lower({column})"),
                    1 => format!("{column} COLLATE NOCASE"),
                    _ => column,
                };
                format!("{term} {}", dice.pick(&["", "", "DESC"]))
            })
            .collect();
        let column = quoted(&columns[dice.roll(columns.len())]);
        let filter = match dice.roll(6) {
            0 => format!("WHERE {column} IS NOT NULL"),
            1 => format!("WHERE {column} {} {}", dice.pick(&["=", ">", "<=", "!="]), dice.pick(&["1", "'u'", "2"])),
            _ => String::new(),
        };
        let (name, terms) = (quoted(name), terms.join(", "));
        self.script.push_str(&format!("CREATE {unique}INDEX {name} ON {table} ({terms}) {filter};\n"));
    }

    fn view(&mut self, dice: &mut Dice<'_>) {
        let of = &self.tables[dice.roll(self.tables.len())];
        let columns: Vec<String> = of.columns.iter().take(2).cloned().collect();
        let list = columns.iter().map(|column| quoted(column)).collect::<Vec<_>>().join(", ");
        self.script.push_str(&format!("CREATE VIEW vw AS SELECT {list} FROM {};\n", quoted(&of.name)));
        self.tables.push(Table { name: "vw".to_owned(), columns });
    }
}
