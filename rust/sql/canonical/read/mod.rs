//! From text to tree, by the crate `sqlparser`, which nothing outside of this folder names.
//!
//! The parser accepts far more than SQLite and nests some operators in another way. Only what is taken apart here goes
//! on; everything else is an error.

mod expr;
mod guard;

use sqlparser::ast::{
    self, Distinct, GroupByExpr, JoinConstraint, JoinOperator, LimitClause, OrderByKind, OrderBySort, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, SetQuantifier, Statement, TableFactor,
};
use sqlparser::dialect::SQLiteDialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Token};

use self::guard::{syntax, tokens};
use super::CanonicalError;
use super::tree::{Arm, Item, Join, Limit, Name, Order, Query, Quote, Relation, Select, SetOperator, Source};
use super::words::{is_keyword, is_strict_keyword, is_truth};

/// How deep queries and expressions may nest to the parser, which takes about 30 kB of stack for each step.
const PARSER_DEPTH: usize = 30;

/// How deep they may nest in the tree, where operators in a row nest too.
const DEPTH: usize = 60;

pub(super) type Read<T> = Result<T, CanonicalError>;

/// The tree of a text, and how deep it is.
pub(super) fn read(sql: &str) -> Read<(Query, usize)> {
    let tokens = tokens(sql)?;
    let dialect = SQLiteDialect {};
    let mut parser = Parser::new(&dialect).with_recursion_limit(PARSER_DEPTH).with_tokens_with_locations(tokens);
    let statement = parser.parse_statement().map_err(parser_error)?;
    while parser.consume_token(&Token::SemiColon) {}
    let next = parser.peek_token();
    if next.token != Token::EOF {
        return Err(syntax(format!("`{}` behind the end of the statement", next.token), next.span.start));
    }
    match statement {
        Statement::Query(query) => {
            let mut reader = Reader { depth: 0, deepest: 0 };
            let query = reader.query(*query)?;
            Ok((query, reader.deepest))
        }
        _ => Err(unsupported("a statement that is no query")),
    }
}

/// The parser gives places only as the end of its messages.
fn parser_error(error: ParserError) -> CanonicalError {
    match error {
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => {
            let place = message.rsplit_once(" at Line: ").and_then(|(before, place)| {
                let (line, column) = place.split_once(", Column: ")?;
                Some((before.to_owned(), Location::new(line.parse().ok()?, column.parse().ok()?)))
            });
            match place {
                Some((message, place)) => syntax(message, place),
                None => syntax(message, Location::empty()),
            }
        }
        ParserError::RecursionLimitExceeded => CanonicalError::TooComplex,
    }
}

pub(super) fn unsupported(what: &str) -> CanonicalError {
    CanonicalError::Unsupported { what: what.to_owned() }
}

/// An error where something is there that has no place in the tree.
pub(super) fn refuse(is_there: bool, what: &str) -> Read<()> {
    if is_there { Err(unsupported(what)) } else { Ok(()) }
}

pub(super) struct Reader {
    depth: usize,
    /// The greatest depth so far.
    deepest: usize,
}

impl Reader {
    /// Reads something one level deeper.
    pub(super) fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<T> {
        if self.depth >= DEPTH {
            return Err(CanonicalError::TooComplex);
        }
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
        let result = read(self);
        self.depth -= 1;
        result
    }

    pub(super) fn query(&mut self, query: ast::Query) -> Read<Query> {
        self.deeper(|reader| reader.query_here(query))
    }

    fn query_here(&mut self, query: ast::Query) -> Read<Query> {
        refuse(query.with.is_some(), "WITH")?;
        let other = query.fetch.is_some()
            || !query.locks.is_empty()
            || query.for_clause.is_some()
            || query.settings.is_some()
            || query.format_clause.is_some()
            || !query.pipe_operators.is_empty();
        refuse(other, "a clause that SQLite does not have")?;
        let arms = self.arms(*query.body)?;
        let mut order = Vec::new();
        if let Some(order_by) = query.order_by {
            refuse(order_by.interpolate.is_some(), "INTERPOLATE")?;
            let OrderByKind::Expressions(terms) = order_by.kind else { return Err(unsupported("ORDER BY ALL")) };
            for term in terms {
                refuse(term.with_fill.is_some(), "WITH FILL")?;
                let descending = match term.options.sort {
                    None | Some(OrderBySort::Asc) => false,
                    Some(OrderBySort::Desc) => true,
                    Some(OrderBySort::Using(_)) => return Err(unsupported("ORDER BY ... USING")),
                };
                // The defaults are not worth writing.
                let nulls_first = term.options.nulls_first.filter(|&first| first == descending);
                order.push(Order { expr: self.expr(term.expr)?, descending, nulls_first });
            }
        }
        let limit = query.limit_clause.map(limit).transpose()?.flatten();
        Ok(Query { arms, order, limit })
    }

    /// The arms in the order of the text, which is how SQLite applies set operators; the parser lets `INTERSECT` bind
    /// more tightly.
    fn arms(&mut self, body: SetExpr) -> Read<Vec<Arm>> {
        let mut arms = Vec::new();
        let mut pending = vec![(None, body)];
        while let Some((operator, body)) = pending.pop() {
            match body {
                SetExpr::Select(select) => arms.push(Arm { operator, select: self.select(*select)? }),
                SetExpr::SetOperation { op, set_quantifier, left, right } => {
                    pending.push((Some(set_operator(op, set_quantifier)?), *right));
                    pending.push((operator, *left));
                }
                SetExpr::Query(_) => return Err(unsupported("a query in parentheses")),
                _ => return Err(unsupported("a query without SELECT")),
            }
        }
        Ok(arms)
    }

    fn select(&mut self, select: ast::Select) -> Read<Select> {
        let other = select.top.is_some()
            || !select.optimizer_hints.is_empty()
            || select.select_modifiers.is_some()
            || select.exclude.is_some()
            || select.into.is_some()
            || !select.lateral_views.is_empty()
            || select.prewhere.is_some()
            || !select.connect_by.is_empty()
            || !select.cluster_by.is_empty()
            || !select.distribute_by.is_empty()
            || !select.sort_by.is_empty()
            || select.qualify.is_some()
            || select.value_table_mode.is_some()
            || !matches!(select.flavor, ast::SelectFlavor::Standard);
        refuse(other, "a clause that SQLite does not have")?;
        refuse(!select.named_window.is_empty(), "WINDOW")?;
        let distinct = match select.distinct {
            None | Some(Distinct::All) => false,
            Some(Distinct::Distinct) => true,
            Some(Distinct::On(_)) => return Err(unsupported("DISTINCT ON")),
        };
        let items = select.projection.into_iter().map(|item| self.item(item)).collect::<Read<Vec<_>>>()?;
        refuse(items.is_empty(), "SELECT without columns")?;
        let mut from = Vec::new();
        for table in select.from {
            from.push(self.source(Join::Inner, table.relation)?);
            for join in table.joins {
                refuse(join.global, "GLOBAL JOIN")?;
                from.push(self.join(join.join_operator, join.relation)?);
            }
        }
        let filter = select.selection.map(|expr| self.expr(expr)).transpose()?;
        let GroupByExpr::Expressions(group, modifiers) = select.group_by else {
            return Err(unsupported("GROUP BY ALL"));
        };
        refuse(!modifiers.is_empty(), "GROUP BY ... WITH")?;
        let group = group.into_iter().map(|expr| self.expr(expr)).collect::<Read<Vec<_>>>()?;
        let having = select.having.map(|expr| self.expr(expr)).transpose()?;
        Ok(Select { distinct, items, from, filter, group, having })
    }

    fn item(&mut self, item: SelectItem) -> Read<Item> {
        let plain = |options: &ast::WildcardAdditionalOptions| {
            let other = options.opt_ilike.is_some()
                || options.opt_exclude.is_some()
                || options.opt_except.is_some()
                || options.opt_replace.is_some()
                || options.opt_rename.is_some()
                || options.opt_alias.is_some();
            refuse(other, "a star with options")
        };
        match item {
            SelectItem::UnnamedExpr(expr) => Ok(Item::Expr { expr: self.expr(expr)?, alias: None }),
            SelectItem::ExprWithAlias { expr, alias: name } => {
                Ok(Item::Expr { expr: self.expr(expr)?, alias: Some(alias(name, false)?) })
            }
            SelectItem::Wildcard(options) => plain(&options).map(|()| Item::Star),
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(table), options) => {
                plain(&options)?;
                Ok(Item::NamedStar(single_name(table)?))
            }
            _ => Err(unsupported("such a column in SELECT")),
        }
    }

    fn join(&mut self, operator: JoinOperator, relation: TableFactor) -> Read<Source> {
        let (join, constraint) = match operator {
            JoinOperator::Join(constraint) | JoinOperator::Inner(constraint) => (Join::Inner, constraint),
            JoinOperator::CrossJoin(constraint) => (Join::Cross, constraint),
            JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => (Join::Left, constraint),
            _ => return Err(unsupported("a join that is neither inner nor left")),
        };
        let mut source = self.source(join, relation)?;
        match constraint {
            JoinConstraint::None => {}
            JoinConstraint::On(expr) => source.on = Some(self.expr(expr)?),
            JoinConstraint::Using(columns) => {
                source.using = columns.into_iter().map(single_name).collect::<Read<Vec<_>>>()?;
            }
            JoinConstraint::Natural => return Err(unsupported("NATURAL JOIN")),
        }
        Ok(source)
    }

    fn source(&mut self, join: Join, relation: TableFactor) -> Read<Source> {
        let (relation, alias) = match relation {
            TableFactor::Table {
                name,
                alias,
                args,
                with_hints,
                version,
                with_ordinality,
                partitions,
                json_path,
                sample,
                index_hints,
            } => {
                let other = args.is_some()
                    || !with_hints.is_empty()
                    || version.is_some()
                    || with_ordinality
                    || !partitions.is_empty()
                    || json_path.is_some()
                    || sample.is_some()
                    || !index_hints.is_empty();
                refuse(other, "a table with options")?;
                (Relation::Table(single_name(name)?.lower()), alias)
            }
            TableFactor::Derived { lateral, subquery, alias, sample } => {
                refuse(lateral || sample.is_some(), "a table with options")?;
                (Relation::Query(Box::new(self.query(*subquery)?)), alias)
            }
            TableFactor::NestedJoin { .. } => return Err(unsupported("a join in parentheses")),
            _ => return Err(unsupported("such a table")),
        };
        let alias = match alias {
            None => None,
            Some(table) => {
                refuse(!table.columns.is_empty() || table.at.is_some(), "column names behind a table")?;
                Some(self::alias(table.name, table.explicit)?)
            }
        };
        Ok(Source { id: 0, join, relation, alias, on: None, using: Vec::new() })
    }
}

fn set_operator(operator: ast::SetOperator, quantifier: SetQuantifier) -> Read<SetOperator> {
    match (operator, quantifier) {
        (ast::SetOperator::Union, SetQuantifier::None) => Ok(SetOperator::Union),
        (ast::SetOperator::Union, SetQuantifier::All) => Ok(SetOperator::UnionAll),
        (ast::SetOperator::Intersect, SetQuantifier::None) => Ok(SetOperator::Intersect),
        (ast::SetOperator::Except, SetQuantifier::None) => Ok(SetOperator::Except),
        _ => Err(unsupported("such a set operator")),
    }
}

/// The number of rows and how many to skip; both spellings come out the same.
fn limit(clause: LimitClause) -> Read<Option<Limit>> {
    let (count, offset) = match clause {
        LimitClause::LimitOffset { limit, offset, limit_by } => {
            refuse(!limit_by.is_empty(), "LIMIT ... BY")?;
            let offset = match offset {
                None => None,
                Some(offset) => {
                    refuse(!matches!(offset.rows, ast::OffsetRows::None), "OFFSET ... ROWS")?;
                    Some(offset.value)
                }
            };
            (limit.ok_or_else(|| unsupported("OFFSET without LIMIT"))?, offset)
        }
        LimitClause::OffsetCommaLimit { offset, limit } => (limit, Some(offset)),
    };
    let number = |expr: ast::Expr| match expr {
        ast::Expr::Value(ast::ValueWithSpan { value: ast::Value::Number(text, false), .. })
            if text.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            Ok(text)
        }
        _ => Err(unsupported("LIMIT of something else than a number")),
    };
    // An offset of 0 stays: SQLite leaves out an optimization that can change the order of rows where there is one.
    let offset = offset.map(number).transpose()?;
    Ok(Some(Limit { count: number(count)?, offset }))
}

/// A name without a dot.
pub(super) fn single_name(name: ast::ObjectName) -> Read<Name> {
    let mut parts = name.0.into_iter();
    match (parts.next(), parts.next()) {
        (Some(ast::ObjectNamePart::Identifier(name)), None) => identifier(name),
        _ => Err(unsupported("a name with dots")),
    }
}

pub(super) fn identifier(name: ast::Ident) -> Read<Name> {
    let quote = match name.quote_style {
        None => Quote::None,
        Some('"') => Quote::Double,
        Some('`' | '[' | '\'') => Quote::Other,
        Some(_) => return Err(unsupported("such a quotation mark")),
    };
    if quote == Quote::None && is_strict_keyword(&name.value) {
        return Err(CanonicalError::Unsupported { what: format!("the keyword `{}` as a name", name.value) });
    }
    refuse(name.value.is_empty(), "an empty name")?;
    refuse(is_truth(&name.value), "a name that is TRUE or FALSE")?;
    Ok(Name { text: name.value, quote })
}

/// A new name. Unless `AS` stands before it, what the parser takes for one may be an operator to SQLite, such as `ISNULL`.
fn alias(name: ast::Ident, is_explicit: bool) -> Read<Name> {
    let name = identifier(name)?;
    if name.quote == Quote::None && !is_explicit && is_keyword(&name.text) {
        return Err(CanonicalError::Unsupported { what: format!("the keyword `{}` as a name", name.text) });
    }
    Ok(name)
}
