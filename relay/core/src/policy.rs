//! Where a tunnel may go. Judged on addresses, never on names, and the address that was judged is
//! the one that is connected to: nothing can change in between (DNS rebinding).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

mod cidr;
mod special;

pub use cidr::Cidr;

/// The exit policy: a snapshot, replaced as a whole on reload.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Allowed although special or private.
    pub allow: Vec<Cidr>,
    /// Denied, whatever else is said.
    pub deny: Vec<Cidr>,
    /// Addresses of the relay itself. Denied even if an `allow` block covers them, because a
    /// tunnel to itself is a loop.
    pub own: Vec<IpAddr>,
    /// Target ports that are denied.
    pub denied_ports: Vec<u16>,
    /// Source address for IPv4 targets; `None` leaves it to routing.
    pub source_v4: Option<Ipv4Addr>,
    /// Source address for IPv6 targets.
    pub source_v6: Option<Ipv6Addr>,
    /// Whether IPv6 targets can be reached at all from this host.
    pub ipv6: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            allow: Vec::new(),
            deny: Vec::new(),
            own: Vec::new(),
            // Mail submission by strangers is what gets an exit's addresses listed.
            denied_ports: vec![25],
            source_v4: None,
            source_v6: None,
            ipv6: true,
        }
    }
}

/// Why a target is refused; each has its own `Proxy-Status` error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A private or special address, or one in a denied block: `destination_ip_prohibited`.
    Address,
    /// The relay itself: `proxy_loop_detected`.
    Own,
    /// A denied port: `http_request_denied`.
    Port,
    /// No way there: `destination_ip_unroutable`.
    Unroutable,
}

impl Policy {
    /// Judges one address of a target.
    pub fn check(&self, target: SocketAddr) -> Result<(), Refusal> {
        self.check_port(target.port())?;
        self.check_ip(target.ip())?;
        if target.is_ipv6() && !self.ipv6 {
            return Err(Refusal::Unroutable);
        }
        Ok(())
    }

    /// Judges a port alone, before a name is resolved for nothing.
    pub fn check_port(&self, port: u16) -> Result<(), Refusal> {
        if port == 0 || self.denied_ports.contains(&port) { Err(Refusal::Port) } else { Ok(()) }
    }

    /// The source address for a target of the same family.
    pub fn source_for(&self, target: IpAddr) -> Option<IpAddr> {
        match target {
            IpAddr::V4(_) => self.source_v4.map(IpAddr::V4),
            IpAddr::V6(_) => self.source_v6.map(IpAddr::V6),
        }
    }

    fn check_ip(&self, ip: IpAddr) -> Result<(), Refusal> {
        if self.own.contains(&ip) {
            return Err(Refusal::Own);
        }
        if self.deny.iter().any(|block| block.contains(ip)) {
            return Err(Refusal::Address);
        }
        let allowed = self.allow.iter().any(|block| block.contains(ip));
        // Allowing a translation prefix must not open the networks behind it: what is embedded is
        // judged as well.
        if let Some(embedded) = special::embedded_v4(ip) {
            self.check_ip(IpAddr::V4(embedded))?;
            return if allowed { Ok(()) } else { Err(Refusal::Address) };
        }
        if special::is_special(ip) && !allowed { Err(Refusal::Address) } else { Ok(()) }
    }
}
