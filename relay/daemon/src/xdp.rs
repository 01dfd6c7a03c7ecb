//! The kernel programs: attaching them as configured, and what the rest of the relay sees of them.

mod attached;
mod flows;
mod registrar;

use std::fmt::Debug;
use std::sync::Arc;

use caps::Capability;
use serde_json::{Value, json};
use weir_abi::cid::CidKey;
use weir_core::port::{EgressId, FlowHook, FlowTuple};
use weir_io::{EbpfSteerer, WorkerSockets, XskRegistrar};
use weir_xdp::{WantedMode, XdpError};

use crate::config::{Config, XdpMode};
use crate::control::access::Access;
use crate::control::export::FlowBook;
use crate::failure::Failure;
use crate::privileges::{Keep, has};

/// What the admin endpoint shows.
pub(crate) trait XdpStatus: Send + Sync + Debug {
    fn status(&self) -> Value;
    /// `off`, `native`, `generic`, or `tc` if no interface has XDP.
    fn mode(&self) -> &str;
    fn metrics(&self) -> Vec<Metric>;
    /// Ledger C; `None` where nobody counts.
    fn access(&self) -> Option<Access>;
    /// Takes the programs off at an orderly end.
    fn detach(&self);
}

/// One family of `/metrics`.
#[derive(Debug)]
pub(crate) struct Metric {
    pub name: &'static str,
    pub kind: &'static str,
    pub help: &'static str,
    pub samples: Vec<(Vec<(&'static str, &'static str)>, u64)>,
}

/// Puts the workers' sockets into the kernel's steering table and returns the program, or says why
/// there is none.
pub(crate) type MakeSteerer = Box<dyn FnOnce(&[WorkerSockets]) -> Result<EbpfSteerer, String>>;

/// Makes the way of a worker, by its number, to the program that redirects to AF_XDP sockets.
pub(crate) type MakeRegistrar = Box<dyn Fn(usize) -> Box<dyn XskRegistrar>>;

/// Everything that the relay gets from the kernel programs, or the lack of them.
pub(crate) struct KernelPrograms {
    pub status: Arc<dyn XdpStatus>,
    pub flows: Option<Box<dyn FlowBook>>,
    pub hook: Box<dyn Fn() -> Box<dyn FlowHook + Send>>,
    pub steerer: MakeSteerer,
    /// `None`: nothing is redirected.
    pub registrar: Option<MakeRegistrar>,
    pub keep: Keep,
}

/// Attaches the programs as configured.
///
/// # Errors
/// When a mode was demanded and can't be had.
pub(crate) fn start(config: &Config, key: CidKey) -> Result<KernelPrograms, Failure> {
    let mode = match config.xdp.mode {
        XdpMode::Off => return Ok(without("xdp.mode is off".to_owned())),
        XdpMode::Auto => WantedMode::Auto,
        XdpMode::Native => WantedMode::Native,
        XdpMode::Generic => WantedMode::Generic,
    };
    match attached::start(config, mode, key) {
        Ok(programs) => Ok(programs),
        Err(error) if config.xdp.mode == XdpMode::Auto => {
            tracing::warn!("the relay runs without kernel programs: {error}");
            Ok(without(error.to_string()))
        }
        Err(error) => Err(failure(&error)),
    }
}

fn failure(error: &XdpError) -> Failure {
    let privileged = [Capability::CAP_BPF, Capability::CAP_NET_ADMIN].into_iter().all(has);
    let text = format!("xdp: {error}");
    match error {
        XdpError::NotEthernet { .. } | XdpError::BadInstance(_) | XdpError::NoInterface(_) => {
            Failure::Config(text)
        }
        _ if !privileged => Failure::Privilege(format!(
            "{text}; this process lacks CAP_BPF or CAP_NET_ADMIN: run as root or give them in the \
             unit, or set xdp.mode to \"off\""
        )),
        _ => Failure::Unavailable(text),
    }
}

/// No kernel programs, and why.
pub(crate) fn without(reason: String) -> KernelPrograms {
    let steerer_reason = reason.clone();
    KernelPrograms {
        status: Arc::new(Off { reason }),
        flows: None,
        hook: Box::new(|| Box::new(NoHook)),
        steerer: Box::new(move |_| Err(steerer_reason)),
        registrar: None,
        keep: Keep::Nothing,
    }
}

#[derive(Debug)]
struct Off {
    reason: String,
}

impl XdpStatus for Off {
    fn status(&self) -> Value {
        json!({ "mode": "off", "reason": self.reason })
    }

    fn mode(&self) -> &str {
        "off"
    }

    fn metrics(&self) -> Vec<Metric> {
        Vec::new()
    }

    fn access(&self) -> Option<Access> {
        None
    }

    fn detach(&self) {}
}

#[derive(Debug)]
struct NoHook;

impl FlowHook for NoHook {
    fn opened(&mut self, _: EgressId, _: &FlowTuple) {}
    fn closed(&mut self, _: EgressId, _: &FlowTuple) {}
}
