//! The programs when they are attached.

use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use weir_abi::Steer;
use weir_abi::cid::CidKey;
use weir_io::{EbpfSteerer, WorkerSockets};
use weir_xdp::{
    Attachment, Counters, Egress, Mode, Options, Packets, Steering, WantedMode, XdpError, recover,
};

use super::flows::{self, ClosedFlows, KernelFlows};
use super::registrar::Registrar;
use super::{KernelPrograms, MakeRegistrar, Metric, XdpStatus};
use crate::config::{BackendChoice, Config};
use crate::control::access::Access;
use crate::privileges::Keep;

/// Reads what a crashed predecessor counted, then loads and attaches.
pub(super) fn start(
    config: &Config,
    mode: WantedMode,
    key: CidKey,
) -> Result<KernelPrograms, XdpError> {
    let mut inherited = Vec::new();
    if let Some(leftover) = recover(&config.xdp.instance)? {
        inherited = leftover.flows().iterate()?;
        tracing::warn!(flows = inherited.len(), "recovered the kernel's counts of a dead process");
        leftover.discard()?;
    }
    let with_xsk = config.io.backend == BackendChoice::Xsk;
    let packets = Packets::start(&Options {
        instance: config.xdp.instance.clone(),
        interfaces: config.xdp.interfaces.clone(),
        tc_interfaces: config.xdp.tc_interfaces.clone(),
        mode,
        listen: config.relay.listen.clone(),
        gro: config.xdp.gro,
        flows_max: config.xdp.flows,
        redirect_len_max: with_xsk.then(|| frame_len_max(config)),
        ..Options::default()
    })?;
    for attachment in packets.attachments() {
        let (interface, mode) = (&attachment.interface, mode_name(attachment.mode));
        tracing::info!(interface, mode, "kernel programs attached");
        for note in &attachment.notes {
            tracing::warn!(interface, "{note}");
        }
    }
    let table = packets.flows();
    let closed = Arc::new(ClosedFlows::default());
    let steering = packets.steering();
    if with_xsk {
        // The redirecting program follows this rule also where nothing else needs it: with one
        // worker, or beside the classic steerer.
        let workers = u32::from(config.relay.workers);
        steering.configure(&Steer { key, generation: 0, base: 0, workers }, None)?;
    }
    let registrar = with_xsk.then(|| registrar(&packets, usize::from(config.relay.workers)));
    let hook_table = table.clone();
    let hook_closed = Arc::clone(&closed);
    Ok(KernelPrograms {
        status: Arc::new(Attached {
            attachments: packets.attachments().to_vec(),
            counters: packets.counters(),
            packets: Mutex::new(Some(packets)),
        }),
        flows: Some(Box::new(KernelFlows::new(table, closed, inherited))),
        hook: Box::new(move || flows::hook(hook_table.clone(), Arc::clone(&hook_closed))),
        steerer: Box::new(move |sockets| {
            steerer(&steering, key, sockets).map_err(|error| error.to_string())
        }),
        registrar,
        keep: Keep::KernelPrograms,
    })
}

/// The registrars of the workers; a sender is the only one of its worker.
fn registrar(packets: &Packets, workers: usize) -> MakeRegistrar {
    let (sockets, flows) = (packets.xsks(), packets.flows());
    let senders: Vec<_> = (0..workers as u32).map(|worker| packets.sender(worker).ok()).collect();
    let senders = Mutex::new(senders);
    Box::new(move |worker| {
        let mut senders = senders.lock().expect("no holder of this lock panics");
        let sender = senders.get_mut(worker).and_then(Option::take);
        let (sockets, flows) = (sockets.clone(), flows.clone());
        Box::new(Registrar { worker: worker as u32, sockets, flows, sender })
    })
}

/// Longest frame that fits the frames of all AF_XDP sockets. They are half a page or a page, by
/// their interface's MTU, of which the kernel keeps 256 bytes before the packet.
fn frame_len_max(config: &Config) -> u32 {
    const HEADROOM: u32 = 256;
    const ETHERNET_AND_TAG: u32 = 18;
    let names = match &config.io.xsk.interfaces[..] {
        [] => &config.xdp.interfaces,
        named => named,
    };
    let mtus = names.iter().filter_map(|name| weir_xdp::mtu(name).ok());
    let needed = mtus.min().unwrap_or(1_500) + ETHERNET_AND_TAG + HEADROOM;
    if needed <= 2_048 { 2_048 - HEADROOM } else { 4_096 - HEADROOM }
}

/// Fills the socket array with the sockets of one address family.
fn steerer(
    steering: &Steering,
    key: CidKey,
    sockets: &[WorkerSockets],
) -> Result<EbpfSteerer, XdpError> {
    for (worker, sockets) in sockets.iter().enumerate() {
        if let Some(socket) = sockets.iter().next() {
            steering.set_worker(worker as u32, socket.as_fd())?;
        }
    }
    let current = Steer { key, generation: 0, base: 0, workers: sockets.len() as u32 };
    steering.configure(&current, None)?;
    let program = steering.program_fd().try_clone_to_owned();
    let program =
        program.map_err(|source| XdpError::System { what: "can't duplicate a program", source })?;
    Ok(EbpfSteerer::new(program))
}

#[derive(Debug)]
struct Attached {
    attachments: Vec<Attachment>,
    counters: Counters,
    packets: Mutex<Option<Packets>>,
}

impl XdpStatus for Attached {
    fn status(&self) -> Value {
        let interfaces: Vec<Value> = self
            .attachments
            .iter()
            .map(|attachment| {
                json!({
                    "interface": attachment.interface,
                    "mode": mode_name(attachment.mode),
                    "egress": match attachment.egress {
                        Egress::Tcx => "tcx",
                        Egress::Clsact => "clsact",
                    },
                    "notes": attachment.notes,
                })
            })
            .collect();
        let unattributed = self.counters.unattributed().unwrap_or_default();
        let counter = |count: weir_xdp::Counter| {
            json!({
                "packets": count.packets,
                "payload_bytes": count.payload_bytes,
                "wire_bytes": count.wire_bytes,
            })
        };
        let verdicts: Vec<Value> = self
            .counters
            .verdicts()
            .unwrap_or_default()
            .iter()
            .filter(|row| row.count.packets > 0)
            .map(|row| {
                json!({
                    "direction": row.direction.name(),
                    "verdict": row.verdict.name(),
                    "reason": row.verdict.reason(),
                    "count": counter(row.count),
                })
            })
            .collect();
        json!({
            "mode": self.mode(),
            "interfaces": interfaces,
            "unattributed": {
                "ingress": counter(unattributed.ingress),
                "egress": counter(unattributed.egress),
            },
            "verdicts": verdicts,
        })
    }

    fn mode(&self) -> &str {
        // The slowest of all.
        let runs = |mode| self.attachments.iter().any(|attached| attached.mode == mode);
        let of = [Mode::Generic, Mode::Native].into_iter().find(|mode| runs(*mode));
        mode_name(of.unwrap_or(Mode::Tc))
    }

    fn metrics(&self) -> Vec<Metric> {
        let Ok(verdicts) = self.counters.verdicts() else { return Vec::new() };
        let labels = |row: &weir_xdp::VerdictCount| {
            vec![
                ("direction", row.direction.name()),
                ("verdict", row.verdict.name()),
                ("reason", row.verdict.reason()),
            ]
        };
        let packets = verdicts.iter().map(|row| (labels(row), row.count.packets)).collect();
        let bytes = verdicts.iter().map(|row| (labels(row), row.count.wire_bytes)).collect();
        let steered = self.counters.steered().unwrap_or_default();
        let steered = steered.into_iter().map(|(by, n)| (vec![("by", by.name())], n)).collect();
        let loose = self.counters.unattributed().unwrap_or_default();
        let loose = [("ingress", loose.ingress), ("egress", loose.egress)];
        let loose = loose.map(|(direction, count)| (vec![("direction", direction)], count.packets));
        let counter = |name, help, samples| Metric { name, kind: "counter", help, samples };
        vec![
            counter("weir_xdp_packets_total", "Packets by verdict and reason.", packets),
            counter("weir_xdp_wire_bytes_total", "Wire bytes by verdict and reason.", bytes),
            counter(
                "weir_xdp_steered_total",
                "Client datagrams by how they were steered.",
                steered,
            ),
            counter("weir_xdp_unattributed_packets_total", "Packets of no flow.", loose.to_vec()),
        ]
    }

    fn access(&self) -> Option<Access> {
        Some(Access::of_kernel(self.counters.verdicts().ok()?))
    }

    fn detach(&self) {
        let packets = self.packets.lock().expect("no holder of this lock panics").take();
        if let Some(Err(error)) = packets.map(Packets::stop) {
            tracing::error!("kernel programs can't be taken off: {error}");
        }
    }
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Native => "native",
        Mode::Generic => "generic",
        Mode::Tc => "tc",
    }
}
