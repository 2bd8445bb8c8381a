//! Terms of `GROUP BY` and `ORDER BY`, which may also be the number, the alias or the expression of a result column.

use super::super::read::{Read, refuse};
use super::super::scope::{Listed, is_ordinal, is_term, item_name, may_be_one};
use super::super::tree::{Expr, Item, Query, Quote};
use super::{Listing, Resolver};

impl Resolver<'_> {
    /// Whether a term of `GROUP BY` or `ORDER BY` was the number of a column, and if so, what it became.
    fn ordinal(&mut self, term: &mut Expr, listing: &Listing) -> bool {
        let Expr::Number(digits) = &*term else { return false };
        if !is_ordinal(term) {
            return false;
        }
        let column = digits.parse::<usize>().ok().and_then(|number| listing.columns.get(number.checked_sub(1)?));
        let value = column.and_then(|column| column.value.clone());
        if value.is_none()
            && let Some(scope) = self.scopes.last()
        {
            // What keeps a column from being called by its name is that of another, which must stay.
            self.mark_tables(&scope.tables.clone());
        }
        if let Some(value) = value.filter(|value| !self.is_captured(value, listing)) {
            self.mark_columns(&value);
            *term = value;
        }
        true
    }

    pub(super) fn group_term(&mut self, term: &mut Expr, listing: &Listing) -> Read<()> {
        if self.ordinal(term, listing) {
            return Ok(());
        }
        self.term(term)
    }

    /// Resolves a term; where it is an alias of what can be no term, the alias stays.
    fn term(&mut self, term: &mut Expr) -> Read<()> {
        let before = term.clone();
        self.expr(term)?;
        refuse(is_ordinal(term) && matches!(before, Expr::Collate { .. }), "ORDER BY of TRUE with a collation")?;
        if let Expr::Name { name, .. } = &before
            && !is_term(term)
        {
            let name = name.lower();
            self.scope()?.keep(&name);
            *term = before;
            return Ok(());
        }
        // A string in double quotes is a name to SQLite while it looks for numbers, one in single quotes is none.
        let strings = |expr: &Expr| {
            let mut strings = 0;
            expr.any(&mut |expr| {
                strings += usize::from(matches!(expr, Expr::Text(_)));
                false
            });
            strings
        };
        let turned = strings(term) > strings(&before);
        refuse(turned && !is_term(term), "ORDER BY of a string in double quotes")
    }

    pub(super) fn order_term(&mut self, term: &mut Expr, listing: &Listing) -> Read<()> {
        if !self.ordinal(term, listing) && !self.listed(term, listing)? {
            self.term(term)?;
        }
        // With a collation, SQLite knows a result column by its name, but not by its expression.
        if let Expr::Collate { operand, .. } = &*term {
            let is_named = |column: &Listed| {
                column.name.is_some()
                    && !column.is_spelled_out
                    && match &column.value {
                        Some(value) => may_be_one(value, operand),
                        None => column.name == item_name(operand, None),
                    }
            };
            if !listing.is_complete || listing.columns.iter().any(is_named) {
                self.plan_bound = Some("ORDER BY of a result column with a collation");
            }
        }
        Ok(())
    }

    /// Whether a whole term of `ORDER BY`, but for its collation, is the name of a result column, and if so, what it
    /// became.
    fn listed(&mut self, term: &mut Expr, listing: &Listing) -> Read<bool> {
        if let Expr::Collate { operand, .. } = term {
            return self.listed(operand, listing);
        }
        let Expr::Name { table: None, name } = &*term else { return Ok(false) };
        let lower = name.lower();
        let column = listing.columns.iter().find(|column| column.name.as_deref() == Some(&lower));
        let value = column.and_then(|column| column.value.clone()).filter(|value| !self.is_captured(value, listing));
        if let Some(value) = value {
            self.mark_columns(&value);
            *term = value;
            return Ok(true);
        }
        if column.is_none() && listing.is_complete {
            return Ok(false);
        }
        self.leave(&lower);
        Ok(true)
    }

    /// Whether an expression is a name of which is not known what it means, and which `ORDER BY` would take for an alias;
    /// that alias then stays, so that the next look at the query sees the same.
    fn is_captured(&mut self, expr: &Expr, listing: &Listing) -> bool {
        let (name, quote) = match expr {
            Expr::Collate { operand, .. } => return self.is_captured(operand, listing),
            Expr::Name { name, .. } => (name.lower(), name.quote),
            _ => return false,
        };
        let other = |value: Option<&Expr>| match value {
            Some(value @ Expr::Name { .. }) => value != expr,
            // The only table's column of that name: the same as the name by itself, unless that may be a string.
            Some(Expr::Column { table, name: value }) => {
                *value != name || self.tables[*table].is_aliased() || quote == Quote::Double
            }
            _ => true,
        };
        let Some(scope) = self.scopes.last() else { return false };
        let is_alias = scope.aliases.iter().any(|alias| alias.name == name && other(alias.value.as_ref()));
        let is_listed = |column: &Listed| {
            !column.is_spelled_out && column.name.as_ref() == Some(&name) && other(column.value.as_ref())
        };
        let is_captured = is_alias || listing.columns.iter().any(is_listed);
        if is_captured && let Some(scope) = self.scopes.last_mut() {
            scope.keep(&name);
        }
        is_captured
    }

    /// In a query of several arms a term must be a result column. SQLite takes the first column of the first arm that has
    /// it, and sees nothing outside of that arm.
    pub(super) fn compound_order_term(&mut self, term: &mut Expr, listing: &Listing) -> Read<()> {
        let is = |value: &Expr, column: &Listed| column.value.as_ref().is_some_and(|other| may_be_one(value, other));
        let first = |value: &Expr| listing.columns.iter().position(|column| is(value, column));
        let (place, name) = match &*term {
            Expr::Number(digits) => (digits.parse().ok().and_then(|number: usize| number.checked_sub(1)), None),
            Expr::Name { table: None, name } => {
                let name = name.lower();
                (listing.columns.iter().position(|column| column.name.as_deref() == Some(&name)), Some(name))
            }
            _ => (None, None),
        };
        let value = place.and_then(|place| listing.columns.get(place)).and_then(|column| column.value.clone());
        let value =
            value.filter(|value| first(value) == place && self.is_local(value) && !self.is_captured(value, listing));
        match (value, name) {
            (Some(value), _) => {
                self.mark_columns(&value);
                *term = value;
                Ok(())
            }
            (None, Some(name)) if place.is_some() || !listing.is_complete => {
                self.leave(&name);
                Ok(())
            }
            _ if is_ordinal(term) => Ok(()),
            _ => {
                self.term(term)?;
                let is_listed = listing.columns.iter().any(|column| column.value.as_ref() == Some(&*term));
                refuse(!is_listed, "ORDER BY of something that the first SELECT does not select")
            }
        }
    }

    /// Whether all columns of an expression are known to be of the innermost `SELECT`.
    fn is_local(&self, expr: &Expr) -> bool {
        let tables = self.scopes.last().map_or(&[][..], |scope| &scope.tables);
        !expr.any(&mut |expr| match expr {
            Expr::Column { table, .. } => !tables.contains(table),
            Expr::Name { .. } => true,
            _ => false,
        })
    }
}

/// Whether a term of `ORDER BY` is more than one of the result columns: SQLite takes the first for its alias, and the last
/// for its expression, when it looks for an order that the query around it can use.
pub(super) fn orders_by_several(query: &Query) -> bool {
    let items = &query.arms[0].select.items;
    let is = |term: &Expr, item: &&Item| matches!(item, Item::Expr { expr, .. } if may_be_one(expr, term));
    query.order.iter().any(|term| items.iter().filter(|item| is(&term.expr, item)).count() > 1)
}
