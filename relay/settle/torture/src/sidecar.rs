//! The sidecar itself: the real journal, book, clerk and driver, on one thread.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;
use weir_settle::Error;
use weir_settle::chain::quorum::Quorum;
use weir_settle::chain::{Driver, DriverHandle};
use weir_settle::clerk::{Clerk, ClerkHandle};
use weir_settle::clock::Clock;
use weir_settle::config::{Config, parse};
use weir_settle::journal::Header;
use weir_settle::keys::Wallet;
use weir_settle::service;
use weir_settle::sidecar::{self, Opened};
use weir_usage::{Address, Domain, ExitId};

use crate::client;
use crate::disk::Disk;
use crate::node::Node;
use crate::payer::Payer;
use crate::points::Points;
use crate::state::StateDisk;
use crate::wire::Wire;

/// The exit of all runs.
pub(crate) const EXIT: ExitId = ExitId([0xe1; 32]);
/// The chain of all runs.
pub(crate) const DOMAIN: Domain = Domain { chain_id: 31337, escrow: Address([0xee; 20]) };
/// Its anchor.
pub(crate) const ANCHOR: Address = Address([0xaa; 20]);

/// The journal's file.
pub(crate) const JOURNAL: &str = "journal";
/// Between two writes of the kept state: often, for a run is short.
const STATE_EVERY: Duration = Duration::from_millis(100);

/// A sidecar that runs.
#[derive(Debug)]
pub(crate) struct Sidecar {
    /// The relay's way to it.
    pub(crate) clerk: ClerkHandle,
    /// The operator's way to it.
    pub(crate) driver: DriverHandle,
    _stop: watch::Sender<bool>,
    // Its tasks end with it, as those of a killed process do.
    _tasks: JoinSet<()>,
}

/// What outlives a sidecar.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    /// Its configuration.
    pub(crate) config: Config,
    /// Its disk.
    pub(crate) disk: Disk,
    /// Its other disk.
    pub(crate) state: StateDisk,
    /// Its node.
    pub(crate) node: Arc<Mutex<Node>>,
    /// Its steps.
    pub(crate) points: Points,
    /// Its clock.
    pub(crate) clock: Clock,
    /// Files that it only reads, and its statements.
    pub(crate) _directory: Arc<TempDir>,
    /// What its salts come from.
    pub(crate) secret: [u8; 32],
}

impl Host {
    /// Starts a sidecar from what is on the disk.
    ///
    /// # Errors
    /// What keeps it from starting; also that it died while it tried.
    pub(crate) fn start(&self) -> Result<Sidecar, Error> {
        let fresh = Header { exit: EXIT.0, secret: self.secret, created_ms: 0 };
        let place = Box::new(self.state.clone());
        let Opened { journal, book, past, keeper } =
            sidecar::resume(&self.config, self.disk.clone(), fresh, place)?;
        if self.points.down().is_some() {
            return Err(Error::Stopping);
        }
        let desk = sidecar::desk(&self.config, &book, &past, self.clock.now_ms())?;
        let (stop, stopped) = watch::channel(false);
        let (clerk, handle) = Clerk::new(&self.config, journal, book, stopped.clone());
        let clerk = clerk
            .with_desk(desk)
            .with_clock(self.clock.clone())
            .with_keeper(keeper.map(|keeper| keeper.every(STATE_EVERY)));
        let rpcs = (0..self.config.chain.rpc.len())
            .map(|index| Wire::rpc(Arc::clone(&self.node), self.points.clone(), index))
            .collect();
        let rpc = Quorum::over(&self.config.chain, rpcs);
        let (driver, driver_handle) =
            Driver::new(&self.config, rpc, wallet(), handle.clone(), past, stopped);
        let driver = driver.with_usage_key(&self.config, service::usage_key(&self.config)?);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { drop(clerk.run().await) });
        tasks.spawn(driver.run());
        Ok(Sidecar { clerk: handle, driver: driver_handle, _stop: stop, _tasks: tasks })
    }
}

/// A configuration for these payers: one unit per byte, money as soon as there is any. The first
/// payer has an agreement. The files that it names are in `directory`.
///
/// `among_liars`: of three endpoints one is like a single one would be, one is honest, one lies.
pub(crate) fn config(payers: &[Payer], among_liars: bool, directory: &Path) -> Config {
    let rpc = if among_liars {
        "[\"http://a\", \"http://b\", \"http://c\"]\nquorum = 2"
    } else {
        "\"http://a\""
    };
    let mut text = format!(
        "exit_id = \"{EXIT}\"\n[ask]\ninterval_ms = 20\n\
         [tolerance]\nunsigned_permille = 0\n\
         [policy]\nclaim_threshold = \"4000\"\nsettle_threshold = \"8000\"\n\
         [chain]\nrpc = {rpc}\nchain_id = {}\nescrow = \"{}\"\nanchor = \"{}\"\n\
         key_file = \"/k\"\npoll_ms = 500\nconfirmations = 2\nstuck_after_s = 3\n\
         [files]\njournal = \"{}\"\n[usage]\nkey = \"{}\"\n[[service]]\nagreement = \"{}\"\n\
         [duties]\nsample_day_grace_s = 1\nbond = \"{}\"\n",
        DOMAIN.chain_id,
        DOMAIN.escrow,
        ANCHOR,
        directory.join(JOURNAL).display(),
        directory.join(client::KEY_FILE).display(),
        directory.join(client::AGREEMENT_FILE).display(),
        client::BOND.bond,
    );
    for payer in payers {
        let terms = &payer.terms;
        // Writing to a string can't fail.
        let _ = write!(
            text,
            "[[channel]]\nid = \"{}\"\npayer = \"{}\"\nsigner = \"{}\"\nreceiver = \"{}\"\n\
             token = \"{}\"\nwithdraw_delay_s = {}\nsalt = \"{}\"\nlanes = [0]\n\
             price_per_gib = \"{}\"\n",
            payer.channel,
            terms.payer,
            terms.signer,
            terms.receiver,
            terms.token,
            terms.withdraw_delay_s,
            weir_usage::Digest(terms.salt),
            1u64 << 30,
        );
    }
    parse(&text).unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// The wallet of all runs: the first account of every development chain.
pub(crate) fn wallet() -> Wallet {
    static WALLET: OnceLock<Wallet> = OnceLock::new();
    WALLET
        .get_or_init(|| {
            use std::os::unix::fs::PermissionsExt;
            const KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
            let file = tempfile::NamedTempFile::new().expect("a temporary file");
            std::fs::write(file.path(), KEY).expect("the temporary file takes a key");
            let private = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(file.path(), private).expect("it is ours");
            Wallet::load(file.path(), None).expect("this is a key")
        })
        .clone()
}
