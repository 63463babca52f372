//! What befalls Redis and the timers as a whole, and how a rebuild mends it.

use super::{Epoch, Message, Rebuild, Step, Timer, World};
use crate::redis::Redis;

impl World {
    pub(super) fn faults(&self, steps: &mut Vec<Step>) {
        if self.budget.wipes > 0 {
            self.then(steps, "Redis is wiped", |world| {
                world.budget.wipes -= 1;
                world.redis = Redis::empty();
                world.epoch = Epoch::Missing;
            });
        }
        if self.budget.fail_overs > 0 {
            match &self.replica {
                None => self.then(steps, "a copy is taken", |world| {
                    world.replica = Some(world.redis.clone());
                }),
                Some(copy) => self.then(steps, "Redis fails over to the copy", |world| {
                    world.budget.fail_overs -= 1;
                    world.redis = copy.clone();
                    world.replica = None;
                    world.epoch = Epoch::Foreign;
                }),
            }
        }
        if self.budget.restarts > 0 {
            self.then(steps, "all timers start anew", |world| {
                world.budget.restarts -= 1;
                world.timers.fill(Timer::Idle);
                world.rebuild = Rebuild::None;
                world.has_restarted = true;
            });
        }
    }

    pub(super) fn rebuild(&self, steps: &mut Vec<Step>) {
        let is_asked_for = match self.epoch {
            Epoch::Missing | Epoch::Rebuilding => true,
            Epoch::Foreign => self.guards.notices_other_server,
            Epoch::Known => self.has_restarted,
        };
        match self.rebuild {
            Rebuild::None if is_asked_for => self.then(steps, "a rebuild begins", |world| {
                world.rebuild = Rebuild::Begun;
                world.has_restarted = false;
                world.epoch = Epoch::Rebuilding;
            }),
            Rebuild::None => {}
            Rebuild::Begun => {
                let is_taken = self.guards.rebuilds_dirty_rows || self.armed == self.generation;
                self.then(steps, "the rebuild reads the row", |world| {
                    world.rebuild = if world.next_due > 0 && is_taken {
                        Rebuild::Read {
                            generation: world.generation,
                            due: world.next_due,
                        }
                    } else {
                        Rebuild::Added
                    };
                });
            }
            Rebuild::Read { generation, due } => {
                let repair = Message::Repair { generation, due };
                self.then(steps, "the rebuild adds what is missing", |world| {
                    world.arrive(repair);
                    world.rebuild = Rebuild::Added;
                });
                if self.may_be_late() {
                    self.then(
                        steps,
                        "the rebuild adds what is missing, and will again",
                        |world| {
                            world.arrive(repair);
                            world.late.insert(repair);
                            world.rebuild = Rebuild::Added;
                        },
                    );
                }
            }
            Rebuild::Added => self.then(steps, "the rebuild ends", |world| {
                world.rebuild = Rebuild::None;
                if world.epoch == Epoch::Rebuilding || !world.guards.ends_rebuild_by_nonce {
                    world.epoch = Epoch::Known;
                }
            }),
        }
        if self.rebuild != Rebuild::None {
            self.then(steps, "the rebuilding timer dies", |world| {
                world.rebuild = Rebuild::None;
            });
        }
    }
}
