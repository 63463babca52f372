//! The plans by which PostgreSQL ran a service's queries, from the log that `auto_explain` writes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::Value;
use sqlx::PgConnection;

use crate::report::Report;

/// A table with more rows, or pages, may not be read from end to end.
const SMALL_ROWS: f32 = 10_000.0;
const SMALL_PAGES: i32 = 200;

/// Of a partition, a period may want nearly all: then it is read from end to end with good reason, from so large a part on.
const MOST: f64 = 0.5;

/// The plans of a query: what its nodes are and what they read, as many as there were different ones.
pub(crate) type Plans = BTreeMap<String, BTreeSet<Vec<Node>>>;

/// A node of a plan.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Node {
    depth: usize,
    kind: String,
    relation: Option<String>,
    index: Option<String>,
    /// Of a scan: the rows that it is expected to find, with two digits, so that few plans differ by it alone. Of all processes
    /// that share it.
    rows: u64,
    /// It is asked for one row: EXISTS wants no more.
    ends_early: bool,
}

/// Big tables with their rows.
type Big = BTreeMap<String, f64>;

impl Node {
    /// The big table that this node reads from end to end.
    fn scanned(&self, big: &Big) -> Option<&str> {
        let relation = self.relation.as_deref()?;
        let rows = *big.get(relation)?;
        let is_partition = without_number(relation) != relation;
        let wants_most = is_partition && whole(self.rows) >= rows * MOST;
        let reads_all = self.kind == "Seq Scan" && !self.ends_early && !wants_most;
        reads_all.then_some(relation)
    }
}

/// From now on, sessions in this database write the plan of each statement into the server's log.
pub(crate) async fn log_plans(connection: &mut PgConnection, database: &str) {
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
            .execute(&mut *connection)
            .await
            .expect("plans can be logged");
    }
}

/// New sessions write no more plans.
pub(crate) async fn stop_logging(connection: &mut PgConnection, database: &str) {
    let statement = format!("ALTER DATABASE {database} RESET session_preload_libraries");
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
        .execute(connection)
        .await
        .expect("plans need not be logged");
}

/// Finds the plans of an application's sessions in the server's log.
pub(crate) fn read(log: &str, application: &str) -> Plans {
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
        add_nodes(&plan["Plan"], Place::default(), &mut nodes);
        plans.entry(one_line(query)).or_default().insert(nodes);
    }
    plans
}

/// Where a node stands.
#[derive(Debug, Clone, Copy)]
struct Place {
    depth: usize,
    ends_early: bool,
    /// How many processes share what is beneath. The one that gathers does less of it the more there are.
    sharers: f64,
}

impl Default for Place {
    fn default() -> Self {
        Self {
            depth: 0,
            ends_early: false,
            sharers: 1.0,
        }
    }
}

fn add_nodes(plan: &Value, place: Place, nodes: &mut Vec<Node>) {
    let text = |key: &str| plan[key].as_str().map(str::to_owned);
    let kind = text("Node Type").unwrap_or_default();
    let is_scan = kind == "Seq Scan";
    let sharers = if plan["Parallel Aware"] == true {
        place.sharers
    } else {
        1.0
    };
    let rows = plan["Plan Rows"].as_f64().unwrap_or_default() * sharers;
    // What stands in a query and is asked for once: EXISTS, unless a node must see all rows before it has the first.
    let name = text("Subplan Name").unwrap_or_default();
    let takes_all = ["Aggregate", "Sort", "Hash", "Materialize"].contains(&kind.as_str());
    let ends_early = (place.ends_early || name.starts_with("InitPlan")) && !takes_all;
    nodes.push(Node {
        depth: place.depth,
        kind,
        relation: text("Relation Name"),
        index: text("Index Name"),
        rows: if is_scan { with_two_digits(rows) } else { 0 },
        ends_early,
    });
    let sharers = match plan["Workers Planned"].as_f64() {
        Some(workers) => workers + (1.0 - 0.3 * workers).max(0.0),
        None => place.sharers,
    };
    let beneath = Place {
        depth: place.depth + 1,
        ends_early,
        sharers,
    };
    for child in plan["Plans"].as_array().into_iter().flatten() {
        add_nodes(child, beneath, nodes);
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "tables have fewer rows"
)]
fn with_two_digits(number: f64) -> u64 {
    let number = number as u64;
    let unit = 10_u64.pow(
        number
            .checked_ilog10()
            .unwrap_or_default()
            .saturating_sub(1),
    );
    number / unit * unit
}

#[expect(clippy::cast_precision_loss, reason = "tables have fewer rows")]
fn whole(rows: u64) -> f64 {
    rows as f64
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

/// Writes the plans beside the figures, and complains about big tables that are read from end to end. Names of figures
/// begin with the prefix.
pub(crate) async fn judge(
    connection: &mut PgConnection,
    plans: &Plans,
    prefix: &str,
    report: &mut Report,
) {
    let big = big_tables(connection).await;
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
    report.set(&format!("{prefix}queries"), plans.len());
    report.set(&format!("{prefix}plans"), seen);
    report.set(
        &format!("{prefix}big_tables"),
        big.into_keys().collect::<Vec<_>>(),
    );
    report.set(&format!("{prefix}sequential_scans"), scans.clone());
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
fn show(nodes: &[Node], big: &Big, text: &mut String) {
    let mut lines: Vec<(String, usize)> = Vec::new();
    for node in nodes {
        let mut line = format!("  {}{}", "  ".repeat(node.depth), node.kind);
        if let Some(relation) = &node.relation {
            let _ = write!(line, " {}", without_number(relation));
        }
        if let Some(index) = &node.index {
            let _ = write!(line, " by {}", without_number(index));
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

/// A name without the digits of a partition: of a week, or of a number as in `p12`.
fn without_number(name: &str) -> String {
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = name
        .split('_')
        .map(|part| match part.strip_prefix('p') {
            _ if part.len() == 8 && is_number(part) => "WEEK",
            Some(number) if !number.is_empty() && is_number(number) => "pN",
            _ => part,
        })
        .collect();
    parts.join("_")
}

async fn big_tables(connection: &mut PgConnection) -> Big {
    let tables: Vec<(String, f64)> = sqlx::query_as(
        "SELECT relname::text, greatest(reltuples, 0)::float8 FROM pg_class
         WHERE relkind = 'r' AND relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema')
             AND (reltuples > $1 OR relpages > $2)",
    )
    .bind(SMALL_ROWS)
    .bind(SMALL_PAGES)
    .fetch_all(connection)
    .await
    .expect("tables can be listed");
    tables.into_iter().collect()
}
