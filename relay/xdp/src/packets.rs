//! The packet path of a running relay.

use std::net::SocketAddr;

use weir_abi::FLOWS_MAX;

use crate::attach::{self, Attachment, IngressLink, Links, Mode, Side};
use crate::counters::Counters;
use crate::error::Result;
use crate::flows::FlowTable;
use crate::interface::Interface;
use crate::kernel::{OBJECT, Programs};
use crate::offload::GroTurnedOn;
use crate::pins::{self, PinDir};
use crate::sent::Sender;
use crate::steering::Steering;
use crate::xsks::XskMap;

/// What to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Names the pin directory; one running process per name.
    pub instance: String,
    /// Interfaces that carry client-facing or target-facing packets, with XDP.
    pub interfaces: Vec<String>,
    /// The same, with ingress at the tc hook, after GRO: no AF_XDP, and what is dropped was in a
    /// socket buffer already.
    pub tc_interfaces: Vec<String>,
    /// Of the interfaces with XDP.
    pub mode: WantedMode,
    /// Where the relay listens for QUIC, at most [`weir_abi::LISTEN_MAX`] addresses.
    pub listen: Vec<SocketAddr>,
    /// Exit flows that can be open at once.
    pub flows_max: u32,
    /// Turn GRO on where native XDP or tc ingress runs and GRO is off, until they are detached.
    pub gro: bool,
    /// Attach the tc programs by tcx where the kernel has it. Without, as before Linux 6.6, they
    /// are filters on the clsact qdisc.
    pub tcx: bool,
    /// Longest frame that goes to an AF_XDP socket, in bytes; `None`: no packet does. Redirecting
    /// begins for a queue when it gets a socket: see [`Packets::xsks`].
    pub redirect_len_max: Option<u32>,
}

/// Which XDP mode to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WantedMode {
    /// Native, and generic where the driver has none.
    #[default]
    Auto,
    /// Native or not at all.
    Native,
    /// Generic, also where native would work.
    Generic,
}

/// The loaded, pinned and attached programs.
///
/// Dropping it detaches the programs and leaves the maps pinned, as the end of the process by any
/// signal does, so that no count is lost. [`Packets::stop`] leaves nothing.
#[derive(Debug)]
pub struct Packets {
    // Declared first, so dropped first: no packet is counted once the rest goes.
    links: Vec<Links>,
    offloads: Vec<GroTurnedOn>,
    attachments: Vec<Attachment>,
    indices: Vec<u32>,
    steering: Steering,
    programs: Programs,
    dir: PinDir,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            instance: "default".to_owned(),
            interfaces: Vec::new(),
            tc_interfaces: Vec::new(),
            mode: WantedMode::Auto,
            listen: Vec::new(),
            flows_max: FLOWS_MAX,
            gro: true,
            tcx: true,
            redirect_len_max: None,
        }
    }
}

impl Packets {
    /// Loads, configures, pins and attaches, in this order; on an error nothing is left.
    /// To be called in the network namespace of the interfaces.
    pub fn start(options: &Options) -> Result<Self> {
        let open = |names: &[String]| {
            names.iter().map(|name| Interface::open(name)).collect::<Result<Vec<_>>>()
        };
        let interfaces = open(&options.interfaces)?;
        let tc_interfaces = open(&options.tc_interfaces)?;
        for interface in &interfaces {
            interface.refuse_foreign()?;
        }
        let programs = Programs::load(OBJECT, options.flows_max)?;
        let indices: Vec<u32> = interfaces.iter().map(|interface| interface.index).collect();
        programs.configure(&options.listen)?;
        programs.redirect(&indices, options.redirect_len_max)?;
        let dir = PinDir::create(&options.instance)?;
        let mut packets = Self::attach(programs, dir, &interfaces, &tc_interfaces, options)?;
        packets.indices = indices;
        if options.gro {
            packets.turn_gro_on();
        }
        Ok(packets)
    }

    fn attach(
        mut programs: Programs,
        dir: PinDir,
        interfaces: &[Interface],
        tc_interfaces: &[Interface],
        options: &Options,
    ) -> Result<Self> {
        let attached = dir.pin(&programs).and_then(|()| {
            let with_xdp = interfaces.iter().map(|interface| (interface, true));
            let without = tc_interfaces.iter().map(|interface| (interface, false));
            with_xdp
                .chain(without)
                .map(|(interface, xdp)| attach_one(&mut programs, interface, xdp, options))
                .collect::<Result<Vec<_>>>()
        });
        match attached.and_then(|attached| Ok((attached, programs.steering()?))) {
            Ok((attached, steering)) => {
                let (links, attachments) = attached.into_iter().unzip();
                let (offloads, indices) = (Vec::new(), Vec::new());
                Ok(Self { links, offloads, attachments, indices, steering, programs, dir })
            }
            Err(error) => {
                // The first error is the one to report.
                let _ = dir.remove();
                Err(error)
            }
        }
    }

    /// Without GRO every datagram climbs the stack alone. That it can't be had is a note, not an
    /// error: the relay works, at a cost.
    fn turn_gro_on(&mut self) {
        for attachment in self.attachments.iter_mut().filter(|a| a.mode != Mode::Generic) {
            match GroTurnedOn::on(&attachment.interface) {
                Ok(Some(turned)) => {
                    attachment.notes.push("GRO was off: on until the relay ends".to_owned());
                    self.offloads.push(turned);
                }
                Ok(None) => {}
                Err(error) => attachment.notes.push(format!("GRO can't be turned on: {error}")),
            }
        }
    }

    /// What is attached where, and how.
    #[must_use]
    pub fn attachments(&self) -> &[Attachment] {
        &self.attachments
    }

    /// The exit flow table.
    #[must_use]
    pub fn flows(&self) -> FlowTable {
        self.programs.flows()
    }

    /// Verdict, unattributed and steering counters.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.programs.counters()
    }

    /// The reuseport side. Detach its program from the sockets by closing them.
    #[must_use]
    pub fn steering(&self) -> Steering {
        self.steering.clone()
    }

    /// Changes [`Options::redirect_len_max`], from the next packet on.
    pub fn set_redirect_len_max(&self, frame_len_max: Option<u32>) -> Result<()> {
        self.programs.redirect(&self.indices, frame_len_max)
    }

    /// The map of AF_XDP sockets.
    #[must_use]
    pub fn xsks(&self) -> XskMap {
        self.programs.xsks(&self.indices)
    }

    /// Counts what `worker` sends through AF_XDP sockets. One for each worker, no more.
    ///
    /// # Errors
    /// [`XdpError::NoSuchWorker`](crate::XdpError::NoSuchWorker).
    pub fn sender(&self, worker: u32) -> Result<Sender> {
        self.programs.sender(worker)
    }

    /// Detaches the programs and unpins the maps. Handles stay readable until dropped.
    pub fn stop(self) -> Result<()> {
        let Self { links, offloads, programs, dir, .. } = self;
        drop(links);
        drop(offloads);
        drop(programs);
        dir.remove()
    }
}

/// May programs be loaded here? Loads the object and throws it away; the error says what is
/// missing.
pub fn probe() -> Result<()> {
    Programs::load(OBJECT, 1)?;
    pins::ensure_bpf_fs()
}

fn attach_one(
    programs: &mut Programs,
    interface: &Interface,
    xdp: bool,
    options: &Options,
) -> Result<(Links, Attachment)> {
    let (mut notes, tcx) = (Vec::new(), options.tcx);
    let (egress_link, egress) =
        attach::tc(programs.egress()?, Side::Egress, interface, tcx, &mut notes)?;
    let (ingress_link, mode) = if xdp {
        let (link, mode) =
            attach::ingress(programs.ingress()?, interface, options.mode, &mut notes)?;
        (IngressLink::Xdp(link), mode)
    } else {
        let program = programs.ingress_tc()?;
        let (link, _) = attach::tc(program, Side::Ingress, interface, tcx, &mut Vec::new())?;
        (IngressLink::Tc(link), Mode::Tc)
    };
    let attachment = Attachment { interface: interface.name.clone(), mode, egress, notes };
    Ok((Links::new(ingress_link, egress_link), attachment))
}
