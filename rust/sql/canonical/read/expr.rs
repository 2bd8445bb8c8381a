//! Expressions of the parser to expressions of the tree.
//!
//! The parser's operators bind other than SQLite's (`a = b < c`, `a * b || c`). Each operand that stands without
//! parentheses is therefore checked against SQLite's own table: where both agree at every node, the trees are the same.

use sqlparser::ast::{
    self, BinaryOperator, CeilFloorKind, DuplicateTreatment, FunctionArg, FunctionArgExpr, FunctionArguments,
    UnaryOperator, Value, ValueWithSpan,
};

use super::super::CanonicalError;
use super::super::tree::{Arguments, Binding, Expr, Name, Operator, Quote, Unary};
use super::{Read, Reader, identifier, refuse, single_name, unsupported};

impl Reader {
    pub(super) fn expr(&mut self, expr: ast::Expr) -> Read<Expr> {
        self.operand(expr, Binding::Or)
    }

    /// An operand whose own operator must bind at least as tightly as `least` for SQLite to see it as one.
    fn operand(&mut self, expr: ast::Expr, least: Binding) -> Read<Expr> {
        if binding(&expr)? < least {
            return Err(unsupported("operators that bind differently in other dialects"));
        }
        self.deeper(|reader| reader.expr_here(expr))
    }

    fn boxed(&mut self, expr: ast::Expr, least: Binding) -> Read<Box<Expr>> {
        self.operand(expr, least).map(Box::new)
    }

    fn expr_here(&mut self, expr: ast::Expr) -> Read<Expr> {
        match expr {
            ast::Expr::Identifier(name) => {
                let name = identifier(name)?;
                let now = ["current_date", "current_time", "current_timestamp"];
                refuse(name.quote == Quote::None && now.iter().any(|word| name.is(word)), "the current time")?;
                Ok(Expr::Name { table: None, name })
            }
            ast::Expr::CompoundIdentifier(parts) => {
                let mut parts = parts.into_iter();
                match (parts.next(), parts.next(), parts.next()) {
                    (Some(table), Some(name), None) => {
                        Ok(Expr::Name { table: Some(identifier(table)?), name: identifier(name)? })
                    }
                    _ => Err(unsupported("a name of more than two parts")),
                }
            }
            ast::Expr::Nested(inner) => self.expr(*inner),
            ast::Expr::Value(ValueWithSpan { value, .. }) => literal(value),
            ast::Expr::BinaryOp { left, op, right } => self.binary(*left, &op, *right),
            ast::Expr::UnaryOp { op, expr } => self.unary(op, *expr),
            ast::Expr::IsNull(operand) => self.is_null(*operand, false),
            ast::Expr::IsNotNull(operand) => self.is_null(*operand, true),
            ast::Expr::InList { expr, list, negated } => {
                refuse(list.is_empty(), "an empty list")?;
                let operand = self.boxed(*expr, Binding::Order)?;
                let list = list.into_iter().map(|expr| self.expr(expr)).collect::<Read<Vec<_>>>()?;
                // SQLite may read `IN ((SELECT ...))` as `IN (SELECT ...)`.
                refuse(list.iter().any(Expr::has_query), "a query in a list")?;
                Ok(Expr::In { negated, operand, list })
            }
            ast::Expr::InSubquery { expr, subquery, negated } => Ok(Expr::InQuery {
                negated,
                operand: self.boxed(*expr, Binding::Order)?,
                query: Box::new(self.query(*subquery)?),
            }),
            ast::Expr::Between { expr, negated, low, high } => Ok(Expr::Between {
                negated,
                operand: self.boxed(*expr, Binding::Order)?,
                low: self.boxed(*low, Binding::Order)?,
                high: self.boxed(*high, Binding::Order)?,
            }),
            ast::Expr::Like { negated, any, expr, pattern, escape_char } => {
                refuse(any, "LIKE ANY")?;
                Ok(Expr::Like {
                    negated,
                    operand: self.boxed(*expr, Binding::Order)?,
                    pattern: self.boxed(*pattern, Binding::Order)?,
                    escape: escape_char.map(|escape| self.boxed(*escape, Binding::Atom)).transpose()?,
                })
            }
            ast::Expr::Exists { subquery, negated } => {
                Ok(Expr::Exists { negated, query: Box::new(self.query(*subquery)?) })
            }
            ast::Expr::Subquery(query) => Ok(Expr::Query(Box::new(self.query(*query)?))),
            ast::Expr::Case { operand, conditions, else_result, .. } => {
                let operand = operand.map(|operand| self.boxed(*operand, Binding::Or)).transpose()?;
                let branches = conditions
                    .into_iter()
                    .map(|branch| Ok((self.expr(branch.condition)?, self.expr(branch.result)?)))
                    .collect::<Read<Vec<_>>>()?;
                let otherwise = else_result.map(|expr| self.boxed(*expr, Binding::Or)).transpose()?;
                Ok(Expr::Case { operand, branches, otherwise })
            }
            ast::Expr::Cast { kind: ast::CastKind::Cast, expr, data_type, format: None } => {
                let kind = cast_kind(&data_type)?;
                Ok(Expr::Cast { operand: self.boxed(*expr, Binding::Or)?, kind })
            }
            ast::Expr::Collate { expr, collation } => Ok(Expr::Collate {
                operand: self.boxed(*expr, Binding::Collation)?,
                collation: single_name(collation)?.lower(),
            }),
            other => self.function(other),
        }
    }

    fn binary(&mut self, left: ast::Expr, operator: &BinaryOperator, right: ast::Expr) -> Read<Expr> {
        if matches!(operator, BinaryOperator::And | BinaryOperator::Or) {
            return self.connected(left, operator, right);
        }
        let operator = plain_operator(operator)?;
        let binding = operator.binding();
        let left = self.boxed(left, binding)?;
        Ok(Expr::Binary(operator, left, self.boxed(right, binding.tighter())?))
    }

    /// A chain of `AND` or of `OR`, whose length must not become depth.
    fn connected(&mut self, left: ast::Expr, operator: &BinaryOperator, right: ast::Expr) -> Read<Expr> {
        let binding = if *operator == BinaryOperator::And { Binding::And } else { Binding::Or };
        let mut operands = vec![self.operand(right, binding.tighter())?];
        let mut rest = left;
        loop {
            match rest {
                ast::Expr::BinaryOp { left, op, right } if op == *operator => {
                    operands.push(self.operand(*right, binding.tighter())?);
                    rest = *left;
                }
                first => {
                    operands.push(self.operand(first, binding)?);
                    break;
                }
            }
        }
        operands.reverse();
        let chain = if binding == Binding::And { Expr::and(operands) } else { Expr::or(operands) };
        chain.ok_or_else(|| unsupported("a connector without operands"))
    }

    fn unary(&mut self, operator: UnaryOperator, operand: ast::Expr) -> Read<Expr> {
        let operator = match operator {
            UnaryOperator::Not => return Ok(Expr::Not(self.boxed(operand, Binding::Not)?)),
            UnaryOperator::Minus => Unary::Minus,
            UnaryOperator::Plus => Unary::Plus,
            UnaryOperator::BitwiseNot => Unary::BitNot,
            _ => return Err(unsupported("an operator that SQLite does not have")),
        };
        match (operator, self.operand(operand, Binding::Sign)?) {
            (Unary::Minus, Expr::Number(digits)) if !digits.starts_with('-') => Ok(Expr::Number(format!("-{digits}"))),
            (_, operand) => Ok(Expr::Unary(operator, Box::new(operand))),
        }
    }

    fn is_null(&mut self, operand: ast::Expr, negated: bool) -> Read<Expr> {
        Ok(Expr::IsNull { negated, operand: self.boxed(operand, Binding::Order)? })
    }

    /// Calls, some of which the parser knows by name.
    fn function(&mut self, expr: ast::Expr) -> Read<Expr> {
        let (function, arguments) = match expr {
            ast::Expr::Function(call) => return self.call(call),
            ast::Expr::Substring { expr, substring_from: Some(from), substring_for, special: true, .. } => {
                ("substr", std::iter::once(*expr).chain([*from]).chain(substring_for.map(|length| *length)).collect())
            }
            ast::Expr::Trim { trim_where: None, trim_what: None, expr, trim_characters } => {
                ("trim", std::iter::once(*expr).chain(trim_characters.unwrap_or_default()).collect())
            }
            ast::Expr::Ceil { expr, field: CeilFloorKind::DateTimeField(ast::DateTimeField::NoDateTime) } => {
                ("ceil", vec![*expr])
            }
            ast::Expr::Floor { expr, field: CeilFloorKind::DateTimeField(ast::DateTimeField::NoDateTime) } => {
                ("floor", vec![*expr])
            }
            _ => return Err(unsupported("such an expression")),
        };
        let arguments: Vec<ast::Expr> = arguments;
        let list = arguments.into_iter().map(|expr| self.expr(expr)).collect::<Read<Vec<_>>>()?;
        Ok(Expr::Call { function: function.to_owned(), distinct: false, arguments: Arguments::List(list) })
    }

    fn call(&mut self, call: ast::Function) -> Read<Expr> {
        refuse(call.over.is_some(), "a window function")?;
        let other = call.uses_odbc_syntax
            || !matches!(call.parameters, FunctionArguments::None)
            || !call.within_group.is_empty()
            || call.filter.is_some()
            || call.null_treatment.is_some();
        refuse(other, "a function call with clauses")?;
        let [ast::ObjectNamePart::Identifier(name)] = &call.name.0[..] else {
            return Err(unsupported("a function name with dots"));
        };
        let plain = name.quote_style.is_none() && name.value.is_ascii();
        refuse(!plain, "a quoted function name")?;
        let function = name.value.to_ascii_lowercase();
        let FunctionArguments::List(list) = call.args else {
            return Err(unsupported("a function call without arguments in parentheses"));
        };
        refuse(!list.clauses.is_empty(), "a function call with clauses")?;
        let distinct = matches!(list.duplicate_treatment, Some(DuplicateTreatment::Distinct));
        if let [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)] = &list.args[..] {
            refuse(distinct, "DISTINCT *")?;
            return Ok(Expr::Call { function, distinct, arguments: Arguments::Star });
        }
        let mut arguments = Vec::with_capacity(list.args.len());
        for argument in list.args {
            let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = argument else {
                return Err(unsupported("such an argument"));
            };
            arguments.push(self.expr(expr)?);
        }
        // A number of rows, whatever is counted, as long as it is never null.
        let counts_rows = function == "count" && !distinct && arguments.iter().all(Expr::is_literal);
        let arguments = if counts_rows && arguments.len() < 2 { Arguments::Star } else { Arguments::List(arguments) };
        Ok(Expr::Call { function, distinct, arguments })
    }
}

fn literal(value: Value) -> Read<Expr> {
    match value {
        Value::Number(text, false) => Ok(Expr::Number(text.to_ascii_lowercase())),
        Value::SingleQuotedString(text) => Ok(Expr::Text(text)),
        Value::Null => Ok(Expr::Null),
        // SQLite has no such literals: these are names, which mean 1 and 0 unless a column has them.
        Value::Boolean(value) => {
            let text = if value { "true" } else { "false" };
            Ok(Expr::Name { table: None, name: Name { text: text.to_owned(), quote: Quote::None } })
        }
        _ => Err(unsupported("such a literal")),
    }
}

/// How tightly the outermost operator of an expression binds in SQLite.
fn binding(expr: &ast::Expr) -> Read<Binding> {
    Ok(match expr {
        ast::Expr::BinaryOp { op: BinaryOperator::And, .. } => Binding::And,
        ast::Expr::BinaryOp { op: BinaryOperator::Or, .. } => Binding::Or,
        ast::Expr::BinaryOp { op, .. } => plain_operator(op)?.binding(),
        // `NOT EXISTS` is a `NOT` to SQLite.
        ast::Expr::UnaryOp { op: UnaryOperator::Not, .. } | ast::Expr::Exists { negated: true, .. } => Binding::Not,
        ast::Expr::UnaryOp { .. } => Binding::Sign,
        ast::Expr::IsNull(_)
        | ast::Expr::IsNotNull(_)
        | ast::Expr::InList { .. }
        | ast::Expr::InSubquery { .. }
        | ast::Expr::Between { .. }
        | ast::Expr::Like { .. } => Binding::Equality,
        ast::Expr::Collate { .. } => Binding::Collation,
        _ => Binding::Atom,
    })
}

fn plain_operator(operator: &BinaryOperator) -> Result<Operator, CanonicalError> {
    Ok(match operator {
        BinaryOperator::Eq => Operator::Equal,
        BinaryOperator::NotEq => Operator::NotEqual,
        BinaryOperator::Glob => Operator::Glob,
        BinaryOperator::Lt => Operator::Less,
        BinaryOperator::LtEq => Operator::LessEqual,
        BinaryOperator::Gt => Operator::Greater,
        BinaryOperator::GtEq => Operator::GreaterEqual,
        BinaryOperator::BitwiseAnd => Operator::BitAnd,
        BinaryOperator::BitwiseOr => Operator::BitOr,
        BinaryOperator::Plus => Operator::Plus,
        BinaryOperator::Minus => Operator::Minus,
        BinaryOperator::Multiply => Operator::Times,
        BinaryOperator::Divide => Operator::Divide,
        BinaryOperator::Modulo => Operator::Remainder,
        BinaryOperator::StringConcat => Operator::Concatenate,
        _ => return Err(unsupported("an operator that SQLite does not have")),
    })
}

/// The types whose affinity is certain, under one name each.
fn cast_kind(kind: &ast::DataType) -> Read<&'static str> {
    match kind.to_string().to_ascii_uppercase().as_str() {
        "INT" | "INTEGER" | "BIGINT" | "SMALLINT" => Ok("INTEGER"),
        "REAL" | "FLOAT" | "DOUBLE" | "DOUBLE PRECISION" => Ok("REAL"),
        "NUMERIC" | "DECIMAL" => Ok("NUMERIC"),
        "TEXT" | "VARCHAR" | "CHAR" => Ok("TEXT"),
        _ => Err(unsupported("such a type in CAST")),
    }
}
