//! The command line.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::plan;

#[derive(ClapArgs, Clone, Debug)]
pub struct Args {
    /// What to run; quick unless scenarios are named
    #[arg(long, value_enum, conflicts_with = "scenario")]
    pub plan: Option<plan::Name>,
    /// Only this scenario; may be repeated
    #[arg(long, value_name = "NAME")]
    pub scenario: Vec<String>,
    /// List the scenarios with their subjects
    #[arg(long)]
    pub list: bool,
    /// Only these subjects
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub subjects: Vec<String>,
    /// Repeats of each scenario and subject
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub repeats: Option<u32>,
    /// Write the run as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the run as a page with plots
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Say what is better or worse than in an older run
    #[arg(long, value_name = "OLD.json")]
    pub compare: Option<PathBuf>,
    /// Measure nothing: take a kept run instead; with --plan sla it is judged
    #[arg(long, value_name = "FILE", conflicts_with_all = ["scenario", "subjects", "repeats"])]
    pub from: Option<PathBuf>,
    /// Also hysteria2, tuic and shadowsocks, through their own clients
    #[arg(long)]
    pub with_peers: bool,
    /// Where the programs of --with-peers are
    #[arg(long, value_name = "DIR", default_value = "target/peers")]
    pub peers_dir: PathBuf,
    /// Also a MASQUE server that is already running; everything runs on this host's own network
    #[arg(long, value_name = "NAME=HOST:PORT")]
    pub peer: Option<String>,
    /// A file with the value of the Proxy-Authorization header for --peer
    #[arg(long, value_name = "FILE", requires = "peer")]
    pub peer_auth: Option<PathBuf>,
    /// The process whose CPU time and memory are those of --peer
    #[arg(long, value_name = "PID", requires = "peer")]
    pub peer_pid: Option<u32>,
    /// Everything on this host's loopback, without privileges: no XDP, no AF_XDP
    #[arg(long)]
    pub loopback: bool,
    /// Keep configurations and logs of every repeat there
    #[arg(long, value_name = "DIR")]
    pub keep_logs: Option<PathBuf>,
    /// The page with the promises
    #[arg(long, value_name = "FILE", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/SLA.md"))]
    pub sla: PathBuf,
    /// Where weir, weir-load and weir-plain are; beside this program unless given
    #[arg(long, value_name = "DIR")]
    pub programs: Option<PathBuf>,
}
