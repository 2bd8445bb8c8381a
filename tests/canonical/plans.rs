//! How SQLite goes through the rows of a query. Where it goes through them in another way, it may find them in another order,
//! which few databases show.

use std::ops::ControlFlow;

use qsql::exec::denotation::Value;
use qsql::exec::sandbox::{Database, Limits, Reader, Row};

/// The steps of a plan, without the names of tables, which are other ones in a canonical form.
#[derive(Default)]
struct Steps(Vec<String>);

impl Reader for Steps {
    fn start(&mut self, _: usize) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn row(&mut self, row: &Row<'_>) -> ControlFlow<()> {
        if let Some(Value::Text(step)) = row.cells().nth(3) {
            let step = String::from_utf8_lossy(step).to_lowercase();
            // Whether an index has all columns, and whether one is built to look into, changes no order.
            if !step.starts_with("bloom filter") {
                self.0.push(nameless(&step.replace("covering index", "index")));
            }
        }
        ControlFlow::Continue(())
    }
}

/// A step without the name of its table or the number of its subquery.
fn nameless(step: &str) -> String {
    let (kind, rest) = step.split_once(' ').unwrap_or((step, ""));
    match kind {
        "scan" | "search" => {
            let how = rest.find(" using ").or_else(|| rest.find(" left-join")).map_or("", |at| &rest[at..]);
            // An index that is built for the query has its columns in the order of the conditions.
            if let Some((before, columns)) = how.split_once(" automatic ").filter(|_| how.contains('(')) {
                let mut columns: Vec<&str> = columns.split(['(', ')']).flat_map(|part| part.split(" and ")).collect();
                columns.sort_unstable();
                return format!("{kind}{before} automatic {}", columns.join(" "));
            }
            let exists = if rest.starts_with("exists ") { " exists" } else { "" };
            format!("{kind}{exists}{how}")
        }
        "co-routine" | "materialize" | "scalar" | "correlated" | "list" => kind.to_owned(),
        _ => step.to_owned(),
    }
}

/// The plans of a query and of its form, if they differ where an order of rows can show.
pub fn difference(database: &mut Database, sql: &str, form: &str) -> Option<String> {
    let lower = sql.to_lowercase();
    let shows_order = lower.contains("order by") || lower.contains("limit");
    // A count is one row, in whatever order it is taken.
    let counts_literal = ["count(1)", "count('"].iter().any(|count| lower.contains(count));
    if !shows_order || counts_literal {
        return None;
    }
    let mut plan = |sql: &str| {
        let mut steps = Steps::default();
        database.query(&format!("EXPLAIN QUERY PLAN {sql}"), &Limits::default(), &mut steps).ok()?;
        Some(steps.0.join("\n"))
    };
    let (one, other) = (plan(sql)?, plan(form)?);
    // Queries that come out as one are run once.
    let reuses = [&one, &other].iter().any(|plan| plan.contains("reuse"));
    (one != other && !reuses).then(|| format!("another plan:\n{one}\n--\n{other}"))
}
