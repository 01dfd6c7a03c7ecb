//! `weir-load target`: the far end, one thread: UDP echo, and TCP that gives, takes and answers.

mod tcp;
mod udp;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::thread;

use anyhow::{Context, ensure};
use clap::Args;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

/// The byte that fills what is given and answered.
pub(crate) const FILLING: u8 = 0x5a;

/// Events taken from the kernel at once.
const EVENTS_MAX: usize = 256;

/// `weir-load target`.
#[derive(Args, Clone, Debug)]
pub struct TargetArgs {
    /// Echoes UDP datagrams on this address; port 0 lets the kernel choose one port.
    #[arg(long, value_name = "ADDRESS")]
    pub udp: Option<SocketAddr>,
    /// Echoes on so many consecutive ports.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub ports: u16,
    /// Answers every datagram by itself instead of trains by trains.
    #[arg(long)]
    pub singly: bool,
    /// Serves TCP on this address: the first bytes of a connection say what is wanted.
    #[arg(long, value_name = "ADDRESS")]
    pub tcp: Option<SocketAddr>,
}

/// Serves until standard input ends, then exits the process. Prints one line when it is ready:
/// `{"ready":true,"udp":"ADDRESS","tcp":"ADDRESS"}`.
pub fn run(args: &TargetArgs) -> anyhow::Result<()> {
    let mut target = Target::bind(args)?;
    let ready = serde_json::json!({
        "ready": true,
        "udp": target.udp.local(),
        "tcp": target.tcp.as_ref().map(tcp::Server::local),
    });
    writeln!(io::stdout(), "{ready}")?;
    io::stdout().flush()?;
    thread::spawn(|| {
        let mut rest = [0; 256];
        while io::stdin().read(&mut rest).is_ok_and(|read| read > 0) {}
        std::process::exit(0);
    });
    target.serve()
}

/// What is served. Where an event came from is told by a number: below `ports` the UDP socket,
/// then the listener, then connections.
#[derive(Debug)]
struct Target {
    epoll: OwnedFd,
    udp: udp::Echo,
    tcp: Option<tcp::Server>,
}

impl Target {
    fn bind(args: &TargetArgs) -> anyhow::Result<Target> {
        ensure!(args.udp.is_some() || args.tcp.is_some(), "give --udp or --tcp or both");
        weir_io::limits::raise_open_files(1 << 16)?;
        let epoll = epoll::create(CreateFlags::CLOEXEC).context("epoll")?;
        let udp = udp::Echo::bind(args.udp, args.ports, args.singly)?;
        for (number, socket) in udp.sockets().enumerate() {
            watch(&epoll, socket, number, EventFlags::IN)?;
        }
        let first = udp.sockets().count();
        let tcp = match args.tcp {
            None => None,
            Some(address) => {
                let listener =
                    TcpListener::bind(address).with_context(|| format!("TCP on {address}"))?;
                listener.set_nonblocking(true)?;
                watch(&epoll, &listener, first, EventFlags::IN)?;
                Some(tcp::Server::new(listener, first + 1))
            }
        };
        Ok(Target { epoll, udp, tcp })
    }

    fn serve(&mut self) -> anyhow::Result<()> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        let ports = self.udp.sockets().count();
        loop {
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error).context("epoll"),
            }
            for event in &events {
                let number = event.data.u64() as usize;
                if number < ports {
                    self.udp.serve(number);
                } else if let Some(tcp) = &mut self.tcp {
                    if number == ports {
                        tcp.accept(&self.epoll);
                    } else {
                        tcp.serve(number, &self.epoll);
                    }
                }
            }
        }
    }
}

fn watch(
    epoll: &OwnedFd,
    socket: impl AsFd,
    number: usize,
    flags: EventFlags,
) -> anyhow::Result<()> {
    epoll::add(epoll, socket, EventData::new_u64(number as u64), flags).context("epoll")
}
