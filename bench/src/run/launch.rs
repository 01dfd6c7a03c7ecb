//! Between `fork` and the program: the network namespace, the CPUs, and an end with the parent.
//!
//! A process that was forked may not run much Rust code before it executes another program, so
//! the bench starts itself, does this in peace, and becomes the program.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;
use rustix::process::{
    Pid, Signal, getppid, set_parent_process_death_signal, setpriority_process, setsid,
};
use rustix::thread::{CpuSet, LinkNameSpaceType, move_into_link_name_space, sched_setaffinity};

/// All of the lab goes before what else runs on this host.
const NICE: i32 = -10;

/// The hidden subcommand's name.
pub const COMMAND: &str = "launch";

#[derive(Args, Clone, Debug)]
pub struct Launch {
    /// Network namespace to enter.
    #[arg(long)]
    net: Option<PathBuf>,
    /// CPUs to stay on.
    #[arg(long, value_delimiter = ',')]
    cpus: Vec<usize>,
    /// Who must be alive for the program to be.
    #[arg(long)]
    parent: i32,
    #[arg(last = true, required = true)]
    program: Vec<OsString>,
}

/// A command that runs `program` there, on these CPUs, and no longer than this thread lives.
pub fn command(net: Option<&Path>, cpus: &[usize], program: &Path) -> Command {
    // Not by its path: what was built meanwhile is another program.
    let mut command = Command::new("/proc/self/exe");
    command.arg(COMMAND).arg("--parent").arg(std::process::id().to_string());
    if let Some(net) = net {
        command.arg("--net").arg(net);
    }
    if !cpus.is_empty() {
        let list: Vec<String> = cpus.iter().map(usize::to_string).collect();
        command.arg("--cpus").arg(list.join(","));
    }
    command.arg("--").arg(program);
    command
}

/// Becomes the program.
///
/// # Errors
/// It only returns with one.
pub fn run(launch: Launch) -> Result<std::convert::Infallible> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("PR_SET_PDEATHSIG")?;
    // A parent that died before the call above sends nothing.
    if getppid() != Pid::from_raw(launch.parent) {
        bail!("the bench that wanted {:?} is gone", launch.program);
    }
    if let Some(net) = &launch.net {
        enter(net)?;
    }
    if !launch.cpus.is_empty() {
        let mut set = CpuSet::new();
        launch.cpus.iter().for_each(|&cpu| set.set(cpu));
        sched_setaffinity(None, &set)
            .with_context(|| format!("can't stay on the CPUs {:?}", launch.cpus))?;
    }
    // Without the privilege it runs as everything else does. With autogroups (sched(7)) the nice
    // value counts within a session only, and the session has one of its own.
    let _ = setpriority_process(None, NICE);
    let _ = setsid();
    let _ = fs::write("/proc/self/autogroup", NICE.to_string());
    let (program, args) = launch.program.split_first().context("no program")?;
    let error = Command::new(program).args(args).exec();
    Err(error).with_context(|| format!("can't start {}", Path::new(program).display()))
}

/// Moves the calling thread into a network namespace.
///
/// # Errors
/// When there is none at this path, or the privilege is missing.
pub fn enter(net: &Path) -> Result<()> {
    let file = File::open(net).with_context(|| format!("{}", net.display()))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .with_context(|| format!("can't enter {}", net.display()))
}
