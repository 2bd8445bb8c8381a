//! Which aliases stay, once it is known what all names mean.

use super::read::{Read, refuse};
use super::resolve::strip;
use super::scope::{Columns, Derived, Table, item_name};
use super::tree::{Expr, Item, Part, PartMut, Query, Relation, Select};

/// Removes the aliases of queries in `FROM` that nothing refers to.
pub(super) fn settle(query: &mut Query, tables: &[Table<'_>]) -> Read<()> {
    // Without its alias a column goes by another name, which may be what an open name would then mean.
    let settler = Settler { tables, strips: !has_names(query) };
    settler.query(query)
}

struct Settler<'a> {
    tables: &'a [Table<'a>],
    strips: bool,
}

impl Settler<'_> {
    fn query(&self, query: &mut Query) -> Read<()> {
        for arm in &mut query.arms {
            for source in &mut arm.select.from {
                if let Relation::Query(inner) = &mut source.relation {
                    let table = &self.tables[source.id];
                    if self.strips && names_stay(&inner.arms[0].select, table) {
                        strip(&mut inner.arms[0].select, &table.used);
                    }
                    self.query(inner)?;
                }
            }
            for expr in arm.select.expressions_mut() {
                self.expr(expr)?;
            }
        }
        for term in &mut query.order {
            self.expr(&mut term.expr)?;
        }
        let hidden = query.order.iter().any(|term| self.is_hidden(&term.expr, &query.arms[0].select.items));
        refuse(hidden, "ORDER BY of a column that an alias hides")
    }

    fn expr(&self, expr: &mut Expr) -> Read<()> {
        for part in expr.parts_mut() {
            match part {
                PartMut::Expr(expr) => self.expr(expr)?,
                PartMut::Query(query) => self.query(query)?,
            }
        }
        Ok(())
    }

    /// Whether a term is a column that is written like an alias of something else.
    fn is_hidden(&self, term: &Expr, items: &[Item]) -> bool {
        match term {
            Expr::Collate { operand, .. } => self.is_hidden(operand, items),
            Expr::Column { table, name } if !self.tables[*table].is_aliased() => items.iter().any(|item| match item {
                Item::Expr { expr, alias: Some(alias) } => alias.is(name) && expr != term,
                _ => false,
            }),
            _ => false,
        }
    }
}

/// Whether each name that a query in `FROM` is asked for goes on meaning the same column, the first that has it, when the
/// aliases of all others are gone: what they stood for may have that name too.
fn names_stay(select: &Select, table: &Table<'_>) -> bool {
    let Columns::Derived(columns) = &table.columns else { return true };
    let name = |column: &Derived| match column.item.map(|item| (item, &select.items[item])) {
        Some((item, Item::Expr { expr, .. })) if !table.used.contains(&item) => item_name(expr, None),
        _ => column.name.clone(),
    };
    let names: Vec<Option<String>> = columns.iter().map(name).collect();
    table.called.iter().all(|&place| {
        let name = &columns[place].name;
        columns.iter().position(|column| column.name == *name) == names.iter().position(|other| other == name)
    })
}

/// Whether there are names of which is not known what they mean, or that mean an alias.
fn has_names(query: &Query) -> bool {
    let in_arms = query.arms.iter().any(|arm| {
        arm.select.expressions().any(has_names_in)
            || arm.select.from.iter().any(|source| match &source.relation {
                Relation::Table(_) => false,
                Relation::Query(query) => has_names(query),
            })
    });
    in_arms || query.order.iter().any(|term| has_names_in(&term.expr))
}

fn has_names_in(expr: &Expr) -> bool {
    matches!(expr, Expr::Name { .. })
        || expr.parts().iter().any(|part| match part {
            Part::Expr(expr) => has_names_in(expr),
            Part::Query(query) => has_names(query),
        })
}
