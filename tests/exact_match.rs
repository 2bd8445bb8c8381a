//! Parity of exact match with the official evaluator's verdicts, on every prediction set there is.
//!
//! `QSQL_SPIDER_DIR` names the folder with the predictions, golds and verdicts; `QSQL_SPIDER_UNPACKED` the folder that
//! has the unpacked `databases/`, by default the same one. Without the first the tests pass and say that they are idle.
// Helpers of a test may fail as it does, and a test that does not run should say so.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use qsql::spider::schema::ForeignKeys;
use qsql::spider::{Component, ExactMatch, Hardness, Schema, hardness, parse};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

const LEVELS: [&str; 4] = ["easy", "medium", "hard", "extra"];

/// One prediction and its gold query.
struct Pair {
    prediction: String,
    gold: String,
    database: String,
    /// Position in its interaction, from 0.
    turn: usize,
}

struct Answer {
    hardness: Hardness,
    rejected: bool,
    verdict: ExactMatch,
}

struct Spider {
    folder: PathBuf,
    schemas: BTreeMap<String, Schema>,
}

impl Spider {
    fn open() -> Option<Spider> {
        let Some(folder) = std::env::var_os("QSQL_SPIDER_DIR").map(PathBuf::from) else {
            eprintln!("\nNOT RUN: exact-match parity needs QSQL_SPIDER_DIR (and QSQL_SPIDER_UNPACKED)\n");
            return None;
        };
        let unpacked = std::env::var_os("QSQL_SPIDER_UNPACKED").map_or_else(|| folder.clone(), PathBuf::from);
        let databases = unpacked.join("databases");
        let tables: Value = serde_json::from_str(&fs::read_to_string(folder.join("tables.json")).unwrap()).unwrap();
        let schemas = tables
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|entry| {
                let name = entry["db_id"].as_str().unwrap();
                let file = databases.join(name).join(format!("{name}.sqlite"));
                file.exists().then(|| (name.to_owned(), with_keys(&read_schema(&file), entry)))
            })
            .collect::<BTreeMap<_, _>>();
        assert!(!schemas.is_empty(), "no databases below {}", databases.display());
        Some(Spider { folder, schemas })
    }

    fn pairs(&self, set: &str) -> Vec<Pair> {
        let gold = match set {
            "mutations" => "mutations_gold.sql",
            "interactions" => "interactions_gold.txt",
            _ => "dev_gold.sql",
        };
        let gold = fs::read_to_string(self.folder.join(gold)).unwrap();
        let predictions = fs::read_to_string(self.folder.join("predictions").join(format!("{set}.sql"))).unwrap();
        // Blank lines separate interactions, in both files at the same places.
        let mut turn = 0;
        let mut pairs = Vec::new();
        for (gold, prediction) in gold.lines().zip(predictions.lines()) {
            assert_eq!(gold.trim().is_empty(), prediction.trim().is_empty());
            let Some((gold, database)) = gold.trim().split_once('\t') else {
                turn = 0;
                continue;
            };
            // As in the official driver: the first field, and a number for every placeholder.
            let prediction = prediction.trim().split('\t').next().unwrap_or_default().replace("value", "1");
            pairs.push(Pair { prediction, gold: gold.to_owned(), database: database.to_owned(), turn });
            turn += usize::from(set == "interactions");
        }
        pairs
    }

    fn answer(&self, pair: &Pair) -> Answer {
        let schema = &self.schemas[&pair.database];
        let gold = parse(&pair.gold, schema).unwrap();
        let prediction = parse(&pair.prediction, schema).ok();
        let verdict = ExactMatch::compare(prediction.as_ref(), &gold, schema);
        Answer { hardness: hardness(&gold), rejected: prediction.is_none(), verdict }
    }

    fn answers(&self, set: &str) -> Vec<Answer> {
        self.pairs(set).iter().map(|pair| self.answer(pair)).collect()
    }
}

/// The tables and columns of a database, as the official `get_schema` reads them.
fn read_schema(file: &Path) -> Schema {
    let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut statement = connection.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").unwrap();
    let tables: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    Schema::new(tables.into_iter().map(|table| {
        let mut statement = connection.prepare("SELECT name FROM pragma_table_info(?)").unwrap();
        let columns: Vec<String> =
            statement.query_map([&table], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        (table, columns)
    }))
}

fn with_keys(schema: &Schema, entry: &Value) -> Schema {
    let array = |key: &str| entry[key].as_array().unwrap();
    let index = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
    let tables: Vec<&str> = array("table_names_original").iter().map(|name| name.as_str().unwrap()).collect();
    let columns: Vec<(i64, &str)> = array("column_names_original")
        .iter()
        .map(|column| (column[0].as_i64().unwrap(), column[1].as_str().unwrap()))
        .collect();
    let pairs: Vec<(usize, usize)> =
        array("foreign_keys").iter().map(|pair| (index(&pair[0]), index(&pair[1]))).collect();
    schema.clone().with_foreign_keys(ForeignKeys { tables: &tables, columns: &columns, pairs: &pairs }).unwrap()
}

fn sets(folder: &Path) -> Vec<String> {
    let mut sets: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| name.split('.').next().unwrap().to_owned())
        .collect();
    sets.sort();
    sets
}

#[test]
fn verdicts_are_official() {
    let Some(spider) = Spider::open() else { return };
    let mut differences = String::new();
    let mut compared = 0;
    for set in sets(&spider.folder.join("verdicts")) {
        let file = fs::File::open(spider.folder.join("verdicts").join(format!("{set}.json.gz"))).unwrap();
        let mut text = String::new();
        GzDecoder::new(file).read_to_string(&mut text).unwrap();
        let official: Value = serde_json::from_str(&text).unwrap();
        let indices = |key: &str| -> HashSet<usize> {
            let list = official[key].as_array().unwrap();
            list.iter().map(|index| usize::try_from(index.as_u64().unwrap()).unwrap()).collect()
        };
        let (rejected, unreliable) = (indices("unparsable"), indices("unreliable"));
        let pairs = spider.pairs(&set);
        assert_eq!(pairs.len(), official["exact"].as_array().unwrap().len(), "{set}");
        for (index, pair) in pairs.iter().enumerate().filter(|(index, _)| !unreliable.contains(index)) {
            let answer = spider.answer(pair);
            let mut differ = |what: &str| {
                writeln!(differences, "{set} {index} {what}: {}", pair.prediction).unwrap();
            };
            if official["hardness"][index] != answer.hardness.name() {
                differ("hardness");
            }
            if official["exact"][index] != u64::from(answer.verdict.exact) {
                differ("exact");
            }
            if rejected.contains(&index) != answer.rejected {
                differ("rejected");
            }
            for component in Component::ALL {
                let row: Value = answer.verdict.component(component).row().to_vec().into();
                if official["partial"][component.name()][index] != row {
                    differ(component.name());
                }
            }
            compared += 1;
        }
    }
    assert!(differences.is_empty(), "{differences}");
    assert!(compared > 10_000, "only {compared} verdicts compared");
}

/// Some sets have no verdict file but only what the official tool prints: averages to three places.
#[test]
fn averages_are_official() {
    let Some(spider) = Spider::open() else { return };
    let folder = spider.folder.join("official_stdout");
    let sets = sets(&folder);
    assert!(!sets.is_empty());
    for set in sets {
        let printed = fs::read_to_string(folder.join(format!("{set}.txt"))).unwrap();
        let pairs = spider.pairs(&set);
        let answers = spider.answers(&set);
        // The rows after the predictions themselves, each a name of twenty characters and cells.
        let rows: Vec<(&str, Vec<&str>)> = printed
            .lines()
            .filter(|line| line.len() > 20 && line.is_char_boundary(20))
            .map(|line| (line[..20].trim(), line[20..].split_whitespace().collect()))
            .collect();
        let printed = |name: &str, nth: usize| {
            let row = rows.iter().filter(|(row, _)| *row == name).nth(nth);
            row.unwrap_or_else(|| panic!("{set}: no row {name}")).1.clone()
        };
        for (level, name) in LEVELS.into_iter().chain(["all"]).enumerate() {
            let chosen: Vec<&Answer> =
                answers.iter().filter(|answer| name == "all" || answer.hardness.name() == name).collect();
            assert_eq!(printed("count", 0)[level], chosen.len().to_string(), "{set} {name}");
            let exact = chosen.iter().filter(|answer| answer.verdict.exact).count();
            assert_eq!(printed("exact match", 0)[level], average(exact, chosen.len()), "{set} {name}");
            for component in Component::ALL {
                let partials: Vec<_> = chosen.iter().map(|answer| answer.verdict.component(component)).collect();
                let matched = partials.iter().filter(|partial| partial.matches && partial.pred_total > 0).count();
                let predicted = partials.iter().filter(|partial| partial.pred_total > 0).count();
                let labelled = partials.iter().filter(|partial| partial.label_total > 0).count();
                let component = component.name();
                assert_eq!(printed(component, 0)[level], average(matched, predicted), "{set} {name} {component}");
                assert_eq!(printed(component, 1)[level], average(matched, labelled), "{set} {name} {component}");
            }
        }
        if set == "interactions" {
            for turn in 0..4 {
                let exact = |pair: &Pair| pair.turn == turn;
                let turns = pairs.iter().filter(|pair| exact(pair)).count();
                let matched =
                    pairs.iter().zip(&answers).filter(|(pair, answer)| exact(pair) && answer.verdict.exact).count();
                assert_eq!(printed("count", 1)[turn], turns.to_string());
                assert_eq!(printed("exact match", 1)[turn], average(matched, turns));
            }
        }
    }
}

#[allow(clippy::cast_precision_loss)] // thousands
fn average(count: usize, total: usize) -> String {
    format!("{:.3}", if total == 0 { 0.0 } else { count as f64 / total as f64 })
}

/// Not a check, but the figure to watch: run with `--release --nocapture`.
#[test]
fn time_for_one_set() {
    let Some(spider) = Spider::open() else { return };
    let pairs = spider.pairs("dail_gpt4");
    let fastest = (0..20)
        .map(|_| {
            let start = Instant::now();
            let exact = pairs.iter().filter(|pair| spider.answer(pair).verdict.exact).count();
            assert!(exact > 0);
            start.elapsed()
        })
        .min();
    eprintln!("{} pairs parsed and compared in {:?}", pairs.len(), fastest.unwrap_or(Duration::ZERO));
}
