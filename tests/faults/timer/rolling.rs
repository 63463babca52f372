//! 6: every service is restarted in order, one after the other, again and again, under load.

use std::time::Duration;

use plazo_tests::cluster::{Durability, Setup};
use plazo_tests::process::Service;
use plazo_tests::report::FaultReport;
use plazo_tests::traffic::Done;
use tonic::Code;

use crate::bed::{Bed, Size, to_float};

/// A call that meets a restart may be told so, and nothing else.
const PERMITTED: Code = Code::Unavailable;

pub(crate) async fn run(size: Size) -> FaultReport {
    let mut bed = Bed::start(size, Setup::new(Durability::Fast)).await;
    bed.until(0.1).await;
    let rounds = if size.is_full { 3 } else { 1 };
    let mut restarts = 0;
    for _ in 0..rounds {
        for service in Service::ALL {
            bed.cluster.terminate(service).await;
            bed.cluster.start_services(&[service]).await;
            restarts += 1;
        }
    }
    let ended = bed.fault_is_over().await;
    // Each restart of the timer or of ticketing holds up what is due.
    let outage = Duration::from_secs(10);
    let mut judged = bed.finish(outage, ended, Done::default()).await;
    judged.report.saw("restarts", to_float(restarts));
    let others = judged
        .done
        .failures
        .iter()
        .find(|failure| failure.code != PERMITTED)
        .cloned();
    judged.report.require(others.is_none(), || {
        format!("a call failed otherwise: {others:?}")
    });
    judged.conclude().await
}
