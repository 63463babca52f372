//! One shard in Redis with the entries of one ticket, and the scripts as steps. Times are abstract: an instant is the
//! number of a stage, 0 is none.

/// Generations that an array has place for; the first is 1.
pub(crate) const PLACES: usize = 4;

/// A lease. A claim that reaches Redis twice makes two: they differ in the time, here the copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LeaseName {
    pub(crate) claim: u8,
    pub(crate) copy: u8,
}

/// What the handler said of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// Nothing more to do in this generation.
    Done,
    /// Look again at this instant.
    Again(u8),
    /// It could not say; the entry goes back as it was.
    Back(u8),
    /// It failed too often.
    GivenUp,
}

/// What Redis holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Redis {
    /// By generation: the score, 0 for none.
    pub(crate) due: [u8; PLACES],
    /// By name: generation and score of the one member.
    pub(crate) leases: Vec<(LeaseName, u8, u8)>,
    pub(crate) quarantine: [bool; PLACES],
}

impl Redis {
    pub(crate) fn empty() -> Self {
        Self {
            due: [0; PLACES],
            leases: Vec::new(),
            quarantine: [false; PLACES],
        }
    }

    /// `ZADD NX`.
    fn add_new(&mut self, generation: u8, score: u8) {
        let place = &mut self.due[usize::from(generation)];
        if *place == 0 {
            *place = score;
        }
    }

    /// Arming: the new member, and older ones go by name. `removes` is the first of these.
    pub(crate) fn arm(&mut self, generation: u8, at: u8, removes: u8, removes_itself: bool) {
        if at != 0 {
            self.due[usize::from(generation)] = at;
        }
        let last = if removes_itself {
            generation + 1
        } else {
            generation
        };
        for older in removes.max(1)..last {
            self.due[usize::from(older)] = 0;
            self.quarantine[usize::from(older)] = false;
        }
    }

    /// claim.lua for one member of `due`; what was claimed.
    pub(crate) fn claim(&mut self, name: LeaseName, generation: u8) -> u8 {
        let score = std::mem::take(&mut self.due[usize::from(generation)]);
        self.leases.retain(|(other, ..)| *other != name);
        self.leases.push((name, generation, score));
        self.leases.sort_unstable();
        score
    }

    /// claim.lua finds a lease that has ended: its member goes back, or into quarantine after too many attempts.
    pub(crate) fn end_lease(&mut self, name: LeaseName, is_given_up: bool) {
        if let Some((generation, score)) = self.drop_lease(name) {
            if is_given_up {
                self.quarantine[usize::from(generation)] = true;
            } else {
                self.add_new(generation, score);
            }
        }
    }

    /// `give_back.lua`.
    pub(crate) fn give_back(&mut self, claim: u8, with_members: bool) {
        let names: Vec<_> = self.leases.iter().map(|(name, ..)| *name).collect();
        for name in names.into_iter().filter(|name| name.claim == claim) {
            if let Some((generation, score)) = self.drop_lease(name)
                && with_members
            {
                self.add_new(generation, score);
            }
        }
    }

    /// ack.lua: "again" is done also when the lease has ended, the rest is not.
    pub(crate) fn ack(&mut self, name: LeaseName, generation: u8, verdict: Verdict) {
        let place = usize::from(generation);
        if let Verdict::Again(at) = verdict {
            self.due[place] = at;
        }
        if self.drop_lease(name).is_some() {
            match verdict {
                Verdict::Back(score) => self.add_new(generation, score),
                Verdict::GivenUp => self.quarantine[place] = true,
                Verdict::Done | Verdict::Again(_) => {}
            }
        }
    }

    /// repair.lua.
    pub(crate) fn repair(&mut self, generation: u8, at: u8) {
        let is_leased = self
            .leases
            .iter()
            .any(|(_, leased, _)| *leased == generation);
        if !is_leased && !self.quarantine[usize::from(generation)] {
            self.add_new(generation, at);
        }
    }

    /// release.lua.
    pub(crate) fn release(&mut self, generation: u8) {
        if std::mem::take(&mut self.quarantine[usize::from(generation)]) {
            self.add_new(generation, 1);
        }
    }

    fn drop_lease(&mut self, name: LeaseName) -> Option<(u8, u8)> {
        let place = self.leases.iter().position(|(other, ..)| *other == name)?;
        let (_, generation, score) = self.leases.remove(place);
        Some((generation, score))
    }

    /// Whether the entry of a generation is looked at by this instant, or held by something that ends.
    pub(crate) fn holds(&self, generation: u8, by: u8) -> bool {
        let score = self.due[usize::from(generation)];
        (1..=by).contains(&score)
            || self
                .leases
                .iter()
                .any(|(_, leased, _)| *leased == generation)
            || self.quarantine[usize::from(generation)]
    }
}
