//! The figures beside their limits, peers and goals.

use std::fmt::Write;

use crate::report::{Report, Table, rounded, shown};
use crate::timer::drain::best_raw;
use crate::timer::lateness::{RATES, name};
use crate::timer::recorder::Lateness;
use crate::timer::rounds::{CPU_OF, Rounds, cpu_name};
use crate::timer::ticketing;

/// Names of the figures in the report that are medians of rounds, and told as they are.
const TOLD: [&str; 24] = [
    "drain_per_s",
    "drain_ticketing_per_s",
    "raw_fenced_update_per_s",
    "arm_per_s",
    "arm_at_one_instant_per_s",
    "raw_zadd_per_s",
    "rearm_per_s",
    "raw_zadd_zrem_per_s",
    "rearm_one_by_one_per_s",
    "bytes_per_ticket",
    "rebuild_1m_s",
    "rebuild_s",
    "takeover_s",
    "takeover_leases_s",
    "takeover_beyond_lease_s",
    "firing_cpu_us",
    "bullmq_drain_per_s",
    "bullmq_add_bulk_per_s",
    "bullmq_change_delay_per_s",
    "bullmq_bytes_per_job",
    "bullmq_worker_cpu_us",
    "graphile_drain_per_s",
    "graphile_add_jobs_per_s",
    "graphile_worker_cpu_us",
];

/// What a figure must be.
#[derive(Debug, Clone, Copy)]
enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

/// A figure, what it is compared with, and the goal for one of them.
struct Row {
    title: String,
    figure: String,
    beside: String,
    judged: f64,
    goal: Goal,
}

impl Goal {
    fn is_reached_by(self, figure: f64) -> bool {
        match self {
            Self::AtLeast(least) => figure >= least,
            Self::AtMost(most) => figure <= most,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtLeast(least) => format!("≥ {least}"),
            Self::AtMost(most) => format!("≤ {most}"),
        }
    }
}

/// Puts everything into the report, and shows it.
pub(super) fn tell(rounds: &Rounds, report: &mut Report) {
    set_figures(rounds, report);
    set_lateness(rounds, report);
    set_cpu(rounds, report);
    let rows = rows(rounds);
    let mut table = Table::new(&["figure", "measured", "beside", "judged", "goal", ""]);
    let mut markdown = String::from(
        "| figure | measured | beside it, in the same run | ratio or figure judged | goal |\n|---|---|---|---|---|\n",
    );
    let mut missed = Vec::new();
    for row in &rows {
        let is_reached = row.goal.is_reached_by(row.judged);
        let mark = if is_reached { "✓" } else { "✗" };
        if !is_reached {
            missed.push(row.title.clone());
        }
        table.row(vec![
            row.title.clone(),
            row.figure.clone(),
            row.beside.clone(),
            shown(row.judged),
            row.goal.text(),
            mark.to_owned(),
        ]);
        // Writing to a string can't fail.
        let _ = writeln!(
            markdown,
            "| {} | {} | {} | {} | {} |",
            row.title,
            row.figure,
            row.beside,
            shown(row.judged),
            row.goal.text()
        );
    }
    table.print("all in one run; medians of the rounds; handler in another process, over gRPC");
    report.set("goals_missed", missed);
    let path = report.write_beside("figures.md", &markdown);
    println!("\n  the same as Markdown in {}", path.display());
}

fn set_figures(rounds: &Rounds, report: &mut Report) {
    for figure in TOLD {
        if let Some(median) = rounds.median(figure) {
            report.set(figure, rounded(median));
        }
    }
    let (raw, batch, connections) = best_raw(rounds);
    report.set("raw_claim_ack_batch", batch);
    report.set("raw_claim_ack_connections", connections);
    let raw_per_s = rounds.median(&raw).unwrap_or(f64::NAN);
    report.set("raw_claim_ack_per_s", rounded(raw_per_s));
    for (name, figure, to) in [
        ("drain_ratio", "drain_per_s", raw.as_str()),
        ("arm_ratio", "arm_per_s", "raw_zadd_per_s"),
        ("rearm_ratio", "rearm_per_s", "raw_zadd_zrem_per_s"),
        (
            "drain_ticketing_ratio",
            "drain_ticketing_per_s",
            "raw_fenced_update_per_s",
        ),
        ("vs_bullmq", "drain_per_s", "bullmq_drain_per_s"),
        ("vs_graphile", "drain_per_s", "graphile_drain_per_s"),
        ("arm_vs_bullmq", "arm_per_s", "bullmq_add_bulk_per_s"),
        (
            "rearm_vs_bullmq",
            "rearm_one_by_one_per_s",
            "bullmq_change_delay_per_s",
        ),
        ("cpu_vs_bullmq", "firing_cpu_us", "bullmq_worker_cpu_us"),
    ] {
        if let Some(ratio) = rounds.ratio(figure, to) {
            report.set(name, rounded(ratio));
        }
    }
    let percent = |whose: &str| rounds.median(&format!("idle_cpu_percent_{whose}"));
    report.set(
        "idle_cpu_percent",
        serde_json::json!({ "timer": percent("timer"), "redis": percent("redis"), "handler": percent("handler") }),
    );
    let each = |whose: &str| {
        rounds
            .median(&format!("firing_cpu_us_{whose}"))
            .map(rounded)
    };
    report.set(
        "firing_cpu_us_of",
        serde_json::json!({ "timer": each("timer"), "handler": each("handler"), "redis": each("redis") }),
    );
}

/// What each thing takes of the cores: what the cores of a machine bear.
fn set_cpu(rounds: &Rounds, report: &mut Report) {
    let mut heads = vec!["µs of the cores for each"];
    heads.extend(CPU_OF);
    let mut table = Table::new(&heads);
    let mut told = serde_json::Map::new();
    for name in ["drain", "arm", "rearm", "rearm one by one"] {
        let mut cells = vec![name.to_owned()];
        let mut of = serde_json::Map::new();
        for whose in CPU_OF {
            let each_us = rounds.median(&cpu_name(name, whose)).unwrap_or(f64::NAN);
            cells.push(shown(each_us));
            of.insert(whose.to_owned(), rounded(each_us).into());
        }
        table.row(cells);
        told.insert(name.replace(' ', "_"), of.into());
    }
    report.set("cpu_us_each_of", told);
    table.print("where the time goes");
}

fn set_lateness(rounds: &Rounds, report: &mut Report) {
    let mut table = Table::new(&["due/s", "min ms", "p50", "p99", "p99.9", "max"]);
    for (whose, figure) in [
        ("timer", "lateness_ms"),
        ("bullmq", "bullmq_lateness_ms"),
        ("graphile", "graphile_lateness_ms"),
    ] {
        let mut told = serde_json::Map::new();
        for rate in RATES {
            if let Some(lateness) = rounds.lateness(&name(whose, rate)) {
                told.insert(rate.to_string(), json(lateness));
                table.row(cells(&format!("{whose}, {rate}"), lateness));
            }
        }
        if whose == "timer" {
            for (of, name) in [
                ("armed late", "armed_20_ms_ahead"),
                (
                    "armed late elsewhere",
                    "armed_20_ms_ahead_by_another_replica",
                ),
            ] {
                if let Some(lateness) = rounds.lateness(of) {
                    told.insert(name.to_owned(), json(lateness));
                    table.row(cells(&name.replace('_', " "), lateness));
                }
            }
        }
        if !told.is_empty() {
            report.set(figure, told);
        }
    }
    if let Some(lateness) = rounds.lateness("ticketing") {
        let mut told = json(lateness);
        told["due_per_s"] = ticketing::RATE.into();
        report.set("lateness_ticketing_ms", told);
        let title = format!("ticketing to the commit, {}", ticketing::RATE);
        table.row(cells(&title, lateness));
    }
    table
        .print("from the due instant to the handler; medians of the rounds, least and most of all");
    let early: Vec<f64> = RATES
        .iter()
        .filter_map(|rate| rounds.lateness(&name("timer", *rate)))
        .chain(rounds.lateness("ticketing"))
        .map(|lateness| lateness.min)
        .filter(|min| *min < 0.0)
        .collect();
    if !early.is_empty() {
        report.complain(format!("something was early, by milliseconds: {early:?}"));
    }
}

fn json(lateness: Lateness) -> serde_json::Value {
    serde_json::json!({
        "min": rounded(lateness.min),
        "p50": rounded(lateness.p50),
        "p99": rounded(lateness.p99),
        "p999": rounded(lateness.p999),
        "max": rounded(lateness.max),
    })
}

fn cells(title: &str, lateness: Lateness) -> Vec<String> {
    let figures = [
        lateness.min,
        lateness.p50,
        lateness.p99,
        lateness.p999,
        lateness.max,
    ];
    std::iter::once(title.to_owned())
        .chain(figures.map(shown))
        .collect()
}

/// All goals for which there are figures.
fn rows(rounds: &Rounds) -> Vec<Row> {
    let (raw, batch, connections) = best_raw(rounds);
    let raw_title = format!("the bare scripts, batches of {batch}, {connections} connections");
    let drain = ("drain, handler without work", "drain_per_s");
    let through = ("drain through ticketing", "drain_ticketing_per_s");
    let arm = ("arming, batches of 256", "arm_per_s");
    let rearm = ("re-arming, batches of 256", "rearm_per_s");
    let singly = ("re-arming one by one, 64 callers", "rearm_one_by_one_per_s");
    let cpu = (
        "CPU of timer and handler for each at 5,000/s",
        "firing_cpu_us",
    );
    let bare = "the same commands bare";
    let statements = ("the same statements bare", "raw_fenced_update_per_s");
    let ratios: [(_, (&str, &str), &str, Goal); 10] = [
        (drain, (&raw_title, &raw), "/s", Goal::AtLeast(0.75)),
        (
            drain,
            ("BullMQ", "bullmq_drain_per_s"),
            "/s",
            Goal::AtLeast(30.0),
        ),
        (
            drain,
            ("graphile-worker", "graphile_drain_per_s"),
            "/s",
            Goal::AtLeast(8.0),
        ),
        (through, statements, "/s", Goal::AtLeast(0.6)),
        (
            through,
            ("graphile-worker, no work", "graphile_drain_per_s"),
            "/s",
            Goal::AtLeast(1.0),
        ),
        (arm, (bare, "raw_zadd_per_s"), "/s", Goal::AtLeast(0.6)),
        (
            arm,
            ("BullMQ addBulk", "bullmq_add_bulk_per_s"),
            "/s",
            Goal::AtLeast(6.0),
        ),
        (
            rearm,
            (bare, "raw_zadd_zrem_per_s"),
            "/s",
            Goal::AtLeast(0.6),
        ),
        (
            singly,
            ("BullMQ changeDelay", "bullmq_change_delay_per_s"),
            "/s",
            Goal::AtLeast(2.0),
        ),
        (
            cpu,
            ("BullMQ's worker", "bullmq_worker_cpu_us"),
            " µs",
            Goal::AtMost(0.4),
        ),
    ];
    let median = |name: &str| shown(rounds.median(name).unwrap_or(f64::NAN));
    let mut rows: Vec<Row> = ratios
        .into_iter()
        .filter_map(|((title, figure), (to_title, to), unit, goal)| {
            Some(Row {
                title: title.to_owned(),
                figure: format!("{}{unit}", median(figure)),
                beside: format!("{to_title}: {}{unit}", median(to)),
                judged: rounds.ratio(figure, to)?,
                goal,
            })
        })
        .collect();
    rows.extend(lateness_rows(rounds));
    rows.extend(plain_rows(rounds));
    rows
}

fn lateness_rows(rounds: &Rounds) -> Vec<Row> {
    let mut rows = Vec::new();
    for (rate, most_ms) in RATES.into_iter().zip([10.0, 15.0, 25.0]) {
        let Some(lateness) = rounds.lateness(&name("timer", rate)) else {
            continue;
        };
        let title = format!("lateness at {}/s, p99", shown_count(rate));
        let figure = format!("{} ms", shown(lateness.p99));
        rows.push(Row {
            title: title.clone(),
            figure: figure.clone(),
            beside: String::new(),
            judged: lateness.p99,
            goal: Goal::AtMost(most_ms),
        });
        let peer = name("bullmq", rate);
        if let (Some(ratio), Some(peer)) = (
            rounds.p99_ratio(&name("timer", rate), &peer),
            rounds.lateness(&peer),
        ) {
            rows.push(Row {
                title,
                figure,
                beside: format!("BullMQ: {} ms", shown(peer.p99)),
                judged: ratio,
                goal: Goal::AtMost(0.125),
            });
        }
    }
    for (of, title, most_ms, is_max) in [
        (
            "armed late elsewhere",
            "lateness of what another replica arms 20 ms ahead, max",
            110.0,
            true,
        ),
        (
            "ticketing",
            "lateness through ticketing at 2,000/s, p99 of the commits",
            30.0,
            false,
        ),
    ] {
        if let Some(lateness) = rounds.lateness(of) {
            let judged = if is_max { lateness.max } else { lateness.p99 };
            rows.push(Row {
                title: title.to_owned(),
                figure: format!("{} ms", shown(judged)),
                beside: String::new(),
                judged,
                goal: Goal::AtMost(most_ms),
            });
        }
    }
    rows
}

/// Figures that stand for themselves.
fn plain_rows(rounds: &Rounds) -> Vec<Row> {
    let bullmq = rounds
        .median("bullmq_bytes_per_job")
        .map(|bytes| format!("BullMQ: {} B", shown(bytes)));
    [
        (
            "bytes_per_ticket",
            "Redis memory for each waiting ticket",
            " B",
            150.0,
        ),
        (
            "idle_cpu_percent_timer",
            "timer while nothing is due",
            " %",
            1.0,
        ),
        (
            "idle_cpu_percent_redis",
            "Redis while nothing is due",
            " %",
            1.0,
        ),
        ("rebuild_1m_s", "rebuild of a million entries", " s", 15.0),
        (
            "takeover_s",
            "take-over of a dead replica's shards",
            " s",
            3.0,
        ),
        (
            "takeover_beyond_lease_s",
            "take-over of its leases, beyond the lease",
            " s",
            1.0,
        ),
    ]
    .into_iter()
    .filter_map(|(figure, title, unit, most)| {
        let median = rounds.median(figure)?;
        let beside = match &bullmq {
            Some(bullmq) if figure == "bytes_per_ticket" => bullmq.clone(),
            _ => String::new(),
        };
        Some(Row {
            title: title.to_owned(),
            figure: format!("{}{unit}", shown(median)),
            beside,
            judged: median,
            goal: Goal::AtMost(most),
        })
    })
    .collect()
}

#[expect(clippy::cast_precision_loss, reason = "a small number")]
fn shown_count(count: usize) -> String {
    shown(count as f64)
}
