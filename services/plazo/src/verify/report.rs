//! What a comparison found, as a table.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::Rows;

/// Differences that are told one by one.
const SHOWN: usize = 20;

/// What a comparison found.
#[derive(Debug, Clone, Default)]
pub struct VerifyReport {
    /// By table.
    pub tables: BTreeMap<&'static str, TableCount>,
    /// Tickets that retention has taken away from history.
    pub forgotten: usize,
    /// The first differences.
    pub differences: Vec<Difference>,
}

/// The rows of one table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TableCount {
    /// Rows that should be there.
    pub truth: usize,
    /// Rows that are.
    pub history: usize,
    /// Rows that should be there and are not.
    pub missing: usize,
    /// Rows that should not be there.
    pub extra: usize,
    /// Rows that have other values.
    pub different: usize,
}

/// A row that is not as it should be. Ids and names of columns, never what customers are called or wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The table.
    pub table: &'static str,
    /// The tenant.
    pub tenant_id: i64,
    /// The ticket, or the contact in the table of contacts.
    pub id: i64,
    /// The number of the event, the agent, or 0.
    pub part: i64,
    /// `missing`, `extra`, or the columns that differ.
    pub what: String,
}

impl VerifyReport {
    /// Whether everything is as it should be.
    pub fn is_equal(&self) -> bool {
        self.tables
            .values()
            .all(|table| table.missing + table.extra + table.different == 0)
    }

    /// Compares rows and counts them.
    pub(super) fn count(&mut self, truth: &Rows, shown: &Rows) {
        let keys: BTreeSet<_> = truth.keys().chain(shown.keys()).collect();
        for key in keys {
            let (expected, found) = (truth.get(key), shown.get(key));
            let what = match (expected, found) {
                (Some(expected), Some(found)) => {
                    let columns: BTreeSet<_> = expected.keys().chain(found.keys()).collect();
                    let differing = columns
                        .into_iter()
                        .filter(|column| expected.get(*column) != found.get(*column));
                    differing.copied().collect::<Vec<_>>().join(", ")
                }
                (Some(_), None) => "missing".to_owned(),
                _ => "extra".to_owned(),
            };
            let (tenant_id, id) = key.ticket;
            let sides = (expected.is_some(), found.is_some());
            self.add(key.table, (tenant_id, id, key.part), sides, what);
        }
    }

    /// Counts one row. `sides`: whether it is in the truth and in history. `what` is empty when they agree.
    pub(super) fn add(
        &mut self,
        table: &'static str,
        (tenant_id, id, part): (i64, i64, i64),
        sides: (bool, bool),
        what: String,
    ) {
        let count = self.tables.entry(table).or_default();
        count.truth += usize::from(sides.0);
        count.history += usize::from(sides.1);
        match sides {
            _ if what.is_empty() => return,
            (true, true) => count.different += 1,
            (true, false) => count.missing += 1,
            _ => count.extra += 1,
        }
        if self.differences.len() < SHOWN {
            self.differences.push(Difference {
                table,
                tenant_id,
                id,
                part,
                what,
            });
        }
    }
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<22}{:>12}{:>12}{:>10}{:>10}{:>11}",
            "table", "truth", "history", "missing", "extra", "different"
        )?;
        for (table, count) in &self.tables {
            writeln!(
                f,
                "{table:<22}{:>12}{:>12}{:>10}{:>10}{:>11}",
                count.truth, count.history, count.missing, count.extra, count.different
            )?;
        }
        if self.forgotten > 0 {
            writeln!(
                f,
                "\n{} tickets were taken away by retention",
                self.forgotten
            )?;
        }
        for difference in &self.differences {
            let Difference {
                table,
                tenant_id,
                id,
                part,
                what,
            } = difference;
            writeln!(f, "\ntenant {tenant_id}, {table} {id}/{part}: {what}")?;
        }
        if self.is_equal() {
            writeln!(f, "\nhistory equals the truth")
        } else {
            writeln!(f, "\nhistory differs from the truth")
        }
    }
}
