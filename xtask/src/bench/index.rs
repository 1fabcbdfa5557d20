//! `bench index`: the activation index against the peers, on real sentence embeddings; with `--million`, on up to a
//! million synthetic vectors.
//!
//! Everything is built with M 16 and efConstruction 200 on two threads and searched for 10 neighbours on one. Answers are
//! compared with the exact ones; searches alternate between the indexes.
//!
//! - `field`: those who are compared, and what they are asked.
//! - `plots`: the curves as SVG.

mod field;
mod plots;

use anyhow::{Context, Result};
use serde_json::Value;

use self::field::{Care, Contender, Data, Ground, HNSW_RS, LINKED_BY_HNSW_RS, OURS, PEERS, Sweep, sweep};
use self::plots::Growth;
use super::Options;
use super::curve::{Curve, Point};
use super::report::{Goal, Report, Row, machine};
use super::series::{Series, in_turns};

const RECALLS: [f64; 3] = [0.95, 0.985, 0.998];
/// The recall that costs are compared at as the number of vectors grows.
const GROWTH_RECALL: f64 = 0.95;
const SIZES: [u32; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// The peers that are worth the time that a million takes: the fastest on real embeddings, at low recall and at high.
const AT_SCALE: [&str; 2] = ["hnswlib", "usearch bf16"];
const INSERTED: u32 = 1_000;
const TRACES: u32 = 100_000;

/// Real sentence embeddings.
pub(super) fn measure(options: Options) -> Result<Report> {
    let ground = Ground::prepare()?;
    let mut script = ground.environment.script("index/embeddings.py");
    let folder = ground.environment.data_set(script.arg(&ground.environment.model))?;
    let (all, part) = if options.quick { (10_000, 5_000) } else { (59_000, 50_000) };
    let quick = Care { rounds: 2, seconds: 0.05, step: 2 };
    let care = if options.quick { quick } else { Care { rounds: 5, seconds: 0.3, step: 1 } };

    let mut field = ground.field(&[&[OURS], &PEERS[..]].concat())?;
    let mut rows = Vec::new();
    let data = Data { folder: &folder, rows: all };
    eprintln!("building over {all} vectors");
    let builds = build(&mut field, data, if options.quick { 1 } else { 3 })?;
    let mut late = ground.start(HNSW_RS)?;
    let late_build = seconds(&late.build(data, 0)?, "build_s")?;
    field.push(late);
    let linked_build = seconds(&ground.start(LINKED_BY_HNSW_RS)?.build(data, 0)?, "build_s")?;

    eprintln!("searching");
    let truth = field[1].truth(data)?;
    let found = sweep(&mut field, &truth, care)?;
    rows.extend(search_rows(&found));
    rows.extend(build_rows(&field, &builds));
    rows.push(of_peer("build with two threads", "s", HNSW_RS, late_build));
    rows.push(of_peer("build with two threads", "s", LINKED_BY_HNSW_RS, linked_build));
    drop(field);

    eprintln!("opening, memory, inserting, with {part} vectors");
    rows.extend(at_rest(&ground, Data { folder: &folder, rows: part }, options)?);
    eprintln!("looking up");
    rows.extend(lookups(&ground)?);
    if options.write {
        plots::recall(&ground, &found, all)?;
    }
    Ok(report("index", rows, "cargo xtask bench index", options))
}

/// Synthetic vectors, from a thousand to a million.
pub(super) fn million(options: Options) -> Result<Report> {
    let ground = Ground::prepare()?;
    let mut script = ground.environment.script("index/synthetic.py");
    let folder = ground.environment.data_set(&mut script)?;
    let (sizes, care) = if options.quick {
        (&SIZES[..3], Care { rounds: 2, seconds: 0.05, step: 4 })
    } else {
        (&SIZES[..], Care { rounds: 5, seconds: 0.3, step: 2 })
    };
    let mut field = ground.field(&[&[OURS], &AT_SCALE[..]].concat())?;
    let (mut rows, mut growth) = (Vec::new(), Growth::default());
    for &size in sizes {
        let data = Data { folder: &folder, rows: size };
        eprintln!("building over {size} vectors");
        let builds = build(&mut field, data, 0)?;
        eprintln!("searching");
        let truth = field[1].truth(data)?;
        let found = sweep(&mut field, &truth, care)?;
        growth.add(size, &found, GROWTH_RECALL);
        if Some(&size) == sizes.last() {
            rows.splice(..0, search_rows(&found).into_iter().chain(build_rows(&field, &builds)));
        }
        rows.extend(growth_rows(size, &found));
    }
    if options.write {
        plots::growth(&ground, &growth, GROWTH_RECALL)?;
    }
    Ok(report("index-million", rows, "cargo xtask bench index --million", options))
}

fn report(bench: &'static str, rows: Vec<Row>, command: &str, options: Options) -> Report {
    let quick = if options.quick { " --quick" } else { "" };
    Report { bench, page: "index", machine: machine(), rows, command: format!("{command}{quick}") }
}

/// Builds every index, several times in turns after a first that does not count; once, which counts, if `passes` is 0.
fn build(field: &mut [Contender], data: Data<'_>, passes: usize) -> Result<Vec<Series>> {
    let turns: Vec<usize> = (0..field.len()).collect();
    if passes == 0 {
        return turns.iter().map(|&who| Ok(Series::from(field[who].build(data, 0)?))).collect();
    }
    in_turns(passes, &turns, |&who| field[who].build(data, 0))
}

fn build_rows(field: &[Contender], builds: &[Series]) -> Vec<Row> {
    let metric = "build with two threads; ours with its snapshot";
    let (ours, peers) = (&builds[0], field.iter().zip(builds).skip(1));
    let mut rows: Vec<Row> = peers
        .map(|(peer, series)| {
            Row::ours(metric, "s", ours.of("build_s")).peer(peer.name, series.of("build_s"))
        })
        .collect();
    if let Some(hnswlib) = rows.first_mut() {
        *hnswlib = hnswlib.clone().goal(Goal::TimesPeerAtMost(1.5));
    }
    rows.push(Row::ours("of it inserting, on one thread", "s", ours.of("insert_s")));
    rows.push(Row::ours("of it merging and writing the snapshot", "s", ours.of("compact_s")));
    rows
}

fn search_rows(found: &Sweep) -> Vec<Row> {
    let mut rows = Vec::new();
    for recall in RECALLS {
        let metric = format!("queries per second at recall@10 of {recall}");
        let ours = ours(found).at_recall(recall).unwrap_or(f64::NAN);
        let mut peers: Vec<(&str, f64)> =
            peers(found).filter_map(|curve| Some((curve.name.as_str(), curve.at_recall(recall)?))).collect();
        peers.sort_by(|a, b| b.1.total_cmp(&a.1));
        for (rank, (name, speed)) in peers.into_iter().enumerate() {
            let row = Row::ours(&metric, "1/s", ours).peer(name, speed);
            rows.push(if rank == 0 { row.goal(Goal::TimesPeerAtLeast(1.3)) } else { row });
        }
    }
    let Point { recall, queries_per_s, .. } = found.calibrated;
    rows.push(Row::ours("recall@10 of a search that is told nothing", "", recall));
    rows.push(against_best(found, recall, "its queries per second", queries_per_s));
    rows.push(Row::ours("recall@10 of the exact scan", "", found.exact.recall));
    rows.push(Row::ours("its queries per second", "1/s", found.exact.queries_per_s));
    rows
}

fn growth_rows(size: u32, found: &Sweep) -> Vec<Row> {
    let micros = |speed: f64| 1e6 / speed;
    let metric = |what: &str| format!("{} vectors: a query {what}", thousands(size));
    let at_recall = metric(&format!("at recall@10 of {GROWTH_RECALL}"));
    let mut row = Row::ours(at_recall, "µs", ours(found).at_recall(GROWTH_RECALL).map_or(f64::NAN, micros));
    if let Some((name, speed)) = best_peer(found, GROWTH_RECALL) {
        row = row.peer(name, micros(speed));
    }
    let told_nothing = metric(&format!("that is told nothing, recall {:.4}", found.calibrated.recall));
    vec![
        row,
        Row::ours(told_nothing, "µs", micros(found.calibrated.queries_per_s)),
        Row::ours(metric("by exact scan"), "µs", micros(found.exact.queries_per_s)),
    ]
}

/// A speed of ours beside that of the peer that is fastest at the same recall.
fn against_best(found: &Sweep, recall: f64, metric: &str, ours: f64) -> Row {
    let row = Row::ours(metric, "1/s", ours);
    match best_peer(found, recall) {
        Some((name, speed)) => row.peer(format!("{name}, at that recall"), speed),
        None => row,
    }
}

fn best_peer(found: &Sweep, recall: f64) -> Option<(&str, f64)> {
    peers(found)
        .filter_map(|curve| Some((curve.name.as_str(), curve.at_recall(recall)?)))
        .max_by(|a, b| a.1.total_cmp(&b.1))
}

fn ours(found: &Sweep) -> &Curve {
    &found.curves[0]
}

fn peers(found: &Sweep) -> impl Iterator<Item = &Curve> {
    found.curves.iter().skip(1)
}

/// Opening what was saved, the memory it takes to answer from it, and inserting into it.
fn at_rest(ground: &Ground, data: Data<'_>, options: Options) -> Result<Vec<Row>> {
    let more = if options.quick { INSERTED / 10 } else { INSERTED };
    let mut ours = ground.start(OURS)?;
    let built = ours.build(data, more)?;
    let opened = ours.open(if options.quick { 5 } else { 101 })?;
    let ours_resident = megabytes(&ours.resident(ground, data.folder)?, "bytes")?;
    let ours_stored = megabytes(&built, "stored_bytes")?;
    let insert = ours.insert(data.folder, more)?;
    let (median, whole) = (1e3 * seconds(&insert, "median_s")?, 1e3 * seconds(&insert, "with_merge_s")?);
    let queries = |field| Ok::<_, anyhow::Error>(1.0 / seconds(&insert, field)?);
    let (before, between) = (queries("query_before_s")?, queries("query_between_s")?);
    let (open, with_query) = (1e3 * seconds(&opened, "median_s")?, 1e3 * seconds(&opened, "with_query_s")?);
    drop(ours);

    let (count, inserted) = (thousands(data.rows), thousands(more));
    let open_metric = format!("open a snapshot of {count} vectors");
    let resident_metric = format!("resident memory, {count} vectors, after 1,000 queries");
    let insert_metric = format!("insert one vector into {count}, median");
    let mut rows = vec![
        Row::ours(open_metric, "ms", open).goal(Goal::AtMost(5.0)),
        Row::ours("and answer one query", "ms", with_query),
    ];
    let (mut stored, mut inserts) = (Vec::new(), Vec::new());
    for name in PEERS {
        let mut peer = ground.start(name)?;
        let built = peer.build(data, more)?;
        let resident = megabytes(&peer.resident(ground, data.folder)?, "bytes")?;
        let row = Row::ours(&resident_metric, "MB", ours_resident).peer(name, resident);
        rows.push(if name == PEERS[0] { row.goal(Goal::TimesPeerAtMost(0.6)) } else { row });
        let size = megabytes(&built, "stored_bytes")?;
        stored.push(Row::ours("size on disk", "MB", ours_stored).peer(name, size));
        let insert = 1e3 * seconds(&peer.insert(data.folder, more)?, "median_s")?;
        let row = Row::ours(&insert_metric, "ms", median).peer(name, insert);
        inserts.push(if name == PEERS[0] { row.goal(Goal::AtMost(1.0)) } else { row });
    }
    rows.extend(stored);
    rows.extend(inserts);
    rows.push(Row::ours(format!("the same, with its share of one merge after {inserted}"), "ms", whole));
    let metric = |what: &str| format!("queries per second, told nothing, among {count}{what}");
    rows.push(Row::ours(metric(""), "1/s", before));
    rows.push(Row::ours(metric(&format!(" and {inserted} not yet merged")), "1/s", between));
    Ok(rows)
}

fn lookups(ground: &Ground) -> Result<Vec<Row>> {
    let answer = ground.start(OURS)?.lookups(TRACES)?;
    let mut rows = Vec::new();
    for state in ["in memory", "from a snapshot"] {
        for what in ["by context", "by hash"] {
            let field = format!("{what}, {state}");
            let micros = 1e6 * seconds(&answer, &field)?;
            let metric = format!("lookup {field}, {} traces", thousands(TRACES));
            rows.push(Row::ours(metric, "µs", micros).goal(Goal::AtMost(1.0)));
        }
    }
    Ok(rows)
}

/// As people write it.
fn thousands(number: u32) -> String {
    match (number / 1_000, number % 1_000) {
        (0, rest) => rest.to_string(),
        (above, rest) => format!("{},{rest:03}", thousands(above)),
    }
}

fn of_peer(metric: &str, unit: &'static str, name: &str, figure: f64) -> Row {
    Row { ours: None, ..Row::ours(metric, unit, f64::NAN).peer(name, figure) }
}

fn seconds(answer: &Value, field: &str) -> Result<f64> {
    answer[field].as_f64().with_context(|| format!("no {field} was answered"))
}

fn megabytes(answer: &Value, field: &str) -> Result<f64> {
    Ok(seconds(answer, field)? / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found() -> Sweep {
        let point = |recall, queries_per_s| Point { width: Some(10), recall, queries_per_s };
        let curve = |name: &str, points| Curve { name: name.to_owned(), points };
        Sweep {
            curves: vec![
                curve(OURS, vec![point(0.94, 20_000.0), point(0.999, 2_000.0)]),
                curve("slow", vec![point(0.94, 10_000.0), point(0.999, 1_000.0)]),
                curve("fast", vec![point(0.94, 15_000.0), point(0.99, 9_000.0)]),
            ],
            calibrated: Point { width: None, ..point(0.995, 3_000.0) },
            exact: Point { width: None, ..point(1.0, 500.0) },
        }
    }

    #[test]
    fn the_goal_stands_beside_the_peer_that_is_fastest_at_that_recall() {
        let rows = search_rows(&found());
        let judged: Vec<_> = rows.iter().filter(|row| row.goal.is_some()).collect();
        assert_eq!(judged.len(), RECALLS.len());
        assert_eq!(judged[0].peer_name.as_deref(), Some("fast"));
        assert_eq!(judged[2].peer_name.as_deref(), Some("slow"), "fast does not reach 0.998");
        assert_eq!(
            judged.iter().map(|row| row.met).collect::<Vec<_>>(),
            [Some(false), Some(false), Some(true)]
        );
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!([0, 999, 1_000, 1_000_000].map(thousands), ["0", "999", "1,000", "1,000,000"]);
    }

    #[test]
    fn growth_is_told_in_microseconds() {
        let rows = growth_rows(1_000, &found());
        let exact = rows.last().and_then(|row| row.ours).unwrap();
        assert!((exact - 2_000.0).abs() < 1e-9);
    }
}
