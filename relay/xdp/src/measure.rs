//! What a verdict costs on this host.

mod frames;

use weir_abi::{Direction, Protocol, Steer, Verdict, cid::CidKey};

use crate::error::{Result, XdpError};
use crate::flows::Flow;
use crate::kernel::{OBJECT, Programs};
use crate::sys::{bpf, xsk};

/// Cost of one kind of packet: in the XDP program, or, for egress, in the tc program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerdictCost {
    /// What the packet is.
    pub name: &'static str,
    pub direction: Direction,
    pub verdict: Verdict,
    /// Median of the rounds, by `BPF_PROG_TEST_RUN`, with warm caches: the program alone, no
    /// driver and no cache misses on the packet. The kernel's loop around it is included.
    pub nanoseconds: u32,
    /// The fastest round.
    pub nanoseconds_min: u32,
    /// The median without that of a program that only returns, in the same rounds.
    pub nanoseconds_net: u32,
}

/// Rounds in each of which every packet has its turn, so that what disturbs the host for a while
/// disturbs all of them.
const ROUNDS: usize = 31;

/// Runs of the program on one packet in one round: about two milliseconds.
const REPEAT: u32 = 50_000;

/// The loopback interface's index, in every network namespace: `BPF_PROG_TEST_RUN` takes packets
/// to be from its queue 0.
const LOOPBACK: u32 = 1;

/// Loads the programs, attaches nothing, and times one frame of each kind.
///
/// # Errors
/// Those of [`Programs::load`]; it needs the same privileges.
pub fn measure_verdicts() -> Result<Vec<VerdictCost>> {
    let mut programs = Programs::load(OBJECT, 64)?;
    programs.configure(&[frames::LISTEN4, frames::LISTEN6])?;
    for (remote, local) in [(frames::PEER4, frames::EXIT4), (frames::PEER6, frames::EXIT6)] {
        programs.flows().insert(&Flow { protocol: Protocol::Udp, local, remote })?;
    }
    let redirected =
        Flow { protocol: Protocol::Udp, local: frames::REDIRECTED4, remote: frames::PEER4 };
    programs.flows().redirect(&redirected)?;
    let key = CidKey::from_bytes([7; 16]);
    let steering = programs.steering()?;
    steering.configure(&Steer { key, generation: 0, base: 0, workers: 1 }, None)?;
    let socket = xsk::socket().map_err(XdpError::system("can't make an AF_XDP socket"))?;
    programs.xsks(&[LOOPBACK]).set(LOOPBACK, 0, 0, std::os::fd::AsFd::as_fd(&socket))?;

    let empty = bpf::EmptyXdp::load().map_err(XdpError::system("can't load an empty program"))?;
    let frames = frames::all();
    let mut baseline = Vec::new();
    let mut samples = vec![Vec::new(); frames.len()];
    for _ in 0..ROUNDS {
        let run = empty.run(&frames[0].bytes, REPEAT);
        baseline.push(run.map_err(XdpError::system("can't run an empty program"))?);
        for (frame, samples) in frames.iter().zip(&mut samples) {
            programs.redirect(&[LOOPBACK], frame.redirect.then_some(2_048))?;
            let ran = match frame.direction {
                Direction::Ingress => programs.run_ingress(&frame.bytes, REPEAT)?,
                Direction::Egress => programs.run_egress(&frame.bytes, REPEAT)?,
            };
            samples.push(ran.nanoseconds);
        }
    }
    let (baseline, _) = median_and_least(baseline);
    let costs = frames.iter().zip(samples).map(|(frame, samples)| {
        let (median, least) = median_and_least(samples);
        VerdictCost {
            name: frame.name,
            direction: frame.direction,
            verdict: frame.verdict,
            nanoseconds: median,
            nanoseconds_min: least,
            nanoseconds_net: median.saturating_sub(baseline),
        }
    });
    Ok(costs.collect())
}

fn median_and_least(mut samples: Vec<u32>) -> (u32, u32) {
    samples.sort_unstable();
    (samples[samples.len() / 2], samples[0])
}
