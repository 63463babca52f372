//! Sending beside a million messages that wait for later, against sending without them.

use sqlx::PgPool;

use crate::notification::bed::{Account, Bed, put};
use crate::notification::effort::Effort;
use crate::notification::sending::drain;
use crate::rates::Measured;
use crate::report::{Report, Table, median, rounded, shown};

/// Accounts for each endpoint, so that the messages are spread over many.
const COPIES: i32 = 32;

/// One database and what was measured in it.
struct Side {
    database: &'static str,
    /// Messages that wait for later.
    later: usize,
    accounts: Vec<Account>,
    measured: Vec<Measured>,
}

impl Side {
    async fn set_up(bed: &Bed, database: &'static str, later: usize) -> Self {
        let notification = bed.notification(database).await;
        notification.service.stop().await;
        let accounts = multiply(&notification.pool, &notification.accounts).await;
        if later > 0 {
            put(&notification.pool, "later", later, &accounts, false).await;
        }
        // As the server itself does it some time after a load.
        sqlx::query("VACUUM ANALYZE active_messages")
            .execute(&notification.pool)
            .await
            .expect("tables can be vacuumed");
        Self {
            database,
            later,
            accounts,
            measured: Vec::new(),
        }
    }

    fn of(&self, figure: impl Fn(&Measured) -> f64) -> f64 {
        median(&self.measured.iter().map(figure).collect::<Vec<_>>())
    }
}

/// Measures both in turns.
pub(super) async fn run(bed: &mut Bed, effort: Effort, report: &mut Report) {
    let later = effort.waiting - effort.waiting_due;
    let mut sides = [
        Side::set_up(bed, "none_waiting", 0).await,
        Side::set_up(bed, "many_waiting", later).await,
    ];
    for round in 0..effort.rounds {
        // Each side is the first one in turn.
        for turn in 0..2 {
            let side = &mut sides[(round + turn) % 2];
            let notification = bed.notification(side.database).await;
            let key = format!("due {round}");
            let count = effort.waiting_due;
            let measured = drain(bed, &notification, &side.accounts, &key, count).await;
            side.measured.push(measured);
            notification.service.stop().await;
        }
    }
    tell(&sides, effort, report);
}

/// More accounts with the same endpoints; those and the first ones.
async fn multiply(pool: &PgPool, accounts: &[Account]) -> Vec<Account> {
    let mut all = accounts.to_vec();
    for account in accounts {
        let ids: Vec<i64> = sqlx::query_scalar(
            "INSERT INTO channel_accounts (tenant_id, name, channel, settings, signing_secret)
             SELECT tenant_id, name, channel, settings, signing_secret
             FROM channel_accounts, generate_series(2, $2)
             WHERE channel_account_id = $1
             RETURNING channel_account_id",
        )
        .bind(account.id)
        .bind(COPIES)
        .fetch_all(pool)
        .await
        .expect("accounts can be copied");
        all.extend(ids.into_iter().map(|id| Account {
            id,
            ..account.clone()
        }));
    }
    all
}

fn tell(sides: &[Side; 2], effort: Effort, report: &mut Report) {
    let [none, many] = sides;
    let ratios: Vec<f64> = many
        .measured
        .iter()
        .zip(&none.measured)
        .map(|(many, none)| many.per_s / none.per_s)
        .collect();
    let ratio = median(&ratios);
    report.set("waiting_messages", effort.waiting);
    report.set("waiting_messages_due", effort.waiting_due);
    report.set("waiting_accounts", many.accounts.len());
    report.set("sent_per_s_waiting", rounded(many.of(|one| one.per_s)));
    report.set("sent_per_s_none_waiting", rounded(none.of(|one| one.per_s)));
    report.set("sent_waiting_ratio", rounded(ratio));
    let mut table = Table::new(&[
        "messages in the queue",
        "of them due",
        "sent per s",
        "ratio",
        "µs service",
        "µs database",
    ]);
    for (side, ratio) in [(none, "–".to_owned()), (many, format!("{ratio:.2}"))] {
        table.row(vec![
            (side.later + effort.waiting_due).to_string(),
            effort.waiting_due.to_string(),
            shown(side.of(|one| one.per_s)),
            ratio,
            shown(side.of(|one| one.cpu_us[0])),
            shown(side.of(|one| one.cpu_us[1])),
        ]);
    }
    table.print(&format!(
        "messages of {} accounts that wait for later",
        many.accounts.len()
    ));
}
