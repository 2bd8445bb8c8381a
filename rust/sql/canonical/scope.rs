//! What a name may mean at a place: tables, their columns, and the aliases of select lists.

use super::schema::Schema;
use super::tree::{Expr, Name, PartMut, TableId};

/// The columns of a table in a `FROM`.
#[derive(Clone, Debug)]
pub(super) enum Columns<'s> {
    /// Nothing is known of them.
    Unknown,
    /// Of a table of the schema.
    Stored(&'s [Box<str>]),
    /// Of a query.
    Derived(Vec<Derived>),
}

/// A column of a query in a `FROM`.
#[derive(Clone, Debug)]
pub(super) struct Derived {
    /// `None` where SQLite makes one up of the text of the expression.
    pub(super) name: Option<String>,
    /// The item of the query's select list that it is; `None` where it comes of a star.
    pub(super) item: Option<usize>,
    /// The column that the star stands for, where that is one of a query again.
    pub(super) of: Option<(TableId, usize)>,
}

impl Columns<'_> {
    /// The place of the first column of this name.
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        match self {
            Self::Unknown => None,
            Self::Stored(columns) => columns.iter().position(|column| **column == *name),
            Self::Derived(columns) => columns.iter().position(|column| column.name.as_deref() == Some(name)),
        }
    }

    /// Whether a name in quotes may mean a column whose name SQLite makes up: of the text of an expression, or of a name
    /// that an earlier column has.
    pub(super) fn may_make_up(&self, name: &str) -> bool {
        let Self::Derived(columns) = self else { return false };
        let found = self.position(name);
        columns.iter().take(found.unwrap_or(columns.len())).enumerate().any(|(place, column)| match &column.name {
            None => true,
            Some(name) => found.is_none() && self.position(name) != Some(place),
        })
    }

    pub(super) fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown)
    }

    /// The names of all columns, as far as they have names; `None` where nothing is known.
    pub(super) fn names(&self) -> Option<Vec<Option<String>>> {
        match self {
            Self::Unknown => None,
            Self::Stored(columns) => Some(columns.iter().map(|column| Some(String::from(&**column))).collect()),
            Self::Derived(columns) => Some(columns.iter().map(|column| column.name.clone()).collect()),
        }
    }
}

/// A table in a `FROM`, as the rest of the statement sees it.
#[derive(Clone, Debug)]
pub(super) struct Table<'s> {
    /// The name that its columns are qualified with, in small letters; empty where it has none.
    pub(super) visible: String,
    pub(super) columns: Columns<'s>,
    /// Whether it is the only one of its `FROM`.
    pub(super) alone: bool,
    /// Whether a query inside of its query refers to it.
    pub(super) correlated: bool,
    /// Columns that `USING` makes one with those of a table before it.
    pub(super) merged: Vec<String>,
    /// Of a query: the items of its select list that are referred to by name.
    pub(super) used: Vec<usize>,
    /// The columns that are referred to by name, by their places.
    pub(super) called: Vec<usize>,
}

impl Table<'_> {
    /// Whether its columns must be qualified.
    pub(super) fn is_aliased(&self) -> bool {
        !self.alone || self.correlated
    }
}

/// A `SELECT` that is being resolved.
#[derive(Debug, Default)]
pub(super) struct Scope {
    pub(super) tables: Vec<TableId>,
    pub(super) aliases: Vec<Alias>,
    /// Whether names may mean aliases here: everywhere but in the select list itself.
    pub(super) sees_aliases: bool,
}

/// An alias of a select list.
#[derive(Debug)]
pub(super) struct Alias {
    pub(super) name: String,
    pub(super) item: usize,
    /// What can be written in its place; `None` where that might be something else there.
    pub(super) value: Option<Expr>,
    /// Whether a reference to it is left.
    pub(super) kept: bool,
}

impl Scope {
    pub(super) fn alias(&self, name: &str) -> Option<usize> {
        self.aliases.iter().position(|alias| alias.name == name)
    }

    /// Leaves the alias of this name as it is, if there is one.
    pub(super) fn keep(&mut self, name: &str) {
        for alias in self.aliases.iter_mut().filter(|alias| alias.name == name) {
            alias.kept = true;
        }
    }
}

/// A column of a result, as ordinals and `ORDER BY` see it.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    /// Its alias, or the name of the column that a star stands for.
    pub(super) name: Option<String>,
    /// Whether it comes of a star that is spelled out: `ORDER BY` will not know it by that name.
    pub(super) is_spelled_out: bool,
    /// What it is; `None` where that cannot be written a second time.
    pub(super) value: Option<Expr>,
}

/// Functions that give the same for the same arguments, so that a call may be written twice.
const REPEATABLE: &[&str] = &[
    "count",
    "sum",
    "avg",
    "min",
    "max",
    "total",
    "group_concat",
    "abs",
    "round",
    "length",
    "lower",
    "upper",
    "substr",
    "trim",
    "ltrim",
    "rtrim",
    "replace",
    "instr",
    "coalesce",
    "ifnull",
    "nullif",
    "iif",
    "date",
    "time",
    "datetime",
    "julianday",
    "strftime",
    "typeof",
    "ceil",
    "floor",
    "sqrt",
    "sign",
];

/// Most nodes of an expression that takes the place of an alias.
const REPEATED: usize = 100;

/// The expression, if it may be written a second time, and as a term of `ORDER BY` too.
pub(super) fn repeatable(expr: &Expr) -> Option<Expr> {
    let mut nodes = 0;
    let hinders = expr.any(&mut |expr| {
        nodes += 1;
        match expr {
            Expr::Call { function, .. } => !REPEATABLE.contains(&function.as_str()),
            Expr::Query(_) | Expr::InQuery { .. } | Expr::Exists { .. } => true,
            _ => nodes > REPEATED,
        }
    });
    (!hinders && is_term(expr)).then(|| expr.clone())
}

/// Whether a term of `ORDER BY` or `GROUP BY` is the number of a column.
pub(super) fn is_ordinal(expr: &Expr) -> bool {
    match expr {
        Expr::Number(digits) => !digits.contains(['.', 'e']),
        Expr::Unary(_, operand) | Expr::Collate { operand, .. } => is_ordinal(operand),
        _ => false,
    }
}

/// Whether an expression means the same as a term of `ORDER BY` and `GROUP BY`: SQLite reduces others to numbers, such as
/// `1 IS NULL` and `a AND 0`, which then are the numbers of columns.
pub(super) fn is_term(expr: &Expr) -> bool {
    match expr {
        Expr::Unary(_, operand) | Expr::Collate { operand, .. } => is_term(operand),
        Expr::Column { .. }
        | Expr::Name { .. }
        | Expr::Binary(..)
        | Expr::In { .. }
        | Expr::Between { .. }
        | Expr::Like { .. }
        | Expr::Call { .. }
        | Expr::Case { .. }
        | Expr::Cast { .. } => {
            expr.any(&mut |expr| matches!(expr, Expr::Column { .. } | Expr::Name { .. }) || expr.is_aggregate())
        }
        _ => false,
    }
}

/// Names that every table has, if no column has them.
pub(super) fn is_row_number(name: &str) -> bool {
    matches!(name, "rowid" | "oid" | "_rowid_")
}

/// The name that a column of a query gets from its item.
pub(super) fn item_name(expr: &Expr, alias: Option<&Name>) -> Option<String> {
    match (expr, alias) {
        (_, Some(alias)) => Some(alias.lower()),
        (Expr::Column { name, .. }, None) => Some(name.clone()),
        (Expr::Name { name, .. }, None) => Some(name.lower()),
        (Expr::Collate { operand, .. }, None) => item_name(operand, None),
        _ => None,
    }
}

/// Whether two expressions are the same, but for names of which is not known that they are of different tables.
pub(super) fn may_be_one(one: &Expr, other: &Expr) -> bool {
    one == other || {
        let [mut one, mut other] = [one, other].map(Expr::clone);
        forget_tables(&mut one);
        forget_tables(&mut other);
        one == other
    }
}

fn forget_tables(expr: &mut Expr) {
    match expr {
        Expr::Column { table, .. } => *table = 0,
        Expr::Name { name, .. } => *expr = Expr::Column { table: 0, name: name.lower() },
        _ => {
            for part in expr.parts_mut() {
                if let PartMut::Expr(expr) = part {
                    forget_tables(expr);
                }
            }
        }
    }
}

/// The schema's columns of a table; nothing is known without a schema.
pub(super) fn stored<'s>(schema: Option<&'s Schema>, table: &str) -> Option<Columns<'s>> {
    match schema {
        None => Some(Columns::Unknown),
        Some(schema) => schema.table(table).map(|table| Columns::Stored(table.columns())),
    }
}
