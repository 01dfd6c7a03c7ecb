//! Memory of connections and tunnels that are held.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use weir_load::spec::Work;

use super::load::spec;
use super::{Conditions, Ground, Sample};
use crate::run::generator::Generator;
use crate::run::interrupt;
use crate::run::sample::rss_bytes;
use crate::run::scenario::{At, Service};
use crate::run::subject::{Setup, Subject};
use crate::run::target::ECHO_PORTS;

/// Between two looks at a relay's memory.
const LOOK: Duration = Duration::from_millis(250);
/// It is steady after so many looks that agree.
const STEADY_LOOKS: u32 = 8;
/// Looks at one that never is.
const LOOKS_MAX: u32 = 32;

/// With more than one tunnel per connection a second relay holds the same connections with one
/// each, and the difference is what a further tunnel takes.
pub(super) fn run(
    ground: &Ground,
    connections: u32,
    tunnels: u32,
    subject: &dyn Subject,
    conditions: &Conditions,
) -> Result<Sample> {
    let held = hold(ground, connections, tunnels, subject, conditions)?;
    let mut figures = BTreeMap::from([
        ("rss_before_bytes", held.before as f64),
        ("bytes_per_connection", held.grown() / f64::from(connections)),
    ]);
    if tunnels > 1 {
        let fewer = hold(ground, connections, 1, subject, conditions)?;
        let further = f64::from(connections) * f64::from(tunnels - 1);
        figures.insert("bytes_per_tunnel", (held.grown() - fewer.grown()) / further);
    }
    Ok(Sample {
        units: u64::from(connections) * u64::from(tunnels),
        rss_bytes: Some(held.after),
        figures,
        lost: held.lost,
        notes: held.notes,
        ..Sample::default()
    })
}

/// Memory once it has stopped changing: what the burst of openings needed is given back when a
/// second or two have been calm.
fn settled(pid: u32) -> Result<u64> {
    let (mut last, mut same) = (rss_bytes(pid)?, 0);
    for _ in 0..LOOKS_MAX {
        interrupt::sleep(LOOK)?;
        let now = rss_bytes(pid)?;
        same = if now == last { same + 1 } else { 0 };
        last = now;
        if same == STEADY_LOOKS {
            break;
        }
    }
    Ok(last)
}

struct Held {
    before: u64,
    after: u64,
    lost: u64,
    notes: Vec<String>,
}

impl Held {
    fn grown(&self) -> f64 {
        self.after as f64 - self.before as f64
    }
}

fn hold(
    ground: &Ground,
    connections: u32,
    tunnels_per_connection: u32,
    subject: &dyn Subject,
    conditions: &Conditions,
) -> Result<Held> {
    let target = ground.target.address(Service::Echo);
    let at = At { target, targets_max: ECHO_PORTS, per_s: 0.0 };
    let setup = Setup { workers: 1, connections, at };
    let mut running = subject.start(&ground.bed, &setup, conditions.dir)?;
    let pid = running.pid.context("no process whose memory could be read")?;
    let before = rss_bytes(pid)?;
    let work = Work::Idle { target: running.at.target, connections, tunnels_per_connection };
    let spec = spec(running.way.clone(), work, conditions);
    let program = &ground.bed.programs.load;
    let mut generator = Generator::ready(ground.bed.lab, program, &spec, conditions.dir)?;
    generator.begin(|| Ok(()))?;
    let after = settled(pid)?;
    let report = generator.stop()?;
    let mut notes = report.notes;
    notes.append(&mut running.notes);
    notes.extend(running.stop());
    Ok(Held { before, after, lost: report.lost, notes })
}
