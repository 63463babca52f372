//! Every RPC of every service, called by those who may not: each is refused with its code, and nothing is changed or told.
//!
//! `access/requests` has a request of each RPC that succeeds for whoever has the right to it, and `access/rights.txt` says
//! which right that is, and what others are answered. An RPC that is missing in either fails the test.

mod commanded;
mod desk;
mod foreigners;
mod requests;
mod rights;
mod rows;
mod strangers;
mod things;
mod values;
mod wire;
mod world;

use crate::plazo::data_folder;
use desk::Desk;
use world::World;

#[tokio::test(flavor = "multi_thread")]
async fn nobody_calls_what_is_not_theirs() {
    let folder = data_folder();
    // Services let each other in by metadata here, and learn of what happens.
    let desk = Desk::open(folder.path(), true).await;
    rights::check_complete(&desk.rpcs, &requests::all());
    let world = World::make(&desk).await;
    let secrets = world.secrets(&desk).await.of_tenant;
    foreigners::learn_and_change_nothing(&desk, &world).await;
    desk.close().await;

    // The same things, where nobody is believed without a token.
    let desk = Desk::open(folder.path(), false).await;
    strangers::get_nothing(&desk, folder.path(), &world, &secrets).await;
    commanded::come_from_the_command(&desk, folder.path()).await;
    desk.close().await;
}
