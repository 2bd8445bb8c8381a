//! What names mean: each becomes a column of a certain table, or what an alias stands for.
//!
//! The rules are SQLite's. A name is looked for in the innermost `SELECT` first and then outwards; in each, columns come
//! before aliases. Only a name that is a whole term of `ORDER BY` means an alias before it means a column. A name in
//! double quotes that is nothing else is a string.

mod terms;

use self::terms::orders_by_several;
use super::CanonicalError;
use super::read::{Read, refuse, unsupported};
use super::schema::Schema;
use super::scope::{
    Alias, Columns, Derived, Listed, Scope, Table, is_ordinal, is_row_number, item_name, repeatable, stored,
};
use super::tree::{Expr, Item, Name, Operator, Order, PartMut, Query, Quote, Relation, Select, Unary};
use super::words::{is_plain, is_truth};

/// Most expressions that take the place of aliases in a statement: aliases of aliases grow like powers of two.
const REPLACEMENTS: usize = 200;

/// See [`Resolver::plan_bound`].
const TRUTH: &str = "TRUE where an order of rows can show";

pub(super) struct Resolver<'s> {
    schema: Option<&'s Schema>,
    pub(super) tables: Vec<Table<'s>>,
    scopes: Vec<Scope>,
    replacements: usize,
    /// Something that SQLite may plan otherwise than its canonical form, if there is any.
    pub(super) plan_bound: Option<&'static str>,
}

/// What the query around a query needs to know of it.
struct Outside<'s> {
    columns: Columns<'s>,
    /// Items whose aliases are needed inside.
    kept: Vec<usize>,
}

/// The result columns of a `SELECT`, as far as they are known, which is up to a star of an unknown table.
#[derive(Default)]
struct Listing {
    columns: Vec<Listed>,
    is_complete: bool,
}

impl<'s> Resolver<'s> {
    pub(super) fn new(schema: Option<&'s Schema>) -> Self {
        Self { schema, tables: Vec::new(), scopes: Vec::new(), replacements: 0, plan_bound: None }
    }

    /// Resolves a query that is no table, where nothing outside can refer to its aliases.
    pub(super) fn query(&mut self, query: &mut Query) -> Read<()> {
        let kept = self.arms(query)?.kept;
        strip(&mut query.arms[0].select, &kept);
        Ok(())
    }

    fn arms(&mut self, query: &mut Query) -> Read<Outside<'s>> {
        let is_compound = query.arms.len() > 1;
        let (first, others) = query.arms.split_at_mut(1);
        let outside = self.select(&mut first[0].select, &mut query.order, is_compound)?;
        for arm in others {
            let kept = self.select(&mut arm.select, &mut [], true)?.kept;
            strip(&mut arm.select, &kept);
        }
        Ok(outside)
    }

    fn select(&mut self, select: &mut Select, order: &mut [Order], is_compound: bool) -> Read<Outside<'s>> {
        let scope = self.from(select)?;
        self.scopes.push(scope);
        self.using(select)?;
        let listing = self.items(select)?;
        let aliases = select.items.iter().enumerate().filter_map(|(item, of)| match of {
            Item::Expr { expr, alias: Some(name) } => {
                Some(Alias { name: name.lower(), item, value: repeatable(expr), kept: false })
            }
            _ => None,
        });
        let aliases = aliases.collect();
        let scope = self.scope()?;
        scope.aliases = aliases;
        scope.sees_aliases = true;
        for source in &mut select.from {
            self.optional(&mut source.on)?;
        }
        self.optional(&mut select.filter)?;
        for term in &mut select.group {
            self.group_term(term, &listing)?;
        }
        self.optional(&mut select.having)?;
        for term in order {
            if is_compound {
                self.compound_order_term(&mut term.expr, &listing)?;
            } else {
                self.order_term(&mut term.expr, &listing)?;
            }
        }
        let columns = self.columns(select);
        let scope = self.scopes.pop().ok_or_else(|| unsupported("a query without scope"))?;
        let kept = scope.aliases.iter().filter(|alias| alias.kept).map(|alias| alias.item).collect();
        Ok(Outside { columns, kept })
    }

    /// The tables of a `FROM`. Queries among them see what is outside, but not each other.
    fn from(&mut self, select: &mut Select) -> Read<Scope> {
        let alone = select.from.len() == 1;
        let mut scope = Scope::default();
        for source in &mut select.from {
            let (name, columns, used) = match &mut source.relation {
                Relation::Table(name) => {
                    let columns =
                        stored(self.schema, name).ok_or_else(|| CanonicalError::UnknownTable { name: name.clone() })?;
                    (name.clone(), columns, Vec::new())
                }
                Relation::Query(query) => {
                    let Outside { columns, kept } = self.arms(query)?;
                    if orders_by_several(query) {
                        self.plan_bound = Some("ORDER BY of two columns that are one");
                    }
                    // Where not all names are known, any alias may be one that is referred to.
                    let all = if columns.is_unknown() { 0..query.arms[0].select.items.len() } else { 0..0 };
                    if columns.is_unknown() {
                        self.mark_tables(&query.arms[0].select.from.iter().map(|source| source.id).collect::<Vec<_>>());
                    }
                    (String::new(), columns, all.chain(kept).collect())
                }
            };
            source.id = self.tables.len();
            scope.tables.push(source.id);
            let visible = source.alias.take().map_or(name, |alias| alias.lower());
            self.tables.push(Table {
                visible,
                columns,
                alone,
                correlated: false,
                merged: Vec::new(),
                used,
                called: Vec::new(),
            });
        }
        Ok(scope)
    }

    /// `USING` as `ON`: of the tables before, the first that has the column.
    fn using(&mut self, select: &mut Select) -> Read<()> {
        for position in 0..select.from.len() {
            let names = std::mem::take(&mut select.from[position].using);
            let mut conditions = Vec::new();
            for name in names {
                self.plan_bound = Some("USING where an order of rows can show");
                let name = name.lower();
                let has = |table: usize| {
                    let columns = &self.tables[table].columns;
                    refuse(columns.is_unknown(), "USING without schema").map(|()| columns.position(&name).is_some())
                };
                let right = select.from[position].id;
                let mut left = None;
                for source in &select.from[..position] {
                    if left.is_none() && has(source.id)? {
                        left = Some(source.id);
                    }
                }
                let (Some(left), true) = (left, has(right)?) else {
                    return Err(CanonicalError::UnknownColumn { name });
                };
                let column = |resolver: &mut Self, table| Box::new(resolver.column(table, &name, 0));
                let (left, right_column) = (column(self, left), column(self, right));
                conditions.push(Expr::Binary(Operator::Equal, left, right_column));
                self.tables[right].merged.push(name);
            }
            if !conditions.is_empty() {
                let stars = select.items.iter().any(|item| matches!(item, Item::Star));
                refuse(stars, "a star with USING")?;
                select.from[position].on = Expr::and(conditions);
            }
        }
        Ok(())
    }

    fn items(&mut self, select: &mut Select) -> Read<Listing> {
        let mut listing = Listing { columns: Vec::new(), is_complete: true };
        let tables = self.scope()?.tables.clone();
        let mut items = Vec::with_capacity(select.items.len());
        for mut item in std::mem::take(&mut select.items) {
            if let Item::NamedStar(name) = &item {
                let mut named = tables.iter().filter(|&&table| name.is(&self.tables[table].visible));
                let (Some(&table), None) = (named.next(), named.next()) else {
                    return Err(CanonicalError::UnknownTable { name: name.text.clone() });
                };
                item = if tables.len() == 1 { Item::Star } else { Item::TableStar(table) };
            }
            match &mut item {
                Item::Expr { expr, alias } => {
                    self.expr(expr)?;
                    let name = alias.as_ref().map(Name::lower);
                    if listing.is_complete {
                        listing.columns.push(Listed { name, is_spelled_out: false, value: repeatable(expr) });
                    }
                }
                Item::Star => self.star(&mut listing, &tables),
                Item::TableStar(table) => {
                    let before = listing.columns.len();
                    self.star(&mut listing, &[*table]);
                    let expanded = listing.columns.get_mut(before..).unwrap_or_default();
                    // A star of one of several tables is spelled out: the official grammar has none.
                    if listing.is_complete && expanded.iter().all(|column| column.value.is_some()) {
                        for column in expanded {
                            column.is_spelled_out = true;
                            let Some(expr) = column.value.clone() else { continue };
                            self.mark_columns(&expr);
                            items.push(Item::Expr { expr, alias: None });
                        }
                        continue;
                    }
                    // Else the names go on being what keeps it from that.
                    self.mark_tables(&[*table]);
                }
                Item::NamedStar(_) => {}
            }
            items.push(item);
        }
        select.items = items;
        Ok(listing)
    }

    /// Lists the columns of a star.
    fn star(&mut self, listing: &mut Listing, tables: &[usize]) {
        for &table in tables {
            let Some(names) = self.tables[table].columns.names() else {
                listing.is_complete = false;
                return;
            };
            for (place, name) in names.into_iter().enumerate().filter(|_| listing.is_complete) {
                // A name means the first column that has it, and TRUE may be none.
                let means = |name: &String| !is_truth(name) && self.tables[table].columns.position(name) == Some(place);
                let value = name.clone().filter(means).map(|name| Expr::Column { table, name });
                listing.columns.push(Listed { name, is_spelled_out: false, value });
            }
        }
    }

    /// The columns of a `SELECT` whose names are resolved.
    fn columns(&self, select: &Select) -> Columns<'s> {
        let mut columns = Vec::new();
        for (position, item) in select.items.iter().enumerate() {
            match item {
                Item::Expr { expr, alias } => {
                    let name = item_name(expr, alias.as_ref());
                    columns.push(Derived { name, item: Some(position), of: None });
                }
                Item::Star => {
                    for source in &select.from {
                        let Some(names) = self.tables[source.id].columns.names() else { return Columns::Unknown };
                        let of = |index| Some((source.id, index));
                        columns.extend(names.into_iter().enumerate().map(|(index, name)| Derived {
                            name,
                            item: None,
                            of: of(index),
                        }));
                    }
                }
                Item::TableStar(_) | Item::NamedStar(_) => return Columns::Unknown,
            }
        }
        Columns::Derived(columns)
    }

    fn optional(&mut self, expr: &mut Option<Expr>) -> Read<()> {
        expr.as_mut().map_or(Ok(()), |expr| self.expr(expr))
    }

    fn expr(&mut self, expr: &mut Expr) -> Read<()> {
        if let Expr::Name { table, name } = expr {
            *expr = match table.take() {
                Some(table) => self.qualified(&table, name)?,
                None => self.bare(name)?,
            };
            return Ok(());
        }
        // SQLite reads a list of one as a comparison, but only of what is a constant before names are resolved.
        // The same goes for what is null.
        let has_one_name = match expr {
            Expr::In { list, .. } => matches!(list[..], [Expr::Name { .. }]),
            Expr::IsNull { operand, .. } => matches!(**operand, Expr::Name { .. }),
            _ => false,
        };
        for part in expr.parts_mut() {
            match part {
                PartMut::Expr(expr) => self.expr(expr)?,
                PartMut::Query(query) => self.query(query)?,
            }
        }
        let has_one_literal = match expr {
            Expr::In { list, .. } => list[0].is_literal(),
            Expr::IsNull { operand, .. } => operand.is_literal(),
            _ => false,
        };
        if has_one_name && has_one_literal {
            self.plan_bound = Some("a string in double quotes where an order of rows can show");
        }
        // `- TRUE` would become a number, and as a term of `ORDER BY` that of a column.
        refuse(matches!(expr, Expr::Unary(Unary::Minus, operand) if is_ordinal(operand)), "a sign before TRUE")
    }

    fn scope(&mut self) -> Read<&mut Scope> {
        self.scopes.last_mut().ok_or_else(|| unsupported("a name outside of all queries"))
    }

    /// `table.name`
    fn qualified(&mut self, table: &Name, name: &Name) -> Read<Expr> {
        let lower = name.lower();
        for depth in 0..self.scopes.len() {
            let mut found = Vec::new();
            for &id in &self.scopes[self.scopes.len() - 1 - depth].tables {
                let of = &self.tables[id];
                if table.is(&of.visible) {
                    refuse(is_row_number(&lower) && of.columns.position(&lower).is_none(), "the number of a row")?;
                    let made_up = name.quote != Quote::None && of.columns.may_make_up(&lower);
                    refuse(made_up, "a column without a name")?;
                    if of.columns.is_unknown() || of.columns.position(&lower).is_some() {
                        found.push(id);
                    }
                }
            }
            match found[..] {
                [] => {}
                [id] => {
                    let again = self.scopes.iter().flat_map(|scope| &scope.tables);
                    let again = again.filter(|&&other| table.is(&self.tables[other].visible)).count() > 1;
                    refuse(again && self.tables[id].columns.is_unknown(), "a name that two tables go by")?;
                    return Ok(self.column(id, &lower, depth));
                }
                _ => return Err(CanonicalError::AmbiguousColumn { name: name.text.clone() }),
            }
        }
        Err(CanonicalError::UnknownColumn { name: format!("{}.{}", table.text, name.text) })
    }

    /// A name without a table.
    fn bare(&mut self, name: &Name) -> Read<Expr> {
        let lower = name.lower();
        for depth in 0..self.scopes.len() {
            let at = self.scopes.len() - 1 - depth;
            let tables = &self.scopes[at].tables;
            if tables.iter().any(|&id| self.tables[id].columns.is_unknown()) {
                if is_truth(&lower) {
                    self.plan_bound = Some(TRUTH);
                }
                self.leave(&lower);
                let name = match name.quote {
                    Quote::Double => name.clone(),
                    Quote::Other if !is_plain(&lower) => name.clone(),
                    _ => Name { text: lower, quote: Quote::None },
                };
                return Ok(Expr::Name { table: None, name });
            }
            let has = |id: &usize| self.tables[*id].columns.position(&lower).is_some();
            refuse(is_truth(&lower) && tables.iter().any(has), "a column that is called TRUE or FALSE")?;
            let made_up = tables.iter().any(|&id| self.tables[id].columns.may_make_up(&lower));
            let mut found = tables.iter().copied().filter(has);
            if let Some(id) = found.next() {
                refuse(name.quote != Quote::None && made_up, "a column without a name")?;
                // The columns of a `USING` are one, and called by the first.
                if found.any(|id| !self.tables[id].merged.contains(&lower)) {
                    return Err(CanonicalError::AmbiguousColumn { name: name.text.clone() });
                }
                return Ok(self.column(id, &lower, depth));
            }
            refuse(is_row_number(&lower) && !tables.is_empty(), "the number of a row")?;
            refuse(name.quote != Quote::None && made_up, "a column without a name")?;
            if self.scopes[at].sees_aliases
                && let Some(alias) = self.scopes[at].alias(&lower)
            {
                return self.alias(at, alias, depth, name);
            }
        }
        match (name.quote, lower.as_str()) {
            (Quote::Double, _) => Ok(Expr::Text(name.text.clone())),
            (Quote::None, "true" | "false") => {
                self.plan_bound = Some(TRUTH);
                Ok(Expr::Number(if lower == "true" { "1" } else { "0" }.to_owned()))
            }
            _ => Err(CanonicalError::UnknownColumn { name: name.text.clone() }),
        }
    }

    /// A column that was found `depth` queries outwards.
    fn column(&mut self, table: usize, name: &str, depth: usize) -> Expr {
        self.tables[table].correlated |= depth > 0;
        self.mark(table, name);
        Expr::Column { table, name: name.to_owned() }
    }

    /// Remembers that a column of a query is called by its name, and so that its alias is needed.
    fn mark(&mut self, table: usize, name: &str) {
        let Some(position) = self.tables[table].columns.position(name) else { return };
        for before in 0..position {
            // A name that needs quotes may be one that SQLite makes up for a column before it that has none. And what a star
            // stands for may have that name too, when its alias is gone.
            let columns = &self.tables[table].columns;
            let is_of_star = matches!(columns, Columns::Derived(columns) if columns[before].of.is_some());
            if is_of_star || !is_plain(name) {
                self.mark_place(table, before);
            }
        }
        self.mark_place(table, position);
    }

    /// Keeps the names of all columns of queries among tables.
    fn mark_tables(&mut self, tables: &[usize]) {
        for &table in tables {
            if let Columns::Derived(columns) = &self.tables[table].columns {
                for position in 0..columns.len() {
                    self.mark_place(table, position);
                }
            }
        }
    }

    fn mark_place(&mut self, table: usize, position: usize) {
        let mut place = Some((table, position));
        while let Some((table, position)) = place {
            let Columns::Derived(columns) = &self.tables[table].columns else { return };
            let Some(column) = columns.get(position) else { return };
            place = column.of;
            let item = column.item;
            self.tables[table].called.push(position);
            self.tables[table].used.extend(item);
        }
    }

    /// Makes sure that a name, of which is not known what it means, goes on meaning it.
    fn leave(&mut self, name: &str) {
        for at in 0..self.scopes.len() {
            self.scopes[at].keep(name);
            for index in 0..self.scopes[at].tables.len() {
                self.mark(self.scopes[at].tables[index], name);
            }
        }
    }

    /// What the alias stands for, or the alias itself where that is not certain to mean the same in this place.
    fn alias(&mut self, scope: usize, index: usize, depth: usize, name: &Name) -> Read<Expr> {
        let alias = &mut self.scopes[scope].aliases[index];
        let fixed = |expr: &Expr| matches!(expr, Expr::Name { .. }) || depth > 0 && expr.is_aggregate();
        let movable = |value: &Expr| !value.any(&mut |expr| fixed(expr));
        let Some(value) = alias.value.clone().filter(movable) else {
            alias.kept = true;
            return Ok(Expr::Name { table: None, name: name.clone() });
        };
        self.replacements += 1;
        if self.replacements > REPLACEMENTS {
            return Err(CanonicalError::TooComplex);
        }
        if depth > 0 {
            value.any(&mut |expr| {
                if let Expr::Column { table, .. } = expr {
                    self.tables[*table].correlated = true;
                }
                false
            });
        }
        Ok(value)
    }

    fn mark_columns(&mut self, expr: &Expr) {
        expr.any(&mut |expr| {
            if let Expr::Column { table, name } = expr {
                self.mark(*table, name);
            }
            false
        });
    }
}

/// Removes the aliases of a select list but for those of some items.
pub(super) fn strip(select: &mut Select, kept: &[usize]) {
    for (position, item) in select.items.iter_mut().enumerate() {
        if let Item::Expr { alias, .. } = item
            && !kept.contains(&position)
        {
            *alias = None;
        }
    }
}
