//! From tree to text: one space between tokens, keywords in capitals, everything else in small letters.

use std::collections::HashSet;
use std::fmt::Write;

use super::schema::Schema;
use super::scope::Table;
use super::tree::{
    Arguments, Binding, Expr, Item, Join, Name, Operator, Order, Part, Query, Quote, Relation, Select, SetOperator,
    Unary,
};
use super::words::{is_keyword, is_plain};

/// The text of a query.
pub(super) fn print(query: &Query, tables: &[Table<'_>], schema: Option<&Schema>) -> String {
    let mut numbers = Numbers { of: vec![None; tables.len()], last: 0, taken: HashSet::new(), tables };
    if let Some(schema) = schema {
        for table in schema.tables() {
            numbers.take(table.name());
        }
    } else {
        numbers.take_tables(query);
    }
    numbers.query(query);
    let numbers = &numbers.of;
    let mut printer = Printer { out: String::with_capacity(256), numbers, has_schema: schema.is_some() };
    printer.query(query);
    printer.out
}

/// The numbers `n` of the aliases `Tn`, counted over the whole statement: to the official grammar an alias means the
/// same everywhere. They leave out the names of tables, which it does not allow as aliases.
struct Numbers<'a> {
    of: Vec<Option<usize>>,
    last: usize,
    taken: HashSet<usize>,
    tables: &'a [Table<'a>],
}

impl Numbers<'_> {
    fn take(&mut self, table: &str) {
        if let Some(number) = table.strip_prefix('t').and_then(|digits| digits.parse().ok()) {
            self.taken.insert(number);
        }
    }

    fn take_tables(&mut self, query: &Query) {
        for arm in &query.arms {
            for source in &arm.select.from {
                match &source.relation {
                    Relation::Table(name) => self.take(name),
                    Relation::Query(query) => self.take_tables(query),
                }
            }
            for expr in arm.select.expressions() {
                self.take_in(expr);
            }
        }
    }

    fn take_in(&mut self, expr: &Expr) {
        for part in expr.parts() {
            match part {
                Part::Expr(expr) => self.take_in(expr),
                Part::Query(query) => self.take_tables(query),
            }
        }
    }

    fn query(&mut self, query: &Query) {
        for arm in &query.arms {
            for source in &arm.select.from {
                if self.tables[source.id].is_aliased() {
                    self.last += 1;
                    while self.taken.contains(&self.last) {
                        self.last += 1;
                    }
                    self.of[source.id] = Some(self.last);
                }
            }
            for source in &arm.select.from {
                if let Relation::Query(query) = &source.relation {
                    self.query(query);
                }
            }
            for expr in arm.select.expressions() {
                self.expr(expr);
            }
        }
        for term in &query.order {
            self.expr(&term.expr);
        }
    }

    fn expr(&mut self, expr: &Expr) {
        for part in expr.parts() {
            match part {
                Part::Expr(expr) => self.expr(expr),
                Part::Query(query) => self.query(query),
            }
        }
    }
}

struct Printer<'a> {
    out: String,
    numbers: &'a [Option<usize>],
    has_schema: bool,
}

impl Printer<'_> {
    fn text(&mut self, text: &str) {
        self.out.push_str(text);
    }

    fn separated<T>(&mut self, list: &[T], separator: &str, mut print: impl FnMut(&mut Self, &T)) {
        for (index, element) in list.iter().enumerate() {
            if index > 0 {
                self.text(separator);
            }
            print(self, element);
        }
    }

    fn query(&mut self, query: &Query) {
        for arm in &query.arms {
            self.text(match arm.operator {
                None => "",
                Some(SetOperator::Union) => " UNION ",
                Some(SetOperator::UnionAll) => " UNION ALL ",
                Some(SetOperator::Intersect) => " INTERSECT ",
                Some(SetOperator::Except) => " EXCEPT ",
            });
            self.select(&arm.select);
        }
        if !query.order.is_empty() {
            self.text(" ORDER BY ");
            self.separated(&query.order, " , ", Self::order);
        }
        if let Some(limit) = &query.limit {
            self.text(" LIMIT ");
            self.text(&limit.count);
            if let Some(offset) = &limit.offset {
                self.text(" OFFSET ");
                self.text(offset);
            }
        }
    }

    fn order(&mut self, term: &Order) {
        self.expr(&term.expr, Binding::Or);
        if term.descending {
            self.text(" DESC");
        }
        match term.nulls_first {
            None => {}
            Some(true) => self.text(" NULLS FIRST"),
            Some(false) => self.text(" NULLS LAST"),
        }
    }

    fn select(&mut self, select: &Select) {
        self.text(if select.distinct { "SELECT DISTINCT " } else { "SELECT " });
        self.separated(&select.items, " , ", Self::item);
        for (index, source) in select.from.iter().enumerate() {
            self.text(match (index, source.join) {
                (0, _) => " FROM ",
                (_, Join::Inner) => " JOIN ",
                (_, Join::Cross) => " CROSS JOIN ",
                (_, Join::Left) => " LEFT JOIN ",
            });
            match &source.relation {
                Relation::Table(name) => self.identifier(name),
                Relation::Query(query) => self.nested(query),
            }
            if let Some(number) = self.numbers[source.id] {
                self.formatted(format_args!(" AS T{number}"));
            }
            self.clause(" ON ", source.on.as_ref());
        }
        self.clause(" WHERE ", select.filter.as_ref());
        if !select.group.is_empty() {
            self.text(" GROUP BY ");
            self.separated(&select.group, " , ", |printer, term| printer.expr(term, Binding::Or));
        }
        self.clause(" HAVING ", select.having.as_ref());
    }

    fn item(&mut self, item: &Item) {
        match item {
            Item::Star | Item::NamedStar(_) => self.text("*"),
            Item::TableStar(table) => {
                self.qualifier(*table);
                self.text("*");
            }
            Item::Expr { expr, alias } => {
                self.expr(expr, Binding::Or);
                if let Some(alias) = alias {
                    self.text(" AS ");
                    // The parser does not tell whether `AS` stood before it, and takes no keyword without it.
                    if is_keyword(&alias.text) {
                        self.quoted(&alias.lower(), '"');
                    } else {
                        self.identifier(&alias.lower());
                    }
                }
            }
        }
    }

    fn clause(&mut self, keyword: &str, condition: Option<&Expr>) {
        if let Some(condition) = condition {
            self.text(keyword);
            self.expr(condition, Binding::Or);
        }
    }

    fn formatted(&mut self, arguments: std::fmt::Arguments<'_>) {
        // Writing into a string cannot fail.
        let _ = self.out.write_fmt(arguments);
    }

    fn nested(&mut self, query: &Query) {
        self.text("(");
        self.query(query);
        self.text(")");
    }

    fn qualifier(&mut self, table: usize) {
        if let Some(number) = self.numbers[table] {
            self.formatted(format_args!("T{number}."));
        }
    }

    fn identifier(&mut self, name: &str) {
        if is_plain(name) {
            self.text(name);
        } else {
            self.quoted(name, '"');
        }
    }

    fn quoted(&mut self, text: &str, quote: char) {
        self.out.push(quote);
        for c in text.chars() {
            if c == quote {
                self.out.push(quote);
            }
            self.out.push(c);
        }
        self.out.push(quote);
    }

    /// An expression, in parentheses unless its operator binds at least as tightly as `least`.
    ///
    /// Other parsers, the one here among them, read `~ a * b` and `- a COLLATE x` otherwise than SQLite.
    fn expr(&mut self, expr: &Expr, least: Binding) {
        let is_loose = match expr {
            Expr::Unary(Unary::BitNot, _) => least > Binding::Sum,
            Expr::Unary(..) => least >= Binding::Collation,
            _ => false,
        };
        if binding(expr) < least || is_loose && least != Binding::Sign {
            self.text("(");
            self.bare(expr);
            self.text(")");
        } else {
            self.bare(expr);
        }
    }

    fn bare(&mut self, expr: &Expr) {
        match expr {
            Expr::Name { name, .. } => self.name(name),
            // By itself, and where columns are not known, one in double quotes may be a string.
            Expr::Column { table, name } if !self.has_schema && self.numbers[*table].is_none() && !is_plain(name) => {
                self.quoted(name, '`');
            }
            Expr::Column { table, name } => {
                self.qualifier(*table);
                self.identifier(name);
            }
            Expr::Number(text) => self.text(text),
            Expr::Text(text) => self.quoted(text, '\''),
            Expr::Null => self.text("NULL"),
            Expr::Unary(operator, operand) => {
                // Two signs without a space would be a comment.
                self.text(match operator {
                    Unary::Minus => "- ",
                    Unary::Plus => "+ ",
                    Unary::BitNot => "~ ",
                });
                self.expr(operand, Binding::Sign);
            }
            Expr::Binary(operator, left, right) => {
                let (least_left, least_right) = operands_of(*operator, left);
                self.expr(left, least_left);
                self.text(" ");
                self.text(operator.text());
                self.text(" ");
                self.expr(right, least_right);
            }
            Expr::And(operands) => {
                self.separated(operands, " AND ", |printer, operand| printer.expr(operand, Binding::Not));
            }
            Expr::Or(operands) => {
                self.separated(operands, " OR ", |printer, operand| printer.expr(operand, Binding::And));
            }
            Expr::Not(operand) => {
                self.text("NOT ");
                self.expr(operand, Binding::Not);
            }
            Expr::IsNull { negated, operand } => {
                self.expr(operand, Binding::Bits);
                self.text(if *negated { " IS NOT NULL" } else { " IS NULL" });
            }
            Expr::In { negated, operand, list } => {
                self.operator(operand, *negated, "IN ");
                self.list(list);
            }
            Expr::InQuery { negated, operand, query } => {
                self.operator(operand, *negated, "IN ");
                self.nested(query);
            }
            Expr::Between { negated, operand, low, high } => {
                self.operator(operand, *negated, "BETWEEN ");
                self.expr(low, Binding::Bits);
                self.text(" AND ");
                self.expr(high, Binding::Bits);
            }
            Expr::Like { negated, operand, pattern, escape } => {
                self.operator(operand, *negated, "LIKE ");
                self.expr(pattern, Binding::Bits);
                if let Some(escape) = escape {
                    self.text(" ESCAPE ");
                    self.expr(escape, Binding::Atom);
                }
            }
            Expr::Exists { negated, query } => {
                self.text(if *negated { "NOT EXISTS " } else { "EXISTS " });
                self.nested(query);
            }
            Expr::Query(query) => self.nested(query),
            other => self.call(other),
        }
    }

    fn call(&mut self, expr: &Expr) {
        match expr {
            Expr::Call { function, distinct, arguments } => {
                self.text(function);
                match arguments {
                    Arguments::Star => self.text("(*)"),
                    Arguments::List(list) if *distinct => {
                        self.text("(DISTINCT ");
                        self.separated(list, " , ", |printer, argument| printer.expr(argument, Binding::Or));
                        self.text(")");
                    }
                    Arguments::List(list) => self.list(list),
                }
            }
            Expr::Case { operand, branches, otherwise } => {
                self.text("CASE");
                self.clause(" ", operand.as_deref());
                for (condition, result) in branches {
                    self.clause(" WHEN ", Some(condition));
                    self.clause(" THEN ", Some(result));
                }
                self.clause(" ELSE ", otherwise.as_deref());
                self.text(" END");
            }
            Expr::Cast { operand, kind } => {
                self.text("CAST(");
                self.expr(operand, Binding::Or);
                self.formatted(format_args!(" AS {kind})"));
            }
            Expr::Collate { operand, collation } => {
                self.expr(operand, Binding::Collation);
                self.text(" COLLATE ");
                self.identifier(collation);
            }
            _ => {}
        }
    }

    fn operator(&mut self, operand: &Expr, negated: bool, operator: &str) {
        self.expr(operand, Binding::Bits);
        self.text(if negated { " NOT " } else { " " });
        self.text(operator);
    }

    fn list(&mut self, list: &[Expr]) {
        self.text("(");
        self.separated(list, " , ", |printer, element| printer.expr(element, Binding::Or));
        self.text(")");
    }

    /// A name of which is not known what it means. In double quotes it may be a string, where every letter counts; in
    /// others it is none.
    fn name(&mut self, name: &Name) {
        match name.quote {
            Quote::None => self.text(&name.text.to_ascii_lowercase()),
            Quote::Double => self.quoted(&name.text, '"'),
            Quote::Other => self.quoted(&name.text.to_ascii_lowercase(), '`'),
        }
    }
}

fn binding(expr: &Expr) -> Binding {
    match expr {
        Expr::Or(_) => Binding::Or,
        Expr::And(_) => Binding::And,
        Expr::Not(_) | Expr::Exists { negated: true, .. } => Binding::Not,
        Expr::IsNull { .. } | Expr::In { .. } | Expr::InQuery { .. } | Expr::Between { .. } | Expr::Like { .. } => {
            Binding::Equality
        }
        Expr::Binary(operator, ..) => operator.binding(),
        Expr::Collate { .. } => Binding::Collation,
        Expr::Unary(..) => Binding::Sign,
        Expr::Number(text) if text.starts_with('-') => Binding::Sign,
        _ => Binding::Atom,
    }
}

/// How tightly the operands of an operator must bind to need no parentheses.
///
/// By SQLite's rules less would do in places, but other parsers, the one here among them, disagree on those.
fn operands_of(operator: Operator, left: &Expr) -> (Binding, Binding) {
    let binding = operator.binding();
    match (binding, left) {
        (Binding::Equality, Expr::Binary(..)) => (binding, Binding::Bits),
        (Binding::Equality | Binding::Order, _) => (Binding::Order, Binding::Bits),
        (Binding::Bits, Expr::Binary(same, ..)) if *same == operator => (binding, Binding::Sum),
        (Binding::Bits, _) => (Binding::Sum, Binding::Sum),
        (Binding::Product, _) => (binding, Binding::Collation),
        _ => (binding, binding.tighter()),
    }
}
