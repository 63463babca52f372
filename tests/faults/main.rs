//! The list of faults, each under load on real servers, judged by the ledger over the whole run.
//!
//! As tests they run one by one under a small load. `make faults` runs those of `FAULTS=17,20`, or all, one after the
//! other under the full load, and writes a report.

mod bed;
mod history_killed;
mod long_transaction;
mod pool_exhausted;
mod postgres_connections;
mod postgres_immediate;
mod providers;
mod race;
mod timer;

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};

use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use plazo_tests::report::{self, FaultReport};

use bed::Size;

/// One of the list.
struct Fault {
    number: u16,
    name: &'static str,
    run: fn(Size) -> LocalBoxFuture<'static, FaultReport>,
}

/// Those of PostgreSQL, of history and of the whole.
const OTHERS: [Fault; 6] = [
    Fault {
        number: 17,
        name: "PostgreSQL connections killed",
        run: |size| postgres_connections::run(size).boxed_local(),
    },
    Fault {
        number: 18,
        name: "PostgreSQL stopped in the middle of commits",
        run: |size| postgres_immediate::run(size).boxed_local(),
    },
    Fault {
        number: 19,
        name: "connection pool exhausted",
        run: |size| pool_exhausted::run(size).boxed_local(),
    },
    Fault {
        number: 20,
        name: "long write transaction",
        run: |size| long_transaction::run(size).boxed_local(),
    },
    Fault {
        number: 27,
        name: "reply, agent message, hold and close race the firing",
        run: |size| race::run(size).boxed_local(),
    },
    Fault {
        number: 28,
        name: "history killed in a loop, behind and doubled, while bulk closes race replies",
        run: |size| history_killed::run(size).boxed_local(),
    },
];

/// All of them, by their numbers.
fn faults() -> Vec<Fault> {
    let all = timer::FAULTS.into_iter().chain(providers::FAULTS);
    let mut faults: Vec<Fault> = all.chain(OTHERS).collect();
    faults.sort_by_key(|fault| fault.number);
    faults
}

impl Fault {
    /// Runs it to a report, however it ends.
    async fn report(&self, size: Size) -> FaultReport {
        let report = match AssertUnwindSafe((self.run)(size)).catch_unwind().await {
            Ok(report) => FaultReport {
                number: self.number,
                name: self.name.to_owned(),
                ..report
            },
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text =
                    text.or_else(|| panic.downcast_ref().map(|text: &&str| (*text).to_owned()));
                FaultReport::failed(self.number, self.name, text.unwrap_or_default())
            }
        };
        println!("{}", report.line());
        report
    }
}

async fn is_survived(number: u16) {
    let fault = faults().into_iter().find(|fault| fault.number == number);
    let report = fault.expect("it is in the list").report(Size::QUICK).await;
    assert!(report.pass, "{}", report.line());
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_01() {
    is_survived(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_02() {
    is_survived(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_03() {
    is_survived(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_08() {
    is_survived(8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_09() {
    is_survived(9).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_10() {
    is_survived(10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_13() {
    is_survived(13).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_14() {
    is_survived(14).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_15() {
    is_survived(15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_16() {
    is_survived(16).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_17() {
    is_survived(17).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_18() {
    is_survived(18).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_19() {
    is_survived(19).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_20() {
    is_survived(20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_22() {
    is_survived(22).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_27() {
    is_survived(27).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_28() {
    is_survived(28).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_29() {
    is_survived(29).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_30() {
    is_survived(30).await;
}

/// `FAULTS` holds numbers with commas between them, all when it is empty; `LOAD` is `full`, or `quick`; `FAULTS_JSON` is
/// where the report goes.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes for each fault: make faults"]
async fn all() {
    let setting = |name| std::env::var(name).unwrap_or_default();
    let size = match setting("LOAD").as_str() {
        "" | "full" => Size::FULL,
        "quick" => Size::QUICK,
        other => panic!("LOAD is full or quick, not {other}"),
    };
    let asked = setting("FAULTS");
    let numbers: Vec<u16> = asked
        .split([',', ' '])
        .filter(|number| !number.is_empty())
        .map(|number| number.parse().expect("FAULTS holds numbers of faults"))
        .collect();
    for number in &numbers {
        let is_known = faults().iter().any(|fault| fault.number == *number);
        assert!(is_known, "there is no fault {number}");
    }
    let path = match setting("FAULTS_JSON").as_str() {
        "" => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/faults.json"),
        path => PathBuf::from(path),
    };
    let mut reports = Vec::new();
    for fault in &faults() {
        if numbers.is_empty() || numbers.contains(&fault.number) {
            reports.push(fault.report(size).await);
            report::write(&path, &reports).expect("the report can be written");
        }
    }
    println!("{} has the report", path.display());
    let failed = reports.iter().filter(|report| !report.pass).count();
    assert_eq!(failed, 0, "faults that were not survived");
}

/// `SEED` picks the sequence, `MINUTES` is how long it takes, and `LOAD` is as above.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes as long as one says: make soak"]
async fn soak() {
    let setting = |name, default: &str| {
        let value = std::env::var(name).unwrap_or_default();
        if value.is_empty() {
            default.to_owned()
        } else {
            value
        }
    };
    let number = |name, default: &str| -> u64 {
        let value = setting(name, default);
        let number = value.parse();
        number.unwrap_or_else(|_| panic!("{name} is a whole number, not {value}"))
    };
    let size = match setting("LOAD", "full").as_str() {
        "quick" => Size::QUICK,
        _ => Size::FULL,
    };
    let seed = number("SEED", "1");
    println!("seed {seed}");
    let report = timer::soak(seed, number("MINUTES", "10"), size).await;
    println!("{}", report.line());
    assert!(report.pass, "not survived");
}
