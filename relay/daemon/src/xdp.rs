//! The kernel programs: attaching them as configured, and what the rest of the relay sees of them.

use std::fmt::Debug;
use std::sync::Arc;

use serde_json::{Value, json};
use weir_abi::cid::CidKey;
use weir_core::port::{EgressId, FlowHook, FlowTuple};
use weir_io::{EbpfSteerer, WorkerSockets};

use crate::config::{Config, XdpMode};
use crate::control::export::FlowBook;
use crate::failure::Failure;
use crate::privileges::Keep;

/// What the admin endpoint shows.
pub trait XdpStatus: Send + Sync + Debug {
    fn status(&self) -> Value;
    /// `off`, `native` or `generic`.
    fn mode(&self) -> &str;
    fn metrics(&self) -> Vec<Metric>;
    /// Takes the programs off at an orderly end.
    fn detach(&self);
}

/// One family of `/metrics`.
#[derive(Debug)]
pub struct Metric {
    pub name: &'static str,
    pub kind: &'static str,
    pub help: &'static str,
    pub samples: Vec<(Vec<(&'static str, &'static str)>, u64)>,
}

/// Everything that the relay gets from the kernel programs, or the lack of them.
pub struct KernelPrograms {
    pub status: Arc<dyn XdpStatus>,
    pub flows: Option<Box<dyn FlowBook>>,
    pub hook: Box<dyn Fn() -> Box<dyn FlowHook + Send>>,
    pub steerer: Box<dyn FnOnce(&[WorkerSockets]) -> Result<EbpfSteerer, String>>,
    pub keep: Keep,
}

/// Attaches the programs as configured.
///
/// # Errors
/// When a mode was demanded and can't be had.
pub fn start(config: &Config, _key: CidKey) -> Result<KernelPrograms, Failure> {
    match config.xdp.mode {
        XdpMode::Off => Ok(without("xdp.mode is off".to_owned())),
        mode => Err(Failure::Unavailable(format!("xdp.mode {}: not built in", mode.word()))),
    }
}

/// No kernel programs, and why.
pub fn without(reason: String) -> KernelPrograms {
    let steerer_reason = reason.clone();
    KernelPrograms {
        status: Arc::new(Off { reason }),
        flows: None,
        hook: Box::new(|| Box::new(NoHook)),
        steerer: Box::new(move |_| Err(steerer_reason)),
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

    fn detach(&self) {}
}

#[derive(Debug)]
struct NoHook;

impl FlowHook for NoHook {
    fn opened(&mut self, _: EgressId, _: &FlowTuple) {}
    fn closed(&mut self, _: EgressId, _: &FlowTuple) {}
}
