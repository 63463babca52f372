//! A Redis Cluster of some nodes: how draining goes with more of them, as far as the cores go.

use plazo_local::{RedisCluster, RedisClusterOptions};

use crate::report::{Report, Table, median, rounded, shown};
use crate::timer::bed::Bed;
use crate::timer::drain::drained_per_s;
use crate::timer::effort::Effort;

const NODES: [usize; 3] = [1, 2, 4];
const DRAINS: usize = 3;

/// Drains on each number of nodes in turn, in each round.
pub(super) async fn run(effort: Effort, report: &mut Report) {
    let mut beds = Vec::new();
    for nodes in NODES {
        let cluster = RedisCluster::start(RedisClusterOptions::temporary(nodes))
            .await
            .expect("a cluster starts");
        let url = cluster.url();
        let bed = Bed::on(cluster.into_nodes(), &url, &[]).await;
        beds.push((nodes, bed, Vec::new()));
    }
    for _ in 0..DRAINS {
        for (_, bed, drains) in &mut beds {
            let (due_ms, _, seen) = bed.fire(effort.drained_at_step, |_| 0).await;
            drains.push(drained_per_s(due_ms, &seen));
        }
    }
    let mut table = Table::new(&["nodes", "drained per s"]);
    let mut told = serde_json::Map::new();
    for (nodes, bed, drains) in beds {
        let per_s = median(&drains);
        told.insert(nodes.to_string(), rounded(per_s).into());
        table.row(vec![nodes.to_string(), shown(per_s)]);
        bed.stop().await;
    }
    report.set("drain_per_s_by_redis_nodes", told);
    table.print("drain with a Redis Cluster of so many nodes, all on this machine");
}
