use proptest::prelude::*;

use super::*;
use crate::spider::parse;
use crate::spider::schema::ForeignKeys;

fn schema() -> Schema {
    let keys = ForeignKeys {
        tables: &["singer", "concert"],
        columns: &[(-1, "*"), (0, "id"), (0, "name"), (0, "age"), (1, "id"), (1, "singer_id"), (1, "year")],
        pairs: &[(5, 1)],
    };
    let tables = [("singer", vec!["id", "name", "age"]), ("concert", vec!["id", "singer_id", "year"])];
    Schema::new(tables).with_foreign_keys(keys).unwrap()
}

fn compare(prediction: &str, gold: &str) -> ExactMatch {
    let schema = schema();
    let prediction = parse(prediction, &schema).unwrap();
    ExactMatch::compare(Some(&prediction), &parse(gold, &schema).unwrap(), &schema)
}

#[track_caller]
fn matches(prediction: &str, gold: &str) {
    assert!(compare(prediction, gold).exact, "{prediction}\n{gold}");
}

#[track_caller]
fn differs(prediction: &str, gold: &str, components: &[Component]) {
    let verdict = compare(prediction, gold);
    assert!(!verdict.exact, "{prediction}\n{gold}");
    let differing: Vec<Component> =
        Component::ALL.into_iter().filter(|&component| !verdict.component(component).matches).collect();
    assert_eq!(differing, components, "{prediction}\n{gold}");
}

#[test]
fn components_have_their_official_places() {
    for (index, component) in Component::ALL.into_iter().enumerate() {
        assert_eq!(component as usize, index);
    }
}

// DISABLE_VALUE and DISABLE_DISTINCT are constants of the official program.
#[test]
fn values_and_distinct_do_not_count() {
    matches("select distinct name from singer where age > 1", "select name from singer where age > 20");
    matches("select count ( distinct name ) from singer", "select count ( name ) from singer");
    matches("select name from singer where age > id", "select name from singer where age > 'x'");
    matches("select name from singer limit 1", "select name from singer limit 3");
}

#[test]
fn a_rejected_prediction_is_an_empty_query() {
    let schema = schema();
    let gold = parse("select name from singer where age = 1", &schema).unwrap();
    let verdict = ExactMatch::compare(None, &gold, &schema);
    assert!(!verdict.exact);
    assert_eq!(verdict.component(Component::Select).row(), [0, 0, 0, 1, 0]);
    assert_eq!(verdict.component(Component::Order).row(), [1, 1, 1, 0, 0]);
    assert_eq!(verdict.component(Component::AndOr).row(), [1, 1, 1, 1, 1]);
    assert_eq!(verdict.component(Component::Keywords).row(), [0, 0, 0, 1, 0]);
}

#[test]
fn a_gold_query_can_be_compared_again() {
    let schema = schema();
    let gold = parse("select name , age from singer", &schema).unwrap();
    let first = ExactMatch::compare(Some(&gold), &gold, &schema);
    assert!(first.exact);
    assert_eq!(first, ExactMatch::compare(Some(&gold), &gold, &schema));
}

#[test]
fn select_is_a_multiset() {
    matches("select name , age from singer", "select age , name from singer");
    differs(
        "select name , name from singer",
        "select name , age from singer",
        &[Component::Select, Component::SelectNoAggregate],
    );
    differs("select max ( age ) from singer", "select min ( age ) from singer", &[Component::Select]);
    // Only the aggregate round the whole value is left out.
    differs(
        "select name from singer order by max ( age )",
        "select name from singer order by min ( age )",
        &[Component::Order],
    );
}

// `eval_where` compares units in any order and `eval_and_or` the set of connectors.
#[test]
fn conditions_have_no_order() {
    matches(
        "select name from singer where age = 1 and id = 2 or name = 3",
        "select name from singer where name = 3 or age = 1 and id = 2",
    );
    differs(
        "select name from singer where age = 1 and id = 2",
        "select name from singer where age > 1 and id = 2",
        &[Component::Where],
    );
}

// The driver unpacks `eval_and_or`'s (prediction, gold, count) as (gold, prediction, count).
#[test]
fn totals_of_connectors_are_swapped() {
    let verdict = compare(
        "select name from singer where age = 1 and id = 2 or id = 3",
        "select name from singer where age = 1 or id = 2",
    );
    assert_eq!(verdict.component(Component::AndOr).row(), [0, 0, 0, 2, 1]);
    let one_each =
        compare("select name from singer where age = 1 and id = 2", "select name from singer where age = 1 or id = 2");
    assert_eq!(one_each.component(Component::AndOr).row(), [0, 0, 0, 1, 1]);
}

#[test]
fn group_without_having_compares_columns_without_tables() {
    let verdict = compare(
        "select name from singer join concert group by concert.id , age",
        "select name from singer join concert group by age , singer.id",
    );
    assert!(verdict.component(Component::GroupNoHaving).matches);
    assert!(!verdict.component(Component::Group).matches);
    differs(
        "select name from singer group by name having age = 1",
        "select name from singer group by name having id = 1",
        &[Component::Group],
    );
}

// `eval_order` asks of `limit` only whether it is there, and only where there is an `order by`.
#[test]
fn order_wants_a_limit_on_both_sides_or_neither() {
    let order = "select name from singer order by age";
    differs(&format!("{order} limit 1"), order, &[Component::Order, Component::Keywords]);
    matches(&format!("{order} limit 1"), &format!("{order} limit 3"));
    differs("select name from singer limit 1", "select name from singer", &[Component::Keywords]);
}

#[test]
fn set_operations_compare_arm_by_arm() {
    let union = |arm: &str| format!("select name from singer union {arm}");
    matches(&union("select age from singer where id = 1"), &union("select age from singer where id = 2"));
    differs(&union("select age from singer"), &union("select id from singer"), &[Component::SetOperations]);
    differs(
        "select name from singer union select age from singer",
        "select name from singer except select age from singer",
        &[Component::SetOperations, Component::Keywords],
    );
}

// `get_keywords` reads the conditions of `on`, which nothing else compares.
#[test]
fn join_conditions_count_by_their_keywords_only() {
    let join = "select name from singer join concert on";
    matches(&format!("{join} singer.id = singer_id"), &format!("{join} year > age"));
    differs(&format!("{join} year like age"), &format!("{join} year = age"), &[Component::Keywords]);
    differs(&format!("{join} year not = age"), &format!("{join} year = age"), &[Component::Keywords]);
    differs(&format!("{join} year = 1 or age = 1"), &format!("{join} year = 1 and age = 1"), &[Component::Keywords]);
}

#[test]
fn tables_are_a_multiset() {
    matches("select name from singer join concert", "select name from concert join singer");
    differs("select name from singer join singer", "select name from singer", &[]);
    // Not looked at where the gold query has none.
    matches("select * from singer", "select * from");
    differs("select * from", "select * from singer", &[]);
}

// `build_valid_col_units` and `rebuild_sql_col`.
#[test]
fn foreign_keys_fold_columns_of_the_outer_tables() {
    matches("select singer_id from singer join concert", "select singer.id from singer join concert");
    // `singer` is in no table of the second query, but the column it is folded into need not be.
    let verdict = compare("select singer_id from concert", "select singer.id from singer");
    assert!(verdict.component(Component::Select).matches);
    assert!(!verdict.exact);
    // Arms fold by the tables of the first `from`.
    matches(
        "select name from singer join concert union select singer_id from concert",
        "select name from singer join concert union select singer.id from concert",
    );
    assert!(
        !compare(
            "select name from singer union select singer_id from concert",
            "select name from singer union select singer.id from concert",
        )
        .exact
    );
}

// `rebuild_cond_unit_val` goes into queries on right sides, `rebuild_cond_unit_col` does not.
#[test]
fn queries_in_conditions_lose_values_but_keep_distinct_and_keys() {
    let nested = |query: &str| format!("select name from singer where id in ( {query} )");
    matches(&nested("select id from concert where year = 1"), &nested("select id from concert where year = 2"));
    let different = [Component::Where];
    differs(&nested("select distinct id from concert"), &nested("select id from concert"), &different);
    differs(
        &nested("select singer_id from concert join singer"),
        &nested("select singer.id from concert join singer"),
        &different,
    );
    // As trees: there the order of a select list counts.
    differs(&nested("select id , year from concert"), &nested("select year , id from concert"), &different);
}

// `rebuild_from_col` and `rebuild_sql_val` leave queries in `from` alone.
#[test]
fn queries_in_from_keep_their_values() {
    let outer = |value: &str| format!("select * from ( select name from singer where age = {value} )");
    matches(&outer("1"), &outer("1.0"));
    matches(&outer("'x'"), &outer("\"x\""));
    differs(&outer("1"), &outer("2"), &[]);
    differs(&outer("'x'"), &outer("'X'"), &[]);
    differs("select * from ( select distinct id from singer )", "select * from ( select id from singer )", &[]);
    // Python's float('nan') equals nothing.
    differs(&outer("nan"), &outer("nan"), &[]);
}

#[test]
fn a_condition_without_a_connector_keeps_its_value() {
    let query = |value: &str| format!("select name from singer where age = 1 id = {value}");
    matches(&query("2"), &query("2.0"));
    differs(&query("2"), &query("3"), &[Component::AndOr]);
    differs(&query("nan"), &query("nan"), &[Component::AndOr]);
    // The set of connectors: an equal one counts once.
    let verdict = compare(
        "select name from singer where age = 1 id = 2 age = 1 id = 2",
        "select name from singer where age = 1 and id = 2 age = 1",
    );
    assert_eq!(verdict.component(Component::AndOr).row(), [0, 0, 0, 1, 2]);
}

// The official program ends here with a TypeError from `sorted`.
#[test]
fn two_queries_in_from_are_compared_without_an_order() {
    let one = "( select id from singer )";
    let two = "( select id from concert )";
    matches(&format!("select * from {one} {two}"), &format!("select * from {two} {one}"));
    differs(&format!("select * from {one} {one}"), &format!("select * from {two} {one}"), &[]);
}

// The official program ends here with a ValueError from `rebuild_cond_unit_val`.
#[test]
fn a_connector_in_the_place_of_a_condition_equals_itself() {
    let query = |word: &str| format!("select name from singer where age = 1 id = 2 {word} age = 3");
    matches(&query("and"), &query("and"));
    differs(&query("or"), &query("and"), &[Component::Where]);
}

// The official program ends here with a TypeError: a dictionary is not hashable.
#[test]
fn a_query_in_the_place_of_a_connector_is_compared_as_a_tree() {
    let query = |column: &str| format!("select name from singer where age = 1 id in ( select {column} from concert )");
    matches(&query("id"), &query("id"));
    differs(&query("id"), &query("year"), &[Component::AndOr]);
}

// Everything that walks a tree recurses as deep as the parser lets it; half a default thread's stack is enough.
#[test]
fn the_deepest_trees_fit_the_stack() {
    let schema = schema();
    let unions = ["select age from singer"; 992].join(" union ");
    let from = "select * from ( ".repeat(495) + "select age from singer" + &" )".repeat(495);
    let conditions =
        "select age from singer where age in ( ".repeat(247) + "select age from singer" + &" )".repeat(247);
    std::thread::Builder::new()
        .stack_size(1 << 20)
        .spawn(move || {
            for sql in [unions, from, conditions] {
                let query = parse(&sql, &schema).unwrap();
                let _ = crate::spider::hardness(&query);
                assert!(ExactMatch::compare(Some(&query.clone()), &query, &schema).exact);
            }
        })
        .unwrap()
        .join()
        .unwrap();
}

const FRAGMENTS: [&str; 32] = [
    "where",
    "group by",
    "having",
    "order by",
    "limit 1",
    "union select age from singer",
    "and",
    "or",
    "not",
    "=",
    "in",
    "like",
    "between",
    "(",
    ")",
    "( select id from concert )",
    "'x'",
    "1",
    "nan",
    "age",
    "name",
    "singer.id",
    "singer_id",
    "max ( age )",
    "desc",
    ",",
    "join concert",
    "on",
    "age = 1",
    "age = id",
    "id in ( select singer_id from concert )",
    "-",
];

proptest! {
    #[test]
    fn whatever_parses_compares(
        words in prop::collection::vec(prop::sample::select(&FRAGMENTS[..]), 0..12),
        others in prop::collection::vec(prop::sample::select(&FRAGMENTS[..]), 0..12),
    ) {
        let schema = schema();
        let start = "select name from singer join concert ";
        let queries = [words, others].map(|words| parse(&(start.to_owned() + &words.join(" ")), &schema).ok());
        if let [prediction, Some(gold)] = &queries {
            let verdict = ExactMatch::compare(prediction.as_ref(), gold, &schema);
            prop_assert!(!verdict.exact || verdict.partial.iter().all(|partial| partial.matches));
            let _ = crate::spider::hardness(gold);
        }
    }
}
