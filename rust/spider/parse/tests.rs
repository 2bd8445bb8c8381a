use proptest::prelude::*;

use super::*;
use crate::spider::query::{Comparison, Condition, Conditions, Value};

fn schema() -> Schema {
    Schema::new([
        ("singer", vec!["id", "name", "age"]),
        ("concert", vec!["id", "singer_id", "year"]),
        ("odd.name", vec!["id"]),
    ])
}

fn tree(sql: &str) -> Query {
    parse(sql, &schema()).unwrap_or_else(|rejection| panic!("{sql}: {rejection}"))
}

fn reason(sql: &str) -> String {
    match parse(sql, &schema()) {
        Ok(query) => panic!("{sql}: {query:?}"),
        Err(rejection) => rejection.to_string(),
    }
}

#[track_caller]
fn same(one: &str, other: &str) {
    let schema = schema();
    assert_eq!(parse(one, &schema).unwrap(), parse(other, &schema).unwrap(), "{one}\n{other}");
}

fn conditions(conditions: &Conditions) -> Vec<&Condition> {
    conditions.0.iter().filter_map(ConditionItem::as_condition).collect()
}

fn first_value(sql: &str) -> Value {
    conditions(&tree(sql).filter)[0].first.clone().unwrap()
}

/// What text-to-SQL models write that is not in the grammar.
const REJECTIONS: [(&str, &str); 31] = [
    ("", "no query"),
    ("select it's", "odd number of quotation marks (byte 9)"),
    ("select 1", "query ends where `from` is expected (word 2)"),
    ("select name as n from singer", "column alias is not in the grammar (word 2, byte 12)"),
    ("select name from singer where age <> 1", "`<>`, only `!=`, is not in the grammar (word 6, byte 34)"),
    ("select name from singer where age is null", "`is null` is not in the grammar (word 6, byte 34)"),
    ("select name from singer where age is not null", "`is null` is not in the grammar (word 6, byte 34)"),
    ("select name from singer where id in (1, 2)", "a list of values is not in the grammar (word 6, byte 33)"),
    (
        "select name from singer where (age = 1 or age = 2)",
        "a condition in parentheses is not in the grammar (word 7, byte 35)",
    ),
    (
        "select name from singer where not age = 1",
        "`not` or `exists` before a condition is not in the grammar (word 5, byte 30)",
    ),
    (
        "select name from singer where exists (select id from concert)",
        "`not` or `exists` before a condition is not in the grammar (word 5, byte 30)",
    ),
    (
        "select name from singer left join concert",
        "a join other than plain `join` is not in the grammar (word 4, byte 24)",
    ),
    ("select name from singer, concert", "a join written as a comma is not in the grammar (word 4, byte 23)"),
    ("select a from (select id from singer) as t", "alias of a subquery is not in the grammar (word 9, byte 38)"),
    (
        "select name from singer union all select name from singer",
        "`all` behind a set operator is not in the grammar (word 5, byte 30)",
    ),
    ("select upper(name) from singer", "function `upper` is not in the grammar (word 1, byte 7)"),
    ("select case from singer", "`case` is not in the grammar (word 1, byte 7)"),
    ("select 1 from singer", "a number in the place of a column is not in the grammar (word 1, byte 7)"),
    ("select 'x' from singer", "a literal in the place of a column is not in the grammar (word 1, byte 7)"),
    (
        "select name from singer where age=1",
        "`age=1` is read as one word: operators need spaces round them (word 5, byte 30)",
    ),
    (
        "select name from singer where age >=1",
        "`=1` is read as one word: operators need spaces round them (word 7, byte 35)",
    ),
    ("select nam from singer", "unknown column `nam` (word 1, byte 7)"),
    ("select singer.nam from singer", "unknown column `singer.nam` (word 1, byte 7)"),
    ("select t1.name from singer", "unknown table or alias `t1` (word 1, byte 7)"),
    ("select name from singers", "unknown table or alias `singers` (word 3, byte 17)"),
    ("select a.b.c from singer", "`a.b.c` has more than one dot (word 1, byte 7)"),
    ("select name from singer as concert", "alias `concert` is the name of a table (word 5, byte 27)"),
    ("select name from singer as", "query ends where an alias is expected (word 5)"),
    ("select name from singer limit", "query ends where a number is expected (word 5)"),
    ("select name from singer order name", "expected `by`, found `name` (word 5, byte 30)"),
    ("with x from singer", "`with` is not in the grammar (word 0, byte 0)"),
];

#[test]
fn common_rejections_say_what_they_are_about() {
    for (sql, expected) in REJECTIONS {
        assert_eq!(reason(sql), expected, "{sql}");
    }
}

// `scan_alias` runs over all words, `get_tables_with_alias` once per text.
#[test]
fn aliases_are_global_and_the_last_one_wins() {
    let swapped = "select T1.name from singer as T1 intersect select T1.year from concert as T1";
    assert_eq!(reason(swapped), "unknown column `t1.name` (word 1, byte 7)");
    // Even behind the end of the query, and without a table before it.
    same("select t1.name from t1 limit 1 ; singer as t1", "select name from singer limit 1");
    assert!(reason("select t1.name from singer as t1 limit 1 ; x as t1").starts_with("unknown"));
}

#[test]
fn an_alias_may_not_be_called_like_any_table() {
    assert!(reason("select name from singer limit 1 ; x as concert").starts_with("alias `concert`"));
}

// `parse_table_unit` takes whatever the alias map and `idMap` have between them.
#[test]
fn a_column_may_stand_for_a_table() {
    let query = tree("select singer.name from x limit 1 ; singer.name as x");
    assert_eq!(query.tables, [Table::Named(schema().identifier("singer.name").unwrap())]);
    // `parse_col` then finds no table of that name.
    assert!(reason("select name from x limit 1 ; singer.name as x").starts_with("unknown column"));
}

#[test]
fn a_table_may_have_a_dot_in_its_name_but_its_columns_cannot_be_named() {
    same("select id from odd.name", "select id from odd.name as x");
    assert!(reason("select odd.name.id from odd.name").contains("more than one dot"));
    let query = tree("select x.id from odd.name as x");
    assert_eq!(query.select[0].value.left.column, schema().column("odd.name", "id").unwrap());
}

#[test]
fn a_bare_column_belongs_to_the_first_table_that_has_it() {
    same("select id from singer join concert", "select singer.id from singer join concert");
    same("select id from concert join singer", "select concert.id from concert join singer");
    same("select year from singer join concert", "select concert.year from singer join concert");
}

// `parse_from`: tables need no `join`, and `toks.index('from', start)` finds any later one.
#[test]
fn tables_need_no_join_between_them() {
    same("select name from singer concert", "select name from singer join concert");
}

#[test]
fn a_query_without_from_borrows_a_later_one() {
    let query = tree("select name where age in ( select age from singer )");
    assert!(query.filter.is_empty());
    assert!(!query.tables.is_empty());
}

#[test]
fn a_select_list_needs_no_commas() {
    same("select name age from singer", "select name , age from singer");
    same("select name , from singer", "select name from singer");
    assert!(tree("select from singer").select.is_empty());
}

#[test]
fn every_table_may_be_missing() {
    assert!(tree("select * from").tables.is_empty());
}

#[test]
fn whatever_follows_a_query_is_ignored() {
    same("select name from singer limit 3 offset 2 garbage (", "select name from singer limit 3");
    same("select name from singer ; drop table singer", "select name from singer");
    same("select name from singer ) union select", "select name from singer");
}

// `parse_limit`: words are strings, never integers.
#[test]
fn limit_takes_any_word() {
    same("select name from singer limit from", "select name from singer limit 3");
}

// `parse_value` skips to the next word that ends a value, and `or` does not.
#[test]
fn a_column_on_the_right_side_swallows_what_follows() {
    let right = "select name from singer where age = id";
    same("select name from singer where age = id or age = 1", right);
    same("select name from singer where age = id * 3", right);
    same("select name from singer where age = id having name", right);
    let query = tree("select name from singer where age = id or age = 1 and id = 2");
    assert_eq!(conditions(&query.filter).len(), 2);
}

// The slice that the column is read from ends before the `)`.
#[test]
fn a_column_on_the_right_side_stands_without_parentheses() {
    assert!(parse("select name from singer where age = ( id )", &schema()).is_err());
    assert!(parse("select name from singer where age = max ( id )", &schema()).is_err());
    assert!(parse("select name from singer where age = ( 1 )", &schema()).is_ok());
}

#[test]
fn a_number_is_what_python_takes() {
    for number in ["1", "1.0", "1_0", "inf", "nan", "-1", ".5", "٣"] {
        let value = first_value(&format!("select name from singer where age = {number}"));
        assert!(matches!(value, Value::Number(_)), "{number}");
    }
    assert!(matches!(first_value("select name from singer where age = 1. and id = 2"), Value::Number(_)));
}

#[test]
fn a_literal_keeps_its_spelling() {
    assert_eq!(first_value("select name from singer where name = 'A b'"), Value::Literal("\"A b\"".into()));
}

// `parse_condition` loops until a keyword, `)` or `;`, word between conditions or not.
#[test]
fn conditions_need_no_connector() {
    let query = tree("select name from singer where age = 1 id = 2");
    assert_eq!(query.filter.0.len(), 2);
    assert_eq!(query.filter.units().count(), 1);
    let query = tree("select name from singer where age = 1 and");
    assert_eq!(query.filter.0.len(), 2);
    assert!(tree("select name from singer where").filter.is_empty());
}

// HAVING is not in CLAUSE_KEYWORDS, so only `group by` ends before it.
#[test]
fn having_does_not_end_conditions() {
    assert!(parse("select name from singer where age = 1 having age = 2", &schema()).is_err());
    assert_eq!(tree("select name from singer group by name having age = 2").having.0.len(), 1);
}

// WHERE_OPS starts with `not` and ends with `is` and `exists`.
#[test]
fn some_words_are_comparisons_by_accident() {
    let comparison = |sql: &str| conditions(&tree(sql).filter)[0].comparison;
    assert_eq!(comparison("select name from singer where age not not 1"), Comparison::Not);
    assert_eq!(comparison("select name from singer where age is 1"), Comparison::Is);
    assert_eq!(comparison("select name from singer where age exists 1"), Comparison::Exists);
    assert!(conditions(&tree("select name from singer where age not = 1").filter)[0].negated);
}

// AGG_OPS and UNIT_OPS start with the string 'none'.
#[test]
fn none_is_an_aggregate_and_an_operator() {
    same("select none ( age ) from singer", "select ( age ) from singer");
    let unit = tree("select age none id from singer").select[0].value;
    assert_eq!(unit.operator, Arithmetic::None);
    assert!(unit.right.is_some());
}

#[test]
fn arithmetic_joins_two_columns_and_no_more() {
    assert!(parse("select age - id from singer", &schema()).is_ok());
    assert!(parse("select age - id - id from singer", &schema()).is_err());
    assert!(parse("select sum(age) / count(*) from singer", &schema()).is_err());
    // Below the top of `order by` an aggregate is part of a column.
    assert!(parse("select name from singer order by sum(age) / count(*)", &schema()).is_ok());
}

// `parse_col_unit` returns from its aggregate branch before it looks for the `)` of its own `(`.
#[test]
fn an_aggregate_in_two_parentheses_closes_one_too_few() {
    assert!(parse("select name from singer order by ( ( count ( age ) )", &schema()).is_ok());
    assert!(parse("select name from singer order by ( ( count ( age ) ) ) limit 1", &schema()).is_ok());
    assert_ne!(
        parse("select name from singer order by ( ( count ( age ) ) ) limit 1", &schema()).unwrap().limit,
        parse("select name from singer order by ( ( count ( age ) ) limit 1", &schema()).unwrap().limit,
    );
}

// `parse_order_by` has one direction for the whole list.
#[test]
fn the_last_direction_is_that_of_every_value() {
    same("select name from singer order by age desc , id", "select name from singer order by age , id desc");
    same("select name from singer order by age desc , id asc", "select name from singer order by age , id");
    assert!(tree("select name from singer order by").order_by.unwrap().values.is_empty());
}

#[test]
fn a_set_operation_leans_to_the_right() {
    let query = tree("( select name from singer ) union ( select name from singer ) except select name from singer");
    let (operator, right) = query.set_operation.unwrap();
    assert_eq!(operator, SetOperator::Union);
    assert_eq!(right.set_operation.unwrap().0, SetOperator::Except);
}

#[test]
fn join_conditions_are_joined_by_and() {
    let query = tree("select name from singer join concert on id = 1 join singer on age = 2 or age = 3");
    assert_eq!(query.on.0.len(), 5);
    assert_eq!(query.on.0[1], ConditionItem::And);
    // `on` at the very end has no conditions, and the `and` is written all the same.
    assert_eq!(tree("select name from singer join concert on id = 1 join singer on").on.0.len(), 2);
}

// Measured with Python 3.11 below the module, `evaluate` and `get_sql`.
#[test]
fn nesting_is_rejected_where_python_runs_out_of_frames() {
    let unions = |count: usize, last: &str| vec!["select age from singer"; count].join(" union ") + last;
    let nested = |count: usize, open: &str, inner: &str| open.repeat(count) + inner + &" )".repeat(count);
    let accepts = |sql: &str| match parse(sql, &schema()) {
        Ok(_) => true,
        Err(rejection) => {
            assert_eq!(rejection.reason, Reason::TooDeep);
            false
        }
    };
    assert!(accepts(&unions(992, "")));
    assert!(!accepts(&unions(993, "")));
    assert!(accepts(&unions(991, " where age = id")));
    assert!(!accepts(&unions(992, " where age = id")));
    let inner = "select age from singer";
    let from = "select * from ( ";
    assert!(accepts(&nested(495, from, inner)));
    assert!(!accepts(&nested(496, from, inner)));
    for open in ["select age from singer where age in ( ", "select age from singer on age in ( "] {
        assert!(accepts(&nested(247, open, inner)));
        assert!(!accepts(&nested(248, open, inner)));
    }
    assert!(!accepts(&nested(100_000, from, inner)));
}

const FRAGMENTS: [&str; 60] = [
    "select",
    "from",
    "where",
    "group",
    "by",
    "having",
    "order",
    "limit",
    "intersect",
    "union",
    "except",
    "join",
    "on",
    "as",
    "and",
    "or",
    "not",
    "between",
    "=",
    ">",
    "<",
    "!",
    ">=",
    "in",
    "like",
    "is",
    "exists",
    "none",
    "-",
    "+",
    "*",
    "/",
    "max",
    "count",
    "distinct",
    "(",
    ")",
    ",",
    ";",
    "asc",
    "desc",
    ".",
    "'x'",
    "\"",
    "1",
    "1.",
    "nan",
    "singer",
    "singer.id",
    "concert",
    "concert.year",
    "name",
    "age",
    "t1",
    "t1.name",
    "odd.name",
    "a.b.c",
    "x",
    "( select",
    "from singer",
];

proptest! {
    #[test]
    fn any_text_is_a_query_or_a_rejection(sql in ".*") {
        let _ = parse(&sql, &schema());
    }

    #[test]
    fn any_words_are_a_query_or_a_rejection(
        words in prop::collection::vec(prop::sample::select(&FRAGMENTS[..]), 0..40),
    ) {
        let sql = words.join(" ");
        if let Err(rejection) = parse(&sql, &schema()) {
            prop_assert!(rejection.offset.is_none_or(|offset| sql.is_char_boundary(offset)));
            prop_assert!(rejection.to_string().starts_with(|first: char| !first.is_uppercase()));
        }
    }
}
