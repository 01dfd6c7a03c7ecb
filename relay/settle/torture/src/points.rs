//! Every step at which the sidecar can die has a name, and a plan says at which it does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use crate::rng::Rng;

/// What happens at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The sidecar is killed. What it wrote stays in the kernel's page cache.
    Kill,
    /// The machine loses power, and with it what was not synced, and the relay's counters.
    Power,
    /// The disk is full, for this step and a few more. Only for steps of the disk.
    Full,
}

/// Where to strike.
#[derive(Debug, Clone)]
pub struct Plan {
    /// At a step of this name; at any if there is none.
    pub name: Option<String>,
    /// Such steps that pass before.
    pub after: u64,
    /// What happens then.
    pub fault: Fault,
}

/// How a step goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// As it should.
    Go,
    /// The process dies in it.
    Dies,
    /// The process is dead: nothing happens any more.
    Dead,
    /// There is no space.
    Full,
}

#[derive(Debug, Default)]
struct State {
    seen: BTreeMap<String, u64>,
    crashed: BTreeMap<String, u64>,
    plan: Option<Plan>,
    down: Option<Fault>,
    full_left: u64,
    rng: Option<Rng>,
}

/// The steps of one run. Shared by everything that can be the place of a crash.
#[derive(Debug, Clone, Default)]
pub struct Points(Arc<(Mutex<State>, Notify)>);

impl Points {
    /// No plan yet.
    pub fn new(rng: Rng) -> Self {
        let points = Self::default();
        points.lock().rng = Some(rng);
        points
    }

    /// From now on this is the plan.
    pub fn arm(&self, plan: Option<Plan>) {
        self.lock().plan = plan;
    }

    /// A step with these names begins; one write can be a step of several kinds.
    pub fn reach(&self, names: &[String], is_disk: bool) -> Reached {
        let mut state = self.lock();
        if state.down.is_some() {
            return Reached::Dead;
        }
        for name in names {
            *state.seen.entry(name.clone()).or_default() += 1;
        }
        if is_disk && state.full_left > 0 {
            state.full_left -= 1;
            return Reached::Full;
        }
        let Some(plan) = &mut state.plan else { return Reached::Go };
        if plan.name.as_ref().is_some_and(|wanted| !names.contains(wanted)) {
            return Reached::Go;
        }
        if plan.after > 0 {
            plan.after -= 1;
            return Reached::Go;
        }
        let fault = plan.fault;
        if fault == Fault::Full {
            if is_disk {
                state.plan = None;
                state.full_left = state.rng.as_mut().map_or(0, |rng| rng.below(4));
                return Reached::Full;
            }
            return Reached::Go;
        }
        state.plan = None;
        state.down = Some(fault);
        for name in names {
            *state.crashed.entry(name.clone()).or_default() += 1;
        }
        drop(state);
        self.0.1.notify_waiters();
        Reached::Dies
    }

    /// Whether nothing is planned.
    pub fn is_disarmed(&self) -> bool {
        self.lock().plan.is_none()
    }

    /// How the process died, if it did.
    pub fn down(&self) -> Option<Fault> {
        self.lock().down
    }

    /// Returns once the process is dead.
    pub async fn died(&self) {
        loop {
            let notified = self.0.1.notified();
            if self.down().is_some() {
                return;
            }
            notified.await;
        }
    }

    /// The process is started again.
    pub fn revive(&self) {
        let mut state = self.lock();
        state.down = None;
        state.full_left = 0;
    }

    /// Steps seen and steps crashed at, by name.
    pub fn counts(&self) -> (BTreeMap<String, u64>, BTreeMap<String, u64>) {
        let state = self.lock();
        (state.seen.clone(), state.crashed.clone())
    }

    /// For the disk's own dice.
    pub fn below(&self, bound: u64) -> u64 {
        self.lock().rng.as_mut().map_or(0, |rng| rng.below(bound))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().expect("no holder of this lock panics")
    }
}
