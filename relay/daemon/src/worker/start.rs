//! Opens the sockets and starts the threads.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, mpsc as std_mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::mpsc;
use weir_abi::cid::{CidKey, classic_program};
use weir_core::port::FlowHook;
use weir_core::{Engine, EngineConfig};
use weir_io::{
    Backend, BackendKind, ClassicInstruction, ClassicSteerer, ClientOptions, ClientSocket,
    Crossing, EbpfSteerer, IoConfig, LedgerReader, LedgerWriter, Steerer, Waker, WorkerSockets,
    XskConfig, XskInterface, affinity, bind_workers,
};

use super::turn::Worker;
use super::{Peers, Question};
use crate::cid::WorkerCids;
use crate::config::{Steering, XskConfig as XskSection, ZeroCopy};
use crate::control::{export::recover, questions};
use crate::failure::Failure;
use crate::xdp::{MakeRegistrar, MakeSteerer};
use crate::{privileges, random};

/// What workers are made of.
pub(crate) struct Plan {
    pub workers: usize,
    pub pin: bool,
    pub listen: Vec<SocketAddr>,
    pub client: ClientOptions,
    pub backend: BackendKind,
    pub io: IoConfig,
    /// For the AF_XDP backend.
    pub xsk: Option<XskPlan>,
    pub steering: Steering,
    pub key: CidKey,
    pub generation: u8,
    pub ledger_dir: PathBuf,
    /// Slots of each ledger: open tunnels, and closed ones that wait for the sidecar.
    pub ledger_slots: u32,
    /// A dead process left its ledger behind, so its sockets may not be gone yet.
    pub after_crash: bool,
    /// The engine's configuration; worker number and connection IDs are filled in.
    pub engine: EngineConfig,
    /// Makes each worker's hook into the kernel's flow table.
    pub hook: Box<dyn Fn() -> Box<dyn FlowHook + Send>>,
    pub ebpf_steerer: MakeSteerer,
    /// Whether the kernel programs need this process to keep privileges.
    pub keep: privileges::Keep,
}

/// What AF_XDP workers are made of.
pub(crate) struct XskPlan {
    pub interfaces: Vec<XskInterface>,
    pub config: XskSection,
    /// Makes each worker's way to the redirecting program.
    pub registrar: MakeRegistrar,
}

impl XskPlan {
    fn of_worker(&self, worker: usize, workers: usize, crossing: Crossing) -> XskConfig {
        XskConfig {
            worker,
            workers,
            interfaces: self.interfaces.clone(),
            exit_ports: self.config.exit_ports.clone(),
            zero_copy: match self.config.zero_copy {
                ZeroCopy::Auto => weir_io::ZeroCopy::Auto,
                ZeroCopy::On => weir_io::ZeroCopy::On,
                ZeroCopy::Off => weir_io::ZeroCopy::Off,
            },
            busy_poll: self.config.busy_poll,
            kernel_train: KERNEL_TRAIN,
            crossing,
            registrar: (self.registrar)(worker),
        }
    }
}

/// Client-facing trains of so many datagrams leave by the kernel's socket where frames are copied:
/// one call with UDP_SEGMENT is cheaper there than a frame for each.
const KERNEL_TRAIN: usize = 8;

/// Workers that run.
pub(crate) struct Running {
    pub peers: Arc<Peers>,
    pub threads: Vec<JoinHandle<()>>,
    /// What engines ask.
    pub questions: mpsc::Receiver<Question>,
    /// A worker that ends says how: drained, or broken.
    pub ended: mpsc::UnboundedReceiver<(usize, Result<(), String>)>,
    /// Where clients are served, with real ports.
    pub listen: Vec<SocketAddr>,
    /// The ledger files, in worker order.
    pub ledgers: Vec<LedgerReader>,
    /// Who steers packets to workers, and why that one.
    pub steering: (&'static str, String),
}

/// Binds, starts, and waits until every worker has all it needs.
///
/// # Errors
/// The first thing that a worker lacks, with the exit code that it deserves.
pub(crate) fn start(plan: Plan) -> Result<Running, Failure> {
    let sockets = bind(&plan)?;
    let listen = sockets[0].iter().map(|socket| socket.local()).collect();
    let steering = steer(plan.steering, plan.key, plan.ebpf_steerer, &sockets)?;
    let wakers = (0..plan.workers).map(|_| Waker::new()).collect::<Result<Vec<_>, _>>();
    let wakers = wakers.map_err(|error| Failure::Internal(error.into()))?;
    let peers = Arc::new(Peers::new(wakers.clone()));
    let (ask, questions) = mpsc::channel(questions::QUEUE);
    let (end, ended) = mpsc::unbounded_channel();
    let (ready, readiness) = std_mpsc::channel();
    let crossing = Crossing::new(&wakers);
    let cpus = affinity::allowed().map_err(|error| Failure::Internal(error.into()))?;
    let mut threads = Vec::new();
    for (index, (sockets, waker)) in sockets.into_iter().zip(wakers).enumerate() {
        let mut engine = plan.engine.clone();
        engine.worker = index as u16;
        let (key, generation) = (plan.key, plan.generation);
        engine.cid = Arc::new(move || Box::new(WorkerCids::new(key, generation, index as u8)));
        let seat = Seat {
            index,
            cpu: plan.pin.then(|| cpus[index % cpus.len()]),
            backend: plan.backend,
            io: plan.io.clone(),
            xsk: plan.xsk.as_ref().map(|xsk| xsk.of_worker(index, plan.workers, crossing.clone())),
            sockets,
            waker,
            engine,
            hook: (plan.hook)(),
            ledger: recover::file_name(&plan.ledger_dir, plan.engine.epoch, index),
            ledger_slots: plan.ledger_slots,
            peers: Arc::clone(&peers),
            key,
            questions: ask.clone(),
            keep: plan.keep,
        };
        let (ready, end) = (ready.clone(), end.clone());
        let thread = std::thread::Builder::new().name(format!("weir-w{index}")).spawn(move || {
            let mut obituary = Obituary { index, end, result: Err("it panicked".to_owned()) };
            obituary.result = seat.take(ready);
        });
        threads.push(thread.context("no thread for a worker")?);
    }
    drop(ready);
    let mut ledgers = Vec::new();
    for _ in 0..plan.workers {
        let told = readiness.recv().context("a worker died while it started")?;
        ledgers.push(told.map_err(|error| Failure::Unavailable(format!("{error:#}")))?);
    }
    ledgers.sort_by_key(LedgerReader::worker);
    Ok(Running { peers, threads, questions, ended, listen, ledgers, steering })
}

/// The kernel takes a killed process' io_uring down in the background, and its sockets with it.
const CRASH_PATIENCE: Duration = Duration::from_secs(5);

/// Between two attempts to bind.
const BIND_AGAIN: Duration = Duration::from_millis(50);

fn bind(plan: &Plan) -> Result<Vec<WorkerSockets>, Failure> {
    let deadline = Instant::now() + CRASH_PATIENCE;
    loop {
        match bind_workers(&plan.listen, plan.workers, &plan.client) {
            Err(weir_io::Error::AddressInUse { address })
                if plan.after_crash && Instant::now() < deadline =>
            {
                tracing::debug!(%address, "waiting for the sockets of the dead process to go");
                std::thread::park_timeout(BIND_AGAIN);
            }
            bound => return bound.map_err(listen_failure),
        }
    }
}

/// Everything that one worker thread starts with.
struct Seat {
    index: usize,
    cpu: Option<usize>,
    backend: BackendKind,
    io: IoConfig,
    xsk: Option<XskConfig>,
    sockets: WorkerSockets,
    waker: Waker,
    engine: EngineConfig,
    hook: Box<dyn FlowHook + Send>,
    ledger: PathBuf,
    ledger_slots: u32,
    peers: Arc<Peers>,
    key: CidKey,
    questions: mpsc::Sender<Question>,
    keep: privileges::Keep,
}

impl Seat {
    /// The life of a worker thread.
    fn take(self, ready: std_mpsc::Sender<anyhow::Result<LedgerReader>>) -> Result<(), String> {
        match self.open() {
            Ok(worker) => {
                // The receiver is gone only if another worker failed, which ends the process.
                let _ = ready.send(Ok(worker.ledger.reader()));
                // If another one panics before it is ready, only the last sender's end tells.
                drop(ready);
                worker.run().map_err(|error| error.to_string())
            }
            Err(error) => {
                let text = format!("{error:#}");
                let _ = ready.send(Err(error));
                Err(text)
            }
        }
    }

    fn open(self) -> anyhow::Result<Worker<Backend, LedgerWriter>> {
        if let Some(cpu) = self.cpu
            && let Err(error) = affinity::pin(cpu)
        {
            tracing::warn!(worker = self.index, cpu, %error, "the worker stays unpinned");
        }
        let opened = match self.xsk {
            Some(xsk) => Backend::open_xsk(&self.io, xsk, self.sockets, &self.waker, self.hook),
            None => Backend::open(self.backend, &self.io, self.sockets, &self.waker, self.hook),
        };
        let io =
            opened.with_context(|| format!("worker {}: backend {}", self.index, self.backend))?;
        for note in io.notes() {
            tracing::warn!(worker = self.index, "{note}");
        }
        let (epoch, worker) = (self.engine.epoch, self.engine.worker);
        let ledger = LedgerWriter::create(&self.ledger, epoch, worker, self.ledger_slots)?;
        let engine = Engine::new(self.engine, random::bytes(), Instant::now())?;
        privileges::drop_all_but(self.keep).context("capabilities can't be dropped")?;
        Ok(Worker {
            index: self.index,
            engine,
            io,
            ledger,
            peers: self.peers,
            key: self.key,
            questions: self.questions,
            io_stats: |io| super::snapshot::io_entries(io.stats()),
        })
    }
}

/// Tells of a worker's end however it comes, a panic included.
struct Obituary {
    index: usize,
    end: mpsc::UnboundedSender<(usize, Result<(), String>)>,
    result: Result<(), String>,
}

impl Drop for Obituary {
    fn drop(&mut self) {
        let result = std::mem::replace(&mut self.result, Ok(()));
        // Nobody listens any more when the process is about to end.
        let _ = self.end.send((self.index, result));
    }
}

fn listen_failure(error: weir_io::Error) -> Failure {
    let denied = match &error {
        weir_io::Error::Listen { source, .. } => {
            source.kind() == std::io::ErrorKind::PermissionDenied
        }
        _ => false,
    };
    if denied {
        return Failure::Privilege(format!("{error}; ports below 1024 need CAP_NET_BIND_SERVICE"));
    }
    Failure::Unavailable(error.to_string())
}

/// Attaches the steerer that was asked for, or the next best one.
fn steer(
    wanted: Steering,
    key: CidKey,
    ebpf: impl FnOnce(&[WorkerSockets]) -> Result<EbpfSteerer, String>,
    sockets: &[WorkerSockets],
) -> Result<(&'static str, String), Failure> {
    if sockets.len() == 1 {
        return Ok(("none", "there is one worker".to_owned()));
    }
    // One member stands for its group, and each address has a group.
    let groups: Vec<_> = sockets[0].iter().collect();
    let classic = classic(key, sockets.len());
    let by_classic = |groups: &[&ClientSocket]| {
        groups.iter().try_for_each(|group| classic.attach(group)).map_err(|e| e.to_string())
    };
    let refused = |name: &str, error: String| {
        Err(Failure::Unavailable(format!("io.steering = \"{name}\": {error}")))
    };
    let mut reason = "it was asked for".to_owned();
    if matches!(wanted, Steering::Auto | Steering::Ebpf) {
        // The kernel's socket array serves one group; a second address family gets the same rule
        // as a classic program.
        let attached = ebpf(sockets)
            .and_then(|steerer| steerer.attach(groups[0]).map_err(|error| error.to_string()))
            .and_then(|()| by_classic(&groups[1..]));
        match attached {
            Ok(()) => return Ok(("ebpf", "the sk_reuseport program is loaded".to_owned())),
            Err(error) if wanted == Steering::Ebpf => return refused("ebpf", error),
            Err(error) => reason = format!("no eBPF: {error}"),
        }
    }
    if matches!(wanted, Steering::Auto | Steering::Classic) {
        match by_classic(&groups) {
            Ok(()) => return Ok(("classic", reason)),
            Err(error) if wanted == Steering::Classic => return refused("classic", error),
            Err(error) => reason = format!("{reason}; no classic BPF: {error}"),
        }
    }
    Ok(("hash", reason))
}

fn classic(key: CidKey, workers: usize) -> ClassicSteerer {
    let program = classic_program(&key, workers as u32);
    let program = program.iter().map(|insn| ClassicInstruction {
        code: insn.code,
        jump_true: insn.jt,
        jump_false: insn.jf,
        value: insn.k,
    });
    ClassicSteerer::new(program.collect())
}
