//! What sells: a chain with one funded channel, the sidecar, and relays that use it.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::chain::{Chain, Who, json_of};
use crate::lab::binary::built;
use crate::lab::{Relay, sha256_hex, wait_for};

/// One token unit per byte, so that amounts and bytes compare at a glance.
pub(crate) const PRICE_PER_GIB: u128 = 1 << 30;
pub(crate) const DEPOSIT: u128 = 1 << 30;
pub(crate) const LANES: u32 = 3;
/// Any constant.
pub(crate) const EXIT: &str = "0x7765697220657869742031000000000000000000000000000000000000000000";

/// The chain, the channel, and the sidecar, which ends with its value.
pub(crate) struct Market {
    sidecar: Child,
    pub(crate) chain: Chain,
    pub(crate) channel: String,
}

impl Drop for Market {
    fn drop(&mut self) {
        self.kill_sidecar();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.chain.path("settle.log")).unwrap_or_default();
            eprintln!("the sidecar's log:\n{log}");
        }
    }
}

/// The grant of a lane: its name and its token.
pub(crate) fn grant(lane: u32) -> String {
    format!("payer-{lane}")
}

impl Market {
    /// `None` where there is no chain.
    pub(crate) fn start() -> Option<Market> {
        let chain = Chain::start()?;
        let opened = chain.open(DEPOSIT);
        fs::write(chain.path("settle.toml"), config(&chain, &opened)).unwrap();
        let channel = opened["channel"].as_str().unwrap().to_owned();
        let market = Market { sidecar: spawn(&chain), chain, channel };
        market.wait_ready();
        Some(market)
    }

    /// A relay with a credit window of so many bytes and a grant per lane.
    pub(crate) fn relay(&self, window: u64, extra: &str) -> Relay {
        let mut text = format!(
            "[settle]\nsocket = \"{}\"\nexit_id = \"{EXIT}\"\nwindow = {window}\n\
             overdraft_percent = 0\ngrace_s = 60\n",
            self.chain.path("settle.sock").display(),
        );
        for lane in 0..LANES {
            let (name, channel) = (grant(lane), &self.channel);
            let hash = sha256_hex(&name);
            text.push_str(&format!(
                "[[grant]]\nname = \"{name}\"\ntoken_sha256 = \"{hash}\"\nchannel = \"{channel}\"\n\
                 lane = {lane}\n"
            ));
        }
        Relay::start(1, &(text + extra))
    }

    /// `kill -9`.
    pub(crate) fn kill_sidecar(&mut self) {
        // Already gone is as good.
        let _ = self.sidecar.kill();
        let _ = self.sidecar.wait();
    }

    pub(crate) fn restart_sidecar(&mut self) {
        self.sidecar = spawn(&self.chain);
        self.wait_ready();
    }

    fn wait_ready(&self) {
        wait_for("the sidecar", || self.status());
    }

    /// A command of `weir-settle` to the running sidecar.
    fn ask(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(built("weir-settle"));
        command.args(arguments).arg("-c").arg(self.chain.path("settle.toml")).output().unwrap()
    }

    /// `None` while it doesn't answer.
    fn status(&self) -> Option<Value> {
        serde_json::from_slice(&self.ask(&["status", "--json"]).stdout).ok()
    }

    /// What the sidecar says of a lane.
    pub(crate) fn lane(&self, lane: u32) -> Value {
        let status = self.status().expect("the sidecar answers");
        let mut lanes = status["lanes"].as_array().unwrap().iter();
        let found = lanes.find(|found| found["lane"] == lane && found["channel"] == *self.channel);
        found.cloned().unwrap_or_else(|| panic!("no lane {lane}: {status}"))
    }

    /// Claims, settles and anchors everything, until it is final.
    pub(crate) fn settle(&self) {
        let done = json_of(&self.ask(&["settle-now", "--json", "--timeout-s", "60"]));
        assert_eq!(done["problems"].as_array().map(Vec::len), Some(0), "{done}");
    }

    /// This is all that was ever claimed of a lane, as the chain says and as the sidecar says.
    pub(crate) fn has_claimed(&self, lane: u32, amount: u128) {
        assert_eq!(self.chain.claimed(&self.channel, lane), amount);
        wait_for("the sidecar to say so as well", || {
            (self.lane(lane)["claimed"] == amount.to_string()).then_some(())
        });
    }

    /// All lanes together earned this: the receiver has it, and the escrow the rest.
    pub(crate) fn has_earned(&self, amount: u128) {
        assert_eq!(self.chain.balance(&self.chain.account(Who::Receiver).0), amount);
        assert_eq!(self.chain.balance(self.chain.contract("escrow")), DEPOSIT - amount);
    }
}

/// Waits until all tunnels of a relay are closed, and what they carried is in the journal.
pub(crate) fn wait_reported(relay: &Relay) {
    wait_for("all bytes to be reported", || {
        let status = relay.status();
        let (totals, export) = (&status["totals"], &status["export"]);
        let is_none = |value: &Value| *value == 0;
        let closed = is_none(&totals["tcp"]["open"]) && is_none(&totals["udp"]["open"]);
        let told = is_none(&export["tunnels_waiting"]) && is_none(&export["records_in_flight"]);
        (closed && told).then_some(())
    });
}

fn spawn(chain: &Chain) -> Child {
    let log = fs::OpenOptions::new().create(true).append(true).open(chain.path("settle.log"));
    Command::new(built("weir-settle"))
        .arg("run")
        .arg("-c")
        .arg(chain.path("settle.toml"))
        .stderr(log.unwrap())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Nothing is sent but on command, so that a test decides what is on the chain.
fn config(chain: &Chain, opened: &Value) -> String {
    let file = |name: &str| -> PathBuf { chain.path(name) };
    let mut text = format!(
        "exit_id = \"{EXIT}\"\n\
         [files]\njournal = \"{}\"\nsocket = \"{}\"\ncontrol = \"{}\"\n\
         [chain]\nrpc = \"{}\"\nchain_id = {}\nescrow = \"{}\"\nanchor = \"{}\"\nkey = \"{}\"\n\
         confirmations = 0\npoll_ms = 50\n\
         [ask]\ninterval_ms = 20\n\
         [policy]\nclaim_threshold = \"1000000000000\"\nsettle_threshold = \"1000000000000\"\n\
         [tolerance]\nunsigned_permille = 0\n\
         [[channel]]\nid = \"{}\"\nwithdraw_delay_s = {}\nlanes = {:?}\n\
         price_per_gib = \"{PRICE_PER_GIB}\"\n",
        file("journal").display(),
        file("settle.sock").display(),
        file("control.sock").display(),
        chain.url(),
        chain.id(),
        chain.contract("escrow"),
        chain.contract("anchor"),
        file("claim.key").display(),
        opened["channel"].as_str().unwrap(),
        opened["withdraw_delay_s"],
        (0..LANES).collect::<Vec<_>>(),
    );
    for key in ["payer", "signer", "receiver", "token", "salt"] {
        text.push_str(&format!("{key} = {}\n", opened[key]));
    }
    text
}
