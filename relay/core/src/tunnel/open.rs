//! From a request to an open socket: resolve, apply the exit policy, connect.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use weir_proto::{Host, Target};

use crate::answer::{self, Failure};
use crate::connection::Connection;
use crate::control::{ControlRequest, ResolveError};
use crate::core::Core;
use crate::policy::Refusal;
use crate::port::{EgressError, EgressId, EgressOp, Transport};
use crate::queries::Waiter;

use super::{Exit, Phase, Socket};

/// Addresses of one name that are tried. More would only make a dead name slower.
const ADDRESSES_MAX: usize = 8;

#[derive(Debug)]
pub(crate) struct Connecting {
    /// Addresses that passed the exit policy and were not tried yet.
    targets: VecDeque<SocketAddr>,
    attempts: Vec<(EgressId, SocketAddr)>,
    deadline: Instant,
}

/// Begins to open a tunnel. Fails at once for a literal address that the policy prohibits.
pub(crate) fn start(
    core: &mut Core,
    key: usize,
    target: &Target,
    now: Instant,
) -> Result<(), Failure> {
    match &target.host {
        Host::Ip(ip) => connect(core, key, vec![*ip], now),
        Host::Name(name) => {
            // Not worth a query if every address would be refused.
            if core.policy.check_port(target.port).is_err() {
                return Err(Failure::Prohibited(Refusal::Port));
            }
            let query = core
                .queries
                .ask(Waiter::Tunnel(key), core.limits.resolves)
                .ok_or(Failure::Overloaded)?;
            core.stats.resolves += 1;
            core.questions.push_back(ControlRequest::Resolve { query, name: name.to_string() });
            let tunnel = &mut core.tunnels[key];
            tunnel.phase = Phase::Resolving { query };
            let timer = tunnel.timer;
            core.set_timer(timer, Some(now + core.limits.resolve_timeout));
            Ok(())
        }
    }
}

/// The name of the target was resolved, or not.
pub(crate) fn resolved(
    core: &mut Core,
    key: usize,
    result: Result<Vec<IpAddr>, ResolveError>,
    now: Instant,
) -> Result<(), Failure> {
    let addresses = match result {
        Ok(addresses) if addresses.is_empty() => Err(ResolveError::NoData),
        other => other,
    };
    match addresses {
        Ok(addresses) => connect(core, key, addresses, now),
        Err(error) => {
            core.stats.resolves_failed += 1;
            Err(Failure::Resolve(error))
        }
    }
}

/// Applies the exit policy to every address and connects to those that pass. What is connected to
/// is the address that was judged, so nothing can change in between.
fn connect(
    core: &mut Core,
    key: usize,
    addresses: Vec<IpAddr>,
    now: Instant,
) -> Result<(), Failure> {
    let port = core.tunnels[key].port;
    let mut refusal = None;
    let mut targets = Vec::with_capacity(addresses.len().min(ADDRESSES_MAX));
    for ip in addresses {
        let target = SocketAddr::new(ip, port);
        match core.policy.check(target) {
            Ok(()) if targets.len() < ADDRESSES_MAX => targets.push(target),
            Ok(()) => {}
            Err(refused) => refusal = refusal.or(Some(refused)),
        }
    }
    if targets.is_empty() {
        return Err(Failure::Prohibited(refusal.unwrap_or(Refusal::Unroutable)));
    }
    core.tunnels[key].phase = Phase::Connecting(Connecting {
        targets: interleave(targets),
        attempts: Vec::new(),
        deadline: now + core.limits.connect_timeout,
    });
    try_next(core, key, now)
}

/// Alternates families, beginning with that of the first address (RFC 8305 section 4).
fn interleave(targets: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
    let first_is_v6 = targets.first().is_some_and(SocketAddr::is_ipv6);
    let (mut same, mut other): (VecDeque<_>, VecDeque<_>) =
        targets.into_iter().partition(|target| target.is_ipv6() == first_is_v6);
    let mut mixed = VecDeque::with_capacity(same.len() + other.len());
    while let Some(target) = same.pop_front() {
        mixed.push_back(target);
        mixed.extend(other.pop_front());
    }
    mixed.extend(other);
    mixed
}

/// Starts an attempt with the next address and the timer of the one after (RFC 8305 section 5).
fn try_next(core: &mut Core, key: usize, now: Instant) -> Result<(), Failure> {
    let tunnel = &mut core.tunnels[key];
    let Phase::Connecting(connecting) = &mut tunnel.phase else { return Ok(()) };
    let Some(target) = connecting.targets.pop_front() else { return Ok(()) };
    let Some(id) = core.egress.allocate(key) else {
        if connecting.attempts.is_empty() {
            return Err(Failure::Connect(EgressError::NoResources));
        }
        // The attempts under way are all there will be.
        connecting.targets.clear();
        let (timer, deadline) = (tunnel.timer, connecting.deadline);
        core.set_timer(timer, Some(deadline));
        return Ok(());
    };
    connecting.attempts.push((id, target));
    tunnel.sockets.push(Socket { id, closing: false });
    let source = core.policy.source_for(target.ip());
    let transport = tunnel.traffic.transport();
    core.egress.push(match transport {
        Transport::Udp => EgressOp::UdpOpen { id, target, source },
        Transport::Tcp => EgressOp::TcpConnect { id, target, source },
    });
    let alone = connecting.targets.is_empty() || transport == Transport::Udp;
    let attempt_ends = now + core.limits.connect_attempt_delay;
    let at = if alone { connecting.deadline } else { connecting.deadline.min(attempt_ends) };
    let timer = tunnel.timer;
    core.set_timer(timer, Some(at));
    Ok(())
}

/// The timer of an attempt fired: give the next address a chance beside it, or give up.
pub(crate) fn timeout(core: &mut Core, key: usize, now: Instant) -> Result<(), Failure> {
    match &core.tunnels[key].phase {
        Phase::Resolving { .. } => {
            core.stats.resolves_failed += 1;
            Err(Failure::Resolve(ResolveError::Timeout))
        }
        Phase::Connecting(connecting) if now >= connecting.deadline => {
            Err(Failure::Connect(EgressError::TimedOut))
        }
        Phase::Connecting(_) => try_next(core, key, now),
        _ => Ok(()),
    }
}

/// An attempt failed.
pub(crate) fn attempt_failed(
    core: &mut Core,
    key: usize,
    id: EgressId,
    error: EgressError,
    now: Instant,
) -> Result<(), Failure> {
    let tunnel = &mut core.tunnels[key];
    let Phase::Connecting(connecting) = &mut tunnel.phase else { return Ok(()) };
    let attempts = connecting.attempts.len();
    connecting.attempts.retain(|(attempt, _)| *attempt != id);
    if connecting.attempts.len() == attempts {
        return Ok(());
    }
    let (more, others) = (!connecting.targets.is_empty(), !connecting.attempts.is_empty());
    tunnel.close_socket(&mut core.egress, id, true);
    if more {
        try_next(core, key, now)
    } else if others {
        Ok(())
    } else {
        Err(Failure::Connect(error))
    }
}

/// An attempt succeeded: it is the tunnel's socket, and the others are closed. The answer waits
/// for a ledger slot.
pub(crate) fn attempt_succeeded(core: &mut Core, key: usize, id: EgressId, local: SocketAddr) {
    let tunnel = &mut core.tunnels[key];
    let Phase::Connecting(connecting) = &mut tunnel.phase else { return };
    let Some(&(_, remote)) = connecting.attempts.iter().find(|(attempt, _)| *attempt == id) else {
        return;
    };
    let others = std::mem::take(&mut connecting.attempts);
    for (other, _) in others.into_iter().filter(|(attempt, _)| *attempt != id) {
        tunnel.close_socket(&mut core.egress, other, true);
    }
    tunnel.phase = Phase::Opened(Exit { id, local, remote });
    let timer = tunnel.timer;
    core.set_timer(timer, None);
    core.opened.push(key);
}

/// Answers a request whose tunnel can't be opened, which also closes the tunnel.
pub(crate) fn refuse(
    connection: &mut Connection,
    core: &mut Core,
    key: usize,
    failure: Failure,
    now: Instant,
) {
    match failure {
        Failure::Prohibited(_) => core.stats.requests_prohibited += 1,
        Failure::Overloaded => core.stats.requests_over_limit += 1,
        Failure::Resolve(_) | Failure::Connect(_) => core.stats.tunnels_failed += 1,
    }
    let stream = core.tunnels[key].stream;
    let answer = answer::failed(&core.name, failure);
    connection.answer(core, stream, answer, now);
}
