//! The generator works, and the subject's CPU time is read when it begins and when it ends.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use weir_load::spec::{Report, Spec, Way, Work};

use super::{Conditions, Ground, Sample};
use crate::run::generator::Generator;
use crate::run::interrupt;
use crate::run::sample::{CpuTime, HostTimes, rss_bytes};
use crate::run::scenario::{At, Load, Scenario, Twist};
use crate::run::subject::{Running, Setup, Subject};
use crate::run::target::ECHO_PORTS;
use crate::run::wan::Wan;

/// SIGHUPs of the reload scenario, spread over the measured time.
const RELOADS: u32 = 10;

pub(super) fn run(
    ground: &Ground,
    load: &Load,
    subject: &dyn Subject,
    conditions: &Conditions,
) -> Result<Sample> {
    let (lab, dir) = (ground.bed.lab, conditions.dir);
    let setup = Setup {
        workers: load.workers,
        connections: load.connections,
        at: At {
            target: ground.target.address(load.service),
            targets_max: ECHO_PORTS,
            per_s: conditions.per_s,
        },
    };
    let mut running = subject.start(&ground.bed, &setup, dir)?;
    let wan = match load.twist {
        Twist::LossAndDelay => {
            Some(Wan::before(lab, &ground.bed.programs.load, &mut running.way, dir)?)
        }
        _ => None,
    };
    let work = (load.work)(&running.at);
    let spec = spec(running.way.clone(), work, conditions);
    let mut generator = Generator::ready(lab, &ground.bed.programs.load, &spec, dir)?;
    let pids = Pids { subject: running.pid, ours: ours(ground, &generator) };
    let begin = generator.begin(|| Reading::now(pids))?;
    if load.twist == Twist::Reload {
        reload(&running, conditions.measure)?;
    }
    let (report, end) = generator.end(|| Reading::now(pids))?;
    if report.units == 0 {
        bail!(
            "nothing was carried{}",
            report.notes.iter().map(|note| format!("; {note}")).collect::<String>()
        );
    }
    let mut sample = sample(report, &begin, &end, lab.cpus.relay[0]);
    sample.rss_bytes = running.pid.map(rss_bytes).transpose()?;
    sample.notes.append(&mut running.notes);
    drop(wan);
    sample.notes.extend(running.stop());
    Ok(sample)
}

/// The subject's maximum of 1200-byte UDP datagrams per second towards the target, closed loop.
///
/// # Errors
/// As [`super::run`].
pub fn maximum_per_s(
    ground: &Ground,
    subject: &dyn Subject,
    conditions: &Conditions,
) -> Result<f64> {
    let scenario = Scenario::find("udp-1200").context("the table has udp-1200")?;
    let load = scenario.load().context("udp-1200 is a load")?;
    let sample = run(ground, load, subject, conditions)?;
    // An echo is two units.
    Ok(sample.units as f64 / sample.seconds / 2.0)
}

pub(super) fn spec(way: Way, work: Work, conditions: &Conditions) -> Spec {
    Spec {
        way,
        work,
        warmup_ms: conditions.warmup.as_millis() as u32,
        measure_ms: conditions.measure.as_millis() as u32,
        seed: conditions.seed,
    }
}

fn reload(running: &Running, over: Duration) -> Result<()> {
    let (start, step) = (Instant::now(), over / (RELOADS + 1));
    for number in 1..=RELOADS {
        interrupt::sleep((step * number).saturating_sub(start.elapsed()))?;
        running.reload()?;
    }
    Ok(())
}

#[derive(Clone, Copy, Debug)]
struct Pids {
    subject: Option<u32>,
    /// Generator, targets and this program.
    ours: [u32; 4],
}

fn ours(ground: &Ground, generator: &Generator) -> [u32; 4] {
    let [trains, singly] = ground.target.pids();
    [generator.pid(), trains, singly, std::process::id()]
}

/// Clocks at one moment.
#[derive(Debug)]
struct Reading {
    subject: Option<CpuTime>,
    ours: [CpuTime; 4],
    host: HostTimes,
}

impl Reading {
    fn now(pids: Pids) -> Result<Reading> {
        // The figure that counts first: what follows takes some microseconds.
        let subject = pids.subject.map(CpuTime::of).transpose()?;
        let mut ours = [CpuTime::default(); 4];
        for (time, pid) in ours.iter_mut().zip(pids.ours) {
            *time = CpuTime::of(pid)?;
        }
        Ok(Reading { subject, ours, host: HostTimes::now()? })
    }
}

fn sample(report: Report, begin: &Reading, end: &Reading, relay_cpu: usize) -> Sample {
    let units = report.units as f64;
    let subject_ns = end.subject.zip(begin.subject).map(|(end, begin)| end.since_ns(begin));
    let ours = end.ours.iter().zip(begin.ours).map(|(end, begin)| end.since_ns(begin));
    let ours_ns = ours.sum::<u64>() + subject_ns.unwrap_or(0);
    let host = end.host.since(&begin.host);
    let others_ns = host.busy_ns.saturating_sub(ours_ns);
    let mut figures = BTreeMap::from([
        ("core_ns_per_unit", end.host.busy_ns_since(&begin.host, relay_cpu) as f64 / units),
        ("host_ns_per_unit", host.busy_ns as f64 / units),
        ("generator_ns_per_unit", report.generator_cpu_ns as f64 / units),
        ("lost_percent", share(report.lost, report.units)),
    ]);
    if let Some(polite) = &report.polite {
        figures.insert("polite_lost_percent", share(polite.lost, polite.units));
        if let Some(latency) = &polite.latency {
            figures.insert("polite_p50_us", latency.p50);
            figures.insert("polite_p99_us", latency.p99);
        }
    }
    Sample {
        units: report.units,
        seconds: report.seconds,
        cpu_ns_per_unit: subject_ns.map(|ns| ns as f64 / units),
        latency: report.latency,
        rss_bytes: None,
        lost: report.lost,
        corrupt: report.corrupt,
        figures,
        notes: report.notes,
        generator_limited: report.generator_limited,
        steal_percent: host.steal_percent(),
        others_percent: host.percent(others_ns),
    }
}

/// Lost echoes in percent of all that were sent: an answered one is two units.
fn share(lost: u64, units: u64) -> f64 {
    let sent = units / 2 + lost;
    if sent == 0 { 0.0 } else { lost as f64 * 100.0 / sent as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_a_share_of_what_was_sent() {
        assert_eq!(share(0, 0), 0.0);
        assert_eq!(share(1, 198), 1.0);
        assert_eq!(share(5, 0), 100.0);
    }
}
