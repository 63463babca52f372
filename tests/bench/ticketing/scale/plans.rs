//! The plans by which PostgreSQL ran ticketing's queries, from the log that `auto_explain` writes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::Value;

use crate::report::Report;
use crate::ticketing::bed::Bed;

/// A table with more rows, or pages, may not be read from end to end.
const SMALL_ROWS: f32 = 10_000.0;
const SMALL_PAGES: i32 = 200;

/// The plans of a query: what its nodes are and what they read, as many as there were different ones.
pub(super) type Plans = BTreeMap<String, BTreeSet<Vec<Node>>>;

/// A node of a plan.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Node {
    depth: usize,
    kind: String,
    relation: Option<String>,
    index: Option<String>,
}

impl Node {
    /// The big table that this node reads from end to end.
    fn scanned(&self, big: &BTreeSet<String>) -> Option<&str> {
        let relation = self.relation.as_deref()?;
        (self.kind == "Seq Scan" && big.contains(relation)).then_some(relation)
    }
}

/// From now on, sessions in this database write the plan of each statement into the server's log.
pub(super) async fn log_plans(bed: &Bed, database: &str) {
    let mut connection = bed.connection(database).await;
    // Loaded here, so that the settings are known.
    let mut statements = vec!["LOAD 'auto_explain'".to_owned()];
    for (name, value) in [
        ("session_preload_libraries", "auto_explain"),
        ("auto_explain.log_min_duration", "0"),
        ("auto_explain.log_analyze", "off"),
        ("auto_explain.log_format", "json"),
        ("auto_explain.log_nested_statements", "on"),
    ] {
        statements.push(format!("ALTER DATABASE {database} SET {name} = '{value}'"));
    }
    for statement in statements {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
            .execute(&mut connection)
            .await
            .expect("plans can be logged");
    }
}

/// Finds the plans of an application's sessions in the server's log.
pub(super) fn read(log: &str, application: &str) -> Plans {
    let mut plans = Plans::new();
    let mut lines = log.lines().peekable();
    let begins = format!("] {application} LOG:  duration: ");
    while let Some(line) = lines.next() {
        if !line.contains(&begins) || !line.ends_with("plan:") {
            continue;
        }
        let mut text = String::new();
        // Lines that go on begin with a tab.
        while let Some(more) = lines.next_if(|line| line.starts_with('\t')) {
            text.push_str(more);
            text.push('\n');
        }
        let plan: Value = serde_json::from_str(&text.replace('\t', " ")).expect("a plan is JSON");
        let query = plan["Query Text"].as_str().unwrap_or_default();
        let mut nodes = Vec::new();
        add_nodes(&plan["Plan"], 0, &mut nodes);
        plans.entry(one_line(query)).or_default().insert(nodes);
    }
    plans
}

fn add_nodes(plan: &Value, depth: usize, nodes: &mut Vec<Node>) {
    let text = |key: &str| plan[key].as_str().map(str::to_owned);
    nodes.push(Node {
        depth,
        kind: text("Node Type").unwrap_or_default(),
        relation: text("Relation Name"),
        index: text("Index Name"),
    });
    for child in plan["Plans"].as_array().into_iter().flatten() {
        add_nodes(child, depth + 1, nodes);
    }
}

/// A query without its comments, on one line.
fn one_line(query: &str) -> String {
    let mut text = String::new();
    for line in query.split('\n') {
        let code = line.split("--").next().unwrap_or_default();
        for word in code.split_whitespace() {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(word);
        }
    }
    text
}

/// Writes the plans beside the figures, and complains about big tables that are read from end to end.
pub(super) async fn judge(bed: &Bed, database: &str, plans: &Plans, report: &mut Report) {
    let big = big_tables(bed, database).await;
    let mut text = String::new();
    let (mut scans, mut seen) = (Vec::new(), 0);
    for (query, plans) in plans {
        let _ = writeln!(text, "{query}");
        seen += plans.len();
        for nodes in plans {
            for relation in nodes.iter().filter_map(|node| node.scanned(&big)) {
                scans.push(format!("reads all of {relation}: {query}"));
            }
            show(nodes, &big, &mut text);
        }
    }
    scans.dedup();
    let path = report.write_beside("plans.txt", &text);
    report.set("scale_queries", plans.len());
    report.set("scale_plans", seen);
    report.set("scale_big_tables", big.into_iter().collect::<Vec<_>>());
    report.set("scale_sequential_scans", scans.clone());
    println!(
        "\n  {} queries, {seen} plans, {} read a big table from end to end: {}",
        plans.len(),
        scans.len(),
        path.display()
    );
    if plans.is_empty() {
        report.complain("the server logged no plans".to_owned());
    }
    for scan in scans {
        report.complain(scan);
    }
}

/// Adds a plan to the text, with one line for partitions that are read alike.
fn show(nodes: &[Node], big: &BTreeSet<String>, text: &mut String) {
    let mut lines: Vec<(String, usize)> = Vec::new();
    for node in nodes {
        let mut line = format!("  {}{}", "  ".repeat(node.depth), node.kind);
        if let Some(relation) = &node.relation {
            let _ = write!(line, " {}", without_week(relation));
        }
        if let Some(index) = &node.index {
            let _ = write!(line, " by {}", without_week(index));
        }
        if node.scanned(big).is_some() {
            line.push_str("  ← all of a big table");
        }
        match lines.last_mut() {
            Some((last, count)) if *last == line => *count += 1,
            _ => lines.push((line, 1)),
        }
    }
    for (line, count) in lines {
        text.push_str(&line);
        if count > 1 {
            let _ = write!(text, "  × {count}");
        }
        text.push('\n');
    }
    text.push('\n');
}

/// A name without the eight digits of a partition.
fn without_week(name: &str) -> String {
    let parts: Vec<&str> = name
        .split('_')
        .map(|part| match part.len() {
            8 if part.bytes().all(|byte| byte.is_ascii_digit()) => "WEEK",
            _ => part,
        })
        .collect();
    parts.join("_")
}

async fn big_tables(bed: &Bed, database: &str) -> BTreeSet<String> {
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class
         WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND (reltuples > $1 OR relpages > $2)",
    )
    .bind(SMALL_ROWS)
    .bind(SMALL_PAGES)
    .fetch_all(&mut bed.connection(database).await)
    .await
    .expect("tables can be listed");
    names.into_iter().collect()
}
