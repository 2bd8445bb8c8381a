//! The tree of a query: the part of SQLite's language that has a canonical form.

/// Number of a table in a `FROM`, unique over the whole statement.
pub(super) type TableId = usize;

/// One `SELECT`, or several with set operators between them, which SQLite all applies from left to right.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Query {
    /// Never empty.
    pub(super) arms: Vec<Arm>,
    pub(super) order: Vec<Order>,
    pub(super) limit: Option<Limit>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Arm {
    /// What stands before the `SELECT`: nothing before the first.
    pub(super) operator: Option<SetOperator>,
    pub(super) select: Select,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SetOperator {
    Union,
    UnionAll,
    Intersect,
    Except,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Select {
    pub(super) distinct: bool,
    pub(super) items: Vec<Item>,
    pub(super) from: Vec<Source>,
    pub(super) filter: Option<Expr>,
    pub(super) group: Vec<Expr>,
    pub(super) having: Option<Expr>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Item {
    /// `*`
    Star,
    /// `name.*` before names are resolved.
    NamedStar(Name),
    /// `name.*` of a table whose columns are not known.
    TableStar(TableId),
    Expr {
        expr: Expr,
        /// Once names are resolved, only an alias that something still needs.
        alias: Option<Name>,
    },
}

/// A table in a `FROM`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Source {
    /// Given when names are resolved.
    pub(super) id: TableId,
    /// How it is joined to the tables before it; means nothing for the first.
    pub(super) join: Join,
    pub(super) relation: Relation,
    /// Gone once names are resolved.
    pub(super) alias: Option<Name>,
    pub(super) on: Option<Expr>,
    /// Turned into `on` when names are resolved.
    pub(super) using: Vec<Name>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Join {
    /// `JOIN`, `INNER JOIN` and the comma, which are the same to SQLite.
    Inner,
    /// `CROSS JOIN`, which forbids SQLite to change the order of the tables.
    Cross,
    Left,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Relation {
    Table(String),
    Query(Box<Query>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Order {
    pub(super) expr: Expr,
    pub(super) descending: bool,
    pub(super) nulls_first: Option<bool>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Limit {
    pub(super) count: String,
    pub(super) offset: Option<String>,
}

/// A name as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) text: String,
    pub(super) quote: Quote,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quote {
    None,
    /// Double quotes: SQLite reads such a name as a string where there is nothing of that name.
    Double,
    /// Backticks, brackets, or single quotes round an alias.
    Other,
}

impl Name {
    /// Names are the same if they differ only in the case of ASCII letters.
    pub(super) fn is(&self, other: &str) -> bool {
        self.text.eq_ignore_ascii_case(other)
    }

    pub(super) fn lower(&self) -> String {
        self.text.to_ascii_lowercase()
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expr {
    /// A name that is not resolved; afterwards only one of which is not known what it is.
    Name {
        table: Option<Name>,
        name: Name,
    },
    /// A column, its name in small letters.
    Column {
        table: TableId,
        name: String,
    },
    /// A number as it is written, perhaps with a minus before it.
    Number(String),
    /// A string without its quotes.
    Text(String),
    Null,
    Unary(Unary, Box<Expr>),
    Binary(Operator, Box<Expr>, Box<Expr>),
    /// Two or more operands, none of them an `And`.
    And(Vec<Expr>),
    /// Two or more operands, none of them an `Or`.
    Or(Vec<Expr>),
    Not(Box<Expr>),
    IsNull {
        negated: bool,
        operand: Box<Expr>,
    },
    In {
        negated: bool,
        operand: Box<Expr>,
        list: Vec<Expr>,
    },
    InQuery {
        negated: bool,
        operand: Box<Expr>,
        query: Box<Query>,
    },
    Between {
        negated: bool,
        operand: Box<Expr>,
        low: Box<Expr>,
        high: Box<Expr>,
    },
    Like {
        negated: bool,
        operand: Box<Expr>,
        pattern: Box<Expr>,
        escape: Option<Box<Expr>>,
    },
    Exists {
        negated: bool,
        query: Box<Query>,
    },
    /// A query in the place of a value.
    Query(Box<Query>),
    Call {
        /// In small letters.
        function: String,
        distinct: bool,
        arguments: Arguments,
    },
    Case {
        operand: Option<Box<Expr>>,
        /// Conditions and results.
        branches: Vec<(Expr, Expr)>,
        otherwise: Option<Box<Expr>>,
    },
    Cast {
        operand: Box<Expr>,
        kind: &'static str,
    },
    Collate {
        operand: Box<Expr>,
        collation: String,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Arguments {
    Star,
    List(Vec<Expr>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unary {
    Minus,
    Plus,
    BitNot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Glob,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    BitAnd,
    BitOr,
    Plus,
    Minus,
    Times,
    Divide,
    Remainder,
    Concatenate,
}

/// How tightly SQLite's operators bind: the loosest comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Binding {
    Or,
    And,
    Not,
    /// `=`, `!=`, `IS`, `IN`, `LIKE`, `BETWEEN`
    Equality,
    /// `<` and the like
    Order,
    Bits,
    Sum,
    Product,
    Concatenation,
    Collation,
    Sign,
    Atom,
}

impl Binding {
    /// The next tighter one.
    pub(super) fn tighter(self) -> Self {
        match self {
            Self::Or => Self::And,
            Self::And => Self::Not,
            Self::Not => Self::Equality,
            Self::Equality => Self::Order,
            Self::Order => Self::Bits,
            Self::Bits => Self::Sum,
            Self::Sum => Self::Product,
            Self::Product => Self::Concatenation,
            Self::Concatenation => Self::Collation,
            Self::Collation => Self::Sign,
            Self::Sign | Self::Atom => Self::Atom,
        }
    }
}

impl Operator {
    pub(super) fn binding(self) -> Binding {
        match self {
            Self::Equal | Self::NotEqual | Self::Glob => Binding::Equality,
            Self::Less | Self::LessEqual | Self::Greater | Self::GreaterEqual => Binding::Order,
            Self::BitAnd | Self::BitOr => Binding::Bits,
            Self::Plus | Self::Minus => Binding::Sum,
            Self::Times | Self::Divide | Self::Remainder => Binding::Product,
            Self::Concatenate => Binding::Concatenation,
        }
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Glob => "GLOB",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
            Self::BitAnd => "&",
            Self::BitOr => "|",
            Self::Plus => "+",
            Self::Minus => "-",
            Self::Times => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
            Self::Concatenate => "||",
        }
    }

    /// The comparison that is true, false and null where this one is false, true and null.
    pub(super) fn negated(self) -> Option<Self> {
        Some(match self {
            Self::Equal => Self::NotEqual,
            Self::NotEqual => Self::Equal,
            Self::Less => Self::GreaterEqual,
            Self::LessEqual => Self::Greater,
            Self::Greater => Self::LessEqual,
            Self::GreaterEqual => Self::Less,
            _ => return None,
        })
    }

    /// The comparison with its sides changed.
    pub(super) fn mirrored(self) -> Option<Self> {
        Some(match self {
            Self::Equal | Self::NotEqual => self,
            Self::Less => Self::Greater,
            Self::LessEqual => Self::GreaterEqual,
            Self::Greater => Self::Less,
            Self::GreaterEqual => Self::LessEqual,
            _ => return None,
        })
    }
}

/// What an expression directly consists of.
pub(super) enum Part<'a> {
    Expr(&'a Expr),
    Query(&'a Query),
}

/// What an expression directly consists of, to be changed.
pub(super) enum PartMut<'a> {
    Expr(&'a mut Expr),
    Query(&'a mut Query),
}

/// The same list of parts by shared and by unique reference.
macro_rules! parts {
    ($expr:expr, $part:ident, $($reference:tt)*) => {
        match $expr {
            Expr::Name { .. } | Expr::Column { .. } | Expr::Number(_) | Expr::Text(_) | Expr::Null => Vec::new(),
            Expr::Unary(_, operand)
            | Expr::Not(operand)
            | Expr::IsNull { operand, .. }
            | Expr::Cast { operand, .. }
            | Expr::Collate { operand, .. } => vec![$part::Expr(operand)],
            Expr::Binary(_, left, right) => vec![$part::Expr(left), $part::Expr(right)],
            Expr::And(operands) | Expr::Or(operands) => operands.into_iter().map($part::Expr).collect(),
            Expr::In { operand, list, .. } => {
                std::iter::once(&$($reference)* **operand).chain(list).map($part::Expr).collect()
            }
            Expr::InQuery { operand, query, .. } => vec![$part::Expr(operand), $part::Query(query)],
            Expr::Between { operand, low, high, .. } => {
                vec![$part::Expr(operand), $part::Expr(low), $part::Expr(high)]
            }
            Expr::Like { operand, pattern, escape, .. } => {
                let mut parts = vec![$part::Expr(operand), $part::Expr(pattern)];
                if let Some(escape) = escape {
                    parts.push($part::Expr(escape));
                }
                parts
            }
            Expr::Exists { query, .. } | Expr::Query(query) => vec![$part::Query(query)],
            Expr::Call { arguments: Arguments::Star, .. } => Vec::new(),
            Expr::Call { arguments: Arguments::List(list), .. } => list.into_iter().map($part::Expr).collect(),
            Expr::Case { operand, branches, otherwise } => {
                let mut parts = Vec::new();
                if let Some(operand) = operand {
                    parts.push($part::Expr(operand));
                }
                for (condition, result) in branches {
                    parts.push($part::Expr(condition));
                    parts.push($part::Expr(result));
                }
                if let Some(otherwise) = otherwise {
                    parts.push($part::Expr(otherwise));
                }
                parts
            }
        }
    };
}

impl Expr {
    pub(super) fn parts(&self) -> Vec<Part<'_>> {
        parts!(self, Part,)
    }

    pub(super) fn parts_mut(&mut self) -> Vec<PartMut<'_>> {
        parts!(self, PartMut, mut)
    }

    /// Whether this or any expression in it, but not in its queries, satisfies `wanted`.
    pub(super) fn any(&self, wanted: &mut dyn FnMut(&Expr) -> bool) -> bool {
        wanted(self)
            || self.parts().iter().any(|part| match part {
                Part::Expr(expr) => expr.any(wanted),
                Part::Query(_) => false,
            })
    }

    pub(super) fn has_query(&self) -> bool {
        self.any(&mut |expr| matches!(expr, Expr::InQuery { .. } | Expr::Exists { .. } | Expr::Query(_)))
    }

    /// A number or a string: it has neither affinity nor collation, and is not null.
    pub(super) fn is_literal(&self) -> bool {
        matches!(self, Expr::Number(_) | Expr::Text(_))
    }

    pub(super) fn and(operands: Vec<Expr>) -> Option<Expr> {
        Self::chain(operands, Expr::And, |expr| match expr {
            Expr::And(inner) => Ok(inner),
            other => Err(other),
        })
    }

    pub(super) fn or(operands: Vec<Expr>) -> Option<Expr> {
        Self::chain(operands, Expr::Or, |expr| match expr {
            Expr::Or(inner) => Ok(inner),
            other => Err(other),
        })
    }

    /// Joins operands, taking in those of the same connector; `None` where there are none.
    fn chain(
        operands: Vec<Expr>,
        connect: impl Fn(Vec<Expr>) -> Expr,
        same: impl Fn(Expr) -> Result<Vec<Expr>, Expr>,
    ) -> Option<Expr> {
        let mut flat = Vec::with_capacity(operands.len());
        for operand in operands {
            match same(operand) {
                Ok(inner) => flat.extend(inner),
                Err(other) => flat.push(other),
            }
        }
        if flat.len() < 2 { flat.pop() } else { Some(connect(flat)) }
    }
}

/// Aggregate functions of SQLite; `min` and `max` are aggregates only with one argument.
const AGGREGATES: &[&str] = &["count", "sum", "avg", "min", "max", "total", "group_concat", "string_agg"];

impl Expr {
    pub(super) fn is_aggregate(&self) -> bool {
        let Expr::Call { function, arguments, .. } = self else { return false };
        let several = matches!(arguments, Arguments::List(list) if list.len() > 1);
        AGGREGATES.contains(&function.as_str()) && !(several && matches!(function.as_str(), "min" | "max"))
    }

    pub(super) fn has_aggregate(&self) -> bool {
        self.any(&mut Expr::is_aggregate)
    }
}

impl Select {
    /// All expressions, in the order in which tables of queries in them are numbered.
    pub(super) fn expressions(&self) -> impl Iterator<Item = &Expr> {
        let items = self.items.iter().filter_map(|item| match item {
            Item::Expr { expr, .. } => Some(expr),
            _ => None,
        });
        let on = self.from.iter().filter_map(|source| source.on.as_ref());
        items.chain(on).chain(&self.filter).chain(&self.group).chain(&self.having)
    }

    pub(super) fn expressions_mut(&mut self) -> impl Iterator<Item = &mut Expr> {
        let items = self.items.iter_mut().filter_map(|item| match item {
            Item::Expr { expr, .. } => Some(expr),
            _ => None,
        });
        let on = self.from.iter_mut().filter_map(|source| source.on.as_mut());
        items.chain(on).chain(&mut self.filter).chain(&mut self.group).chain(&mut self.having)
    }
}
