//! UDP ASSOCIATE (RFC 1928 section 7): one local UDP socket, and one CONNECT-UDP tunnel for each
//! target that the application sends to.

mod flow;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tracing::debug;

use super::wire::{self, Request};
use crate::relay::Pool;
use crate::target::{Host, Target};
use flow::{Flow, FlowEvent};

/// Targets of one association at a time. A resolver or a peer-to-peer program has dozens.
const FLOWS_MAX: usize = 256;

/// A full table gives way to a new target only if some flow was quiet this long.
const FLOW_QUIET: Duration = Duration::from_secs(5);

/// RFC 9298 section 3.1 recommends at least two minutes for a tunnel without traffic.
const FLOW_IDLE: Duration = Duration::from_secs(130);

const SWEEP_PERIOD: Duration = Duration::from_secs(10);

/// The largest UDP payload.
const DATAGRAM_BYTES_MAX: usize = 65_535;

/// Absorbs a burst while the relay's congestion window is full; the kernel grants what it may.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// Events wait here while the association sends; each flow has at most two under way.
const EVENTS_MAX: usize = 2 * FLOWS_MAX;

/// The local end of an association, shared with the tunnels that deliver to it.
pub(super) struct Local {
    socket: UdpSocket,
    /// Where the application sends from; known with its first datagram.
    application: OnceLock<SocketAddr>,
}

struct Association {
    local: Arc<Local>,
    pool: Arc<Pool>,
    /// Only datagrams from here are taken: the host that opened the association.
    from: IpAddr,
    flows: HashMap<Target, Flow>,
    events: mpsc::Sender<FlowEvent>,
}

/// Runs until the application closes its TCP connection.
pub(super) async fn serve(
    mut control: TcpStream,
    from: SocketAddr,
    request: &Request,
    pool: &Arc<Pool>,
) -> io::Result<()> {
    let local_ip = control.local_addr()?.ip();
    let socket = UdpSocket::bind((local_ip, 0)).await?;
    SockRef::from(&socket).set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    let bound = socket.local_addr()?;
    let local = Arc::new(Local { socket, application: OnceLock::new() });
    if let Target { host: Host::Ip(ip), port } = request.target
        && ip == from.ip()
        && port != 0
    {
        // The application announced the port that it will send from.
        let _ = local.application.set(SocketAddr::new(ip, port));
    }
    control.write_all(&wire::reply(super::REPLY_SUCCEEDED, bound)).await?;
    let (events, mut inbox) = mpsc::channel(EVENTS_MAX);
    let mut association = Association {
        local,
        pool: Arc::clone(pool),
        from: from.ip(),
        flows: HashMap::new(),
        events,
    };
    let mut sweep = tokio::time::interval(SWEEP_PERIOD);
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    let mut nothing = [0; 64];
    loop {
        tokio::select! {
            received = association.local.socket.recv_from(&mut buffer) => match received {
                Ok((length, sender)) => association.receive(&buffer[..length], sender).await,
                // An ICMP error for something sent earlier; the socket lives on.
                Err(error) => debug!(%error, "local UDP socket"),
            },
            Some(event) = inbox.recv() => association.handle(event).await,
            read = control.read(&mut nothing) => if matches!(read, Ok(0) | Err(_)) {
                return Ok(());
            },
            _ = sweep.tick() => {
                let now = Instant::now();
                association.flows.retain(|_, flow| flow.quiet_for(now) < FLOW_IDLE);
            }
        }
    }
}

impl Local {
    /// Gives a payload to the application. Drops it if the application does not keep up: it was
    /// received and is counted, and UDP promises no more.
    pub(super) fn deliver(&self, header: &[u8], payload: &[u8]) {
        let Some(application) = self.application.get() else { return };
        let mut datagram = Vec::with_capacity(header.len() + payload.len());
        datagram.extend_from_slice(header);
        datagram.extend_from_slice(payload);
        let _ = self.socket.try_send_to(&datagram, *application);
    }
}

impl Association {
    async fn receive(&mut self, datagram: &[u8], sender: SocketAddr) {
        if sender.ip() != self.from || *self.local.application.get_or_init(|| sender) != sender {
            return;
        }
        let Some((target, start)) = wire::parse_datagram(datagram) else { return };
        let payload = &datagram[start..];
        let now = Instant::now();
        if let Some(flow) = self.flows.get_mut(&target) {
            if flow.send(payload, now).await.is_ok() {
                return;
            }
            // The relay was lost: the datagram opens a new tunnel, over the next connection.
            self.flows.remove(&target);
        }
        if self.flows.len() >= FLOWS_MAX && !self.evict(now) {
            return;
        }
        let flow = Flow::open(&target, payload, now, &self.local, &self.pool, &self.events);
        self.flows.insert(target, flow);
    }

    /// Makes room by closing the flow that was quiet longest; `false` if all are busy.
    fn evict(&mut self, now: Instant) -> bool {
        let quietest = self.flows.iter().max_by_key(|(_, flow)| flow.quiet_for(now));
        let Some((target, _)) = quietest.filter(|(_, flow)| flow.quiet_for(now) >= FLOW_QUIET)
        else {
            return false;
        };
        let target = target.clone();
        self.flows.remove(&target);
        true
    }

    async fn handle(&mut self, event: FlowEvent) {
        let Some(flow) = self.flows.get_mut(&event.target).filter(|flow| flow.is(event.flow))
        else {
            return;
        };
        if flow.handle(event.news).await.is_err() {
            self.flows.remove(&event.target);
        }
    }
}
