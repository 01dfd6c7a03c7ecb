//! Attaching to an interface: ingress by XDP, native or generic, or at tc; egress at tc, by tcx or
//! clsact.

use std::error::Error;

use aya::programs::links::FdLink;
use aya::programs::tc::{
    NlOptions, SchedClassifierLink, TcAttachOptions, qdisc_add_clsact, qdisc_detach_program,
};
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType, Xdp, XdpMode};
use weir_abi::program;

use crate::error::{Result, XdpError};
use crate::interface::Interface;
use crate::packets::WantedMode;

/// Where the program of ingress really runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver, before a socket buffer is made.
    Native,
    /// In the stack, after GRO: slower, and a merged train counts as one packet.
    Generic,
    /// At the tc hook, after GRO, with the counts of a train's packets.
    Tc,
}

/// How the tc programs are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Egress {
    /// A tcx link, which ends with the process.
    Tcx,
    /// A filter on the clsact qdisc (Linux before 6.6); outlives a killed process and is removed
    /// by the next start.
    Clsact,
}

/// What is attached to one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    pub interface: String,
    pub mode: Mode,
    pub egress: Egress,
    /// What was tried in vain before, and why it failed.
    pub notes: Vec<String>,
}

/// The attached programs of one interface; dropping it detaches them.
#[derive(Debug)]
pub(crate) struct Links {
    _ingress: IngressLink,
    _egress: SchedClassifierLink,
}

#[derive(Debug)]
#[expect(dead_code, reason = "held until it is dropped, which detaches")]
pub(crate) enum IngressLink {
    Xdp(FdLink),
    Tc(SchedClassifierLink),
}

/// The direction of a tc program.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Side {
    Ingress,
    Egress,
}

impl Side {
    const fn hook(self) -> TcAttachType {
        match self {
            Self::Ingress => TcAttachType::Ingress,
            Self::Egress => TcAttachType::Egress,
        }
    }

    const fn program(self) -> &'static str {
        match self {
            Self::Ingress => program::INGRESS_TC,
            Self::Egress => program::EGRESS,
        }
    }
}

pub(crate) fn ingress(
    program: &mut Xdp,
    interface: &Interface,
    wanted: WantedMode,
    notes: &mut Vec<String>,
) -> Result<(FdLink, Mode)> {
    let modes: &[(XdpMode, &str)] = match wanted {
        WantedMode::Auto => &[(XdpMode::Driver, "native"), (XdpMode::Skb, "generic")],
        WantedMode::Native => &[(XdpMode::Driver, "native")],
        WantedMode::Generic => &[(XdpMode::Skb, "generic")],
    };
    let mut causes = Vec::new();
    for (mode, name) in modes {
        match try_ingress(program, interface, *mode) {
            Ok(attached) => {
                notes.append(&mut causes);
                return Ok(attached);
            }
            Err(cause) => causes.push(format!("{name} XDP: {cause}")),
        }
    }
    Err(XdpError::Attach {
        program: program::INGRESS,
        interface: interface.name.clone(),
        cause: causes.join("; "),
    })
}

fn try_ingress(
    program: &mut Xdp,
    interface: &Interface,
    mode: XdpMode,
) -> std::result::Result<(FdLink, Mode), String> {
    let id = program.attach_to_if_index(interface.index, mode).map_err(|e| chain(&e))?;
    let link = program.take_link(id).map_err(|e| chain(&e))?;
    // aya falls back to netlink without a word; such an attachment would outlive us.
    let link =
        FdLink::try_from(link).map_err(|_| "the kernel has no BPF link for XDP".to_owned())?;
    let own = program.info().map_err(|e| chain(&e))?.id();
    let state = interface.xdp_state().map_err(|e| chain(&e))?;
    if state.native == own {
        Ok((link, Mode::Native))
    } else if state.generic == own {
        Ok((link, Mode::Generic))
    } else {
        Err(format!("attached, but the interface runs {state:?}"))
    }
}

pub(crate) fn tc(
    program: &mut SchedClassifier,
    side: Side,
    interface: &Interface,
    tcx: bool,
    notes: &mut Vec<String>,
) -> Result<(SchedClassifierLink, Egress)> {
    if tcx {
        let options = TcAttachOptions::TcxOrder(LinkOrder::default());
        match try_tc(program, side, interface, options) {
            Ok(link) => return Ok((link, Egress::Tcx)),
            Err(cause) => notes.push(format!("tcx: {cause}")),
        }
    }
    clsact(program, side, interface).map(|link| (link, Egress::Clsact)).map_err(|cause| {
        XdpError::Attach {
            program: side.program(),
            interface: interface.name.clone(),
            cause: format!("{}; clsact: {cause}", notes.join("; ")),
        }
    })
}

fn clsact(
    program: &mut SchedClassifier,
    side: Side,
    interface: &Interface,
) -> std::result::Result<SchedClassifierLink, String> {
    // Both report what is usual: the qdisc is there already, no killed predecessor left a filter.
    // If something else is wrong the attachment says it.
    let _ = qdisc_add_clsact(&interface.name);
    let _ = qdisc_detach_program(&interface.name, side.hook(), side.program());
    if let Side::Egress = side {
        // It comes first, on every interface. The predecessor may have had no XDP here.
        let ingress = Side::Ingress;
        let _ = qdisc_detach_program(&interface.name, ingress.hook(), ingress.program());
    }
    try_tc(program, side, interface, TcAttachOptions::Netlink(NlOptions::default()))
}

fn try_tc(
    program: &mut SchedClassifier,
    side: Side,
    interface: &Interface,
    options: TcAttachOptions,
) -> std::result::Result<SchedClassifierLink, String> {
    let id = program
        .attach_with_options(&interface.name, side.hook(), options)
        .map_err(|e| chain(&e))?;
    program.take_link(id).map_err(|e| chain(&e))
}

impl Links {
    pub(crate) fn new(ingress: IngressLink, egress: SchedClassifierLink) -> Self {
        Self { _ingress: ingress, _egress: egress }
    }
}

/// An error with its causes in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
