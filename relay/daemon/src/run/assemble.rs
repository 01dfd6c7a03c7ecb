//! Opens everything, in the order in which one thing needs the other.

use std::net::TcpListener as StdListener;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use weir_abi::cid::CidKey;
use weir_core::{CongestionControl, EngineConfig, Limits, QuicConfig};
use weir_io::xsk::host;
use weir_io::{ClientOptions, IoConfig, limits};
use weir_usage::ExitId;

use crate::config::{BackendChoice, Config, Congestion, LimitsConfig};
use crate::control::access::Watch;
use crate::control::credit::Credit;
use crate::control::export::{Export, recover};
use crate::control::grants::Accounts;
use crate::control::resolver::Resolver;
use crate::control::resources::{Resources, Ways};
use crate::control::settle::Link;
use crate::control::tokens::Tokens;
use crate::failure::Failure;
use crate::run_dir::RunDir;
use crate::state::{Choice, Drain, State};
use crate::worker::{self, Plan, Question, Running, XskPlan};
use crate::xdp::MakeRegistrar;
use crate::{policy, privileges, random, tls, xdp};

/// Descriptors besides target-facing sockets: listeners, maps, rings, admin, DNS.
const SPARE_FILES: u64 = 1_024;

/// Vouchers on their way to the sidecar.
const VOUCHER_QUEUE: usize = 256;

/// Samples on their way to the sidecar.
const SAMPLE_QUEUE: usize = 256;

/// A relay whose workers run, before anything else does.
pub(super) struct Assembled {
    pub state: Arc<State>,
    pub threads: Vec<JoinHandle<()>>,
    pub questions: mpsc::Receiver<Question>,
    pub ended: mpsc::UnboundedReceiver<(usize, Result<(), String>)>,
    pub admin: TcpListener,
    pub resolver: Resolver,
    pub link: Option<Link>,
    /// Held to the end: the directory belongs to this process.
    pub run_dir: RunDir,
}

pub(super) fn assemble(mut config: Config) -> Result<Assembled, Failure> {
    let admin = admin(&config)?;
    let run_dir = RunDir::open(&config.relay.run_dir)?;
    let identity = tls::load(&config.tls, &config.relay.run_dir)
        .map_err(|error| Failure::Config(error.to_string()))?;
    let backend = backend(config.io.backend)?;
    config.limits.sockets = sockets_that_fit(&config);
    let resolver =
        Resolver::new(&config.dns).map_err(|error| Failure::Config(format!("dns: {error}")))?;
    let key = CidKey::from_bytes(random::bytes());
    let epoch = random::number();
    let recovered = recover::read_dead(&run_dir.ledgers);
    let accounts = Arc::new(Accounts::default());
    let programs = xdp::start(&config, key)?;
    let keep = programs.keep;
    let xsk = match config.io.backend {
        BackendChoice::Xsk => Some(xsk(&config, programs.registrar)?),
        _ => None,
    };
    let running = worker::start(Plan {
        workers: usize::from(config.relay.workers),
        pin: config.relay.pin,
        listen: config.relay.listen.clone(),
        client: ClientOptions {
            receive_buffer_bytes: config.io.socket_buffer_bytes as usize,
            send_buffer_bytes: config.io.socket_buffer_bytes as usize,
            ..ClientOptions::default()
        },
        backend: backend.0,
        io: IoConfig {
            egress_sockets: config.limits.sockets,
            spin: config.io.spin,
            ..IoConfig::default()
        },
        xsk,
        steering: config.io.steering,
        key,
        generation: 0,
        ledger_dir: run_dir.ledgers.clone(),
        // Half as many again may be closed and wait for the sidecar.
        ledger_slots: (config.limits.sockets + config.limits.sockets / 2)
            .clamp(64, weir_io::ledger_file::SLOTS_MAX),
        after_crash: !recovered.is_empty(),
        engine: EngineConfig {
            name: config.relay.name.clone(),
            epoch,
            worker: 0,
            tls: Arc::clone(&identity.server),
            keys: run_dir.keys.clone(),
            cid: Arc::new(|| unreachable!("each worker has its own")),
            quic: engine_quic(&config),
            limits: engine_limits(&config.limits),
            templates: weir_core::Templates::default(),
            policy: Arc::new(policy::from_config(&config.exit, &config.relay)),
            grants: Arc::new(accounts.grants(&config.grants, config.tokens.as_ref())),
        },
        hook: programs.hook,
        ebpf_steerer: programs.steerer,
        keep,
    })?;
    let Running { peers, threads, questions, ended, listen, ledgers, steering } = running;
    privileges::drop_all_but(keep)
        .map_err(|error| Failure::Privilege(format!("capabilities can't be dropped: {error}")))?;
    let (offer, vouchers) = mpsc::channel(VOUCHER_QUEUE);
    let (offer_sample, samples) = mpsc::channel(SAMPLE_QUEUE);
    let ways = Ways { vouchers: offer, samples: offer_sample };
    let settle = config.settle.clone();
    let tokens = match (&config.tokens, &settle) {
        (Some(tokens), Some(settle)) => {
            let issuers = accounts.issuers(tokens);
            Some(Tokens::start(tokens, settle.exit_id, issuers, Arc::clone(&peers))?)
        }
        _ => None,
    };
    let export = Export::new(ledgers, recovered, programs.flows, settle.is_some());
    let access = Arc::new(Watch::default());
    let strict = config.xdp.strict.then(|| Arc::clone(&access));
    let state = Arc::new(State {
        epoch,
        started: Instant::now(),
        listen,
        backend: Choice { kind: backend.0.to_string(), reason: backend.1 },
        steering: Choice { kind: steering.0.to_owned(), reason: steering.1 },
        xdp: programs.status,
        fingerprint: ArcSwap::from_pointee(identity.fingerprint),
        peers,
        accounts,
        export: Arc::new(Mutex::new(export)),
        resources: Arc::new(Resources::new(settle.is_some().then_some(ways), strict)),
        drain: Drain::default(),
        access,
        tokens,
        config: ArcSwap::from_pointee(config),
    });
    let link = settle.map(|settle| Link {
        socket: settle.socket,
        exit: ExitId(settle.exit_id),
        epoch,
        export: Arc::clone(&state.export),
        kernel: Arc::clone(&state.xdp),
        credit: Credit::new(settle.credit, settle.grace, Instant::now()),
        acked_to: 0,
        accounts: Arc::clone(&state.accounts),
        resources: Arc::clone(&state.resources),
        peers: Arc::clone(&state.peers),
        vouchers,
        samples,
    });
    announce(&state, keep);
    Ok(Assembled { state, threads, questions, ended, admin, resolver, link, run_dir })
}

fn announce(state: &State, keep: privileges::Keep) {
    let listen = state.listen.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let config = state.config.load();
    tracing::info!(backend = state.backend.kind, reason = state.backend.reason, "backend chosen");
    tracing::info!(
        steering = state.steering.kind,
        reason = state.steering.reason,
        "steering chosen"
    );
    tracing::info!(kept = keep.describe(), "capabilities dropped");
    tracing::info!(sha256 = state.fingerprint.load().as_str(), "certificate");
    tracing::info!(
        listen,
        admin = %config.relay.admin,
        workers = config.relay.workers,
        xdp = state.xdp.mode(),
        version = env!("CARGO_PKG_VERSION"),
        "the relay is ready"
    );
}

fn admin(config: &Config) -> Result<TcpListener, Failure> {
    let address = config.relay.admin;
    let refused = |error: std::io::Error| {
        Failure::Unavailable(format!("relay.admin: can't listen on tcp {address}: {error}"))
    };
    let listener = StdListener::bind(address).map_err(refused)?;
    listener.set_nonblocking(true).map_err(refused)?;
    TcpListener::from_std(listener).map_err(refused)
}

fn backend(choice: BackendChoice) -> Result<(weir_io::BackendKind, String), Failure> {
    let choice = match choice {
        BackendChoice::Auto => weir_io::BackendChoice::Auto,
        BackendChoice::Uring => weir_io::BackendChoice::Uring,
        BackendChoice::Poll => weir_io::BackendChoice::Poll,
        BackendChoice::Xsk => weir_io::BackendChoice::Xsk,
    };
    let selection = weir_io::select(choice).map_err(|error| {
        Failure::Unavailable(format!("{error}; io.backend = \"auto\" would fall back to poll"))
    })?;
    Ok((selection.kind, selection.reason))
}

/// What AF_XDP needs, or what is missing: whoever asks for it by name doesn't get sockets instead.
fn xsk(config: &Config, registrar: Option<MakeRegistrar>) -> Result<XskPlan, Failure> {
    let Some(registrar) = registrar else {
        let text = "io.backend = \"xsk\": the kernel programs are not attached, so nothing \
                    redirects packets; see xdp.mode";
        return Err(Failure::Unavailable(text.to_owned()));
    };
    let section = config.io.xsk.clone();
    if let Some(problem) = host::unreserved_ports(&section.exit_ports) {
        return Err(Failure::Unavailable(format!("io.xsk.exit_ports: {problem}")));
    }
    let names = match &section.interfaces[..] {
        [] => &config.xdp.interfaces,
        named => named,
    };
    let interfaces = names.iter().map(|name| host::interface(name)).collect::<Result<_, _>>();
    let interfaces = interfaces.map_err(|error| Failure::Config(error.to_string()))?;
    Ok(XskPlan { interfaces, config: section, registrar })
}

/// Sockets per worker, as many as the limit of open files leaves.
fn sockets_that_fit(config: &Config) -> u32 {
    let workers = u64::from(config.relay.workers);
    let wanted = u64::from(config.limits.sockets) * workers + SPARE_FILES;
    let limit = match limits::raise_open_files(wanted) {
        Ok(limit) => limit.soft,
        Err(error) => {
            tracing::warn!("the limit of open files can't be read: {error}");
            return config.limits.sockets;
        }
    };
    if limit >= wanted {
        return config.limits.sockets;
    }
    let fit = (limit.saturating_sub(SPARE_FILES) / workers).max(8);
    tracing::warn!(
        open_files = limit,
        wanted,
        sockets = fit,
        "fewer sockets than limits.sockets: raise LimitNOFILE to have them all"
    );
    u32::try_from(fit).unwrap_or(config.limits.sockets)
}

fn engine_quic(config: &Config) -> QuicConfig {
    let quic = &config.quic;
    let usual = QuicConfig::default();
    QuicConfig {
        // Without discovery this is what is sent for good.
        initial_mtu: usual.initial_mtu.min(quic.mtu_max),
        mtu_upper_bound: quic.mtu_max,
        mtu_discovery: quic.mtu_discovery,
        congestion_control: match quic.congestion {
            Congestion::Cubic => CongestionControl::Cubic,
            Congestion::Bbr => CongestionControl::Bbr,
            Congestion::NewReno => CongestionControl::NewReno,
        },
        ack_every: quic.ack_every,
        idle_timeout: config.limits.idle_timeout,
        ..usual
    }
}

fn engine_limits(limits: &LimitsConfig) -> Limits {
    Limits {
        connections: limits.connections as usize,
        connections_per_source: limits.connections_per_source as usize,
        requests_per_connection: limits.tunnels_per_connection,
        auth_failures_per_minute: limits.auth_failures_per_minute,
        connect_timeout: limits.connect_timeout,
        udp_idle: limits.udp_idle_timeout,
        egress_sockets: limits.sockets as usize,
        ..Limits::default()
    }
}
