//! The next hop of every address that is sent to: asked of the kernel, kept for a while.
//!
//! ARP and neighbour discovery are the kernel's. When it doesn't know a neighbour, or hasn't
//! confirmed it for a while, the datagram goes through a kernel socket, which makes it ask.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::frame::Mac;
use super::netlink::{Link, Neighbour, Netlink, Route};

/// An answer is used for so long. Longer means that frames go to a dead gateway for longer, and
/// each refresh costs two system calls of about 3 us per address in use.
const FRESH: Duration = Duration::from_secs(2);
/// While a neighbour is unknown, the kernel is asked again this soon.
const UNKNOWN: Duration = Duration::from_millis(10);
/// Addresses in one of the two generations: clients and targets that are sent to within [`FRESH`].
/// Whoever makes the relay answer to forged addresses fills it and slows it down by the price of
/// two system calls per packet, within the budget of a turn.
const GENERATION: usize = 16_384;
/// Questions to the kernel per turn; beyond it the kernel's own sockets send.
const QUESTIONS_PER_TURN: u32 = 128;

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hop {
    /// The interface's place in the list given to [`Neighbours::new`].
    pub(super) device: usize,
    /// From, to.
    pub(super) macs: [Mac; 2],
    pub(super) source: IpAddr,
    pub(super) mtu: u32,
    /// When it must be asked for again.
    pub(super) until: Instant,
}

/// Destination and the source that is wanted.
type Key = (IpAddr, Option<IpAddr>);

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// `None`: no way for frames leads there.
    route: Option<(usize, IpAddr, u32)>,
    neighbour: Option<Mac>,
    /// The next datagram goes through the kernel, which then confirms the neighbour.
    confirm: bool,
    until: Instant,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Neighbours {
    netlink: Netlink,
    /// Index and properties of the interfaces.
    links: Vec<(u32, Link)>,
    young: HashMap<Key, Entry>,
    old: HashMap<Key, Entry>,
    questions: u32,
}

impl Neighbours {
    /// `interfaces` by index; each must have an Ethernet address.
    pub(super) fn new(interfaces: &[u32]) -> io::Result<Neighbours> {
        let mut netlink = Netlink::open()?;
        let links = interfaces
            .iter()
            .map(|&index| Ok((index, netlink.link(index)?)))
            .collect::<io::Result<_>>()?;
        Ok(Neighbours {
            netlink,
            links,
            young: HashMap::new(),
            old: HashMap::new(),
            questions: QUESTIONS_PER_TURN,
        })
    }

    pub(super) fn mtu(&self, device: usize) -> u32 {
        self.links[device].1.mtu
    }

    /// A turn begins.
    pub(super) fn allow_questions(&mut self) {
        self.questions = QUESTIONS_PER_TURN;
    }

    /// How to send a frame. `None`: by the kernel.
    #[inline]
    pub(super) fn hop(
        &mut self,
        now: Instant,
        destination: IpAddr,
        source: Option<IpAddr>,
    ) -> Option<Hop> {
        let own = |links: &[(u32, Link)], device: usize| links[device].1.mac;
        let entry = self.entry(now, (destination, source))?;
        let ((device, source, mtu), mac) = (entry.route?, entry.neighbour?);
        if std::mem::take(&mut entry.confirm) {
            return None;
        }
        let until = entry.until;
        Some(Hop { device, macs: [own(&self.links, device), mac], source, mtu, until })
    }

    /// The interface, source address and MTU that lead to a destination, its neighbour known or
    /// not. `None`: not by frames.
    pub(super) fn route(
        &mut self,
        now: Instant,
        destination: IpAddr,
        source: Option<IpAddr>,
    ) -> Option<(usize, IpAddr, u32)> {
        self.entry(now, (destination, source))?.route
    }

    fn entry(&mut self, now: Instant, key: Key) -> Option<&mut Entry> {
        let known = self.young.get(&key).is_some_and(|entry| now < entry.until);
        if !known {
            let entry = match self.old.remove(&key) {
                Some(entry) if now < entry.until => entry,
                _ => self.ask(now, key)?,
            };
            if self.young.len() >= GENERATION {
                self.old = std::mem::take(&mut self.young);
            }
            self.young.insert(key, entry);
        }
        self.young.get_mut(&key)
    }

    /// `None` when the budget of the turn is used up, or the kernel doesn't answer.
    fn ask(&mut self, now: Instant, (destination, source): Key) -> Option<Entry> {
        self.questions = self.questions.checked_sub(1)?;
        let route = self.netlink.route(destination, source).ok()?;
        let device =
            route.and_then(|route| self.links.iter().position(|link| link.0 == route.interface));
        let (Some(route), Some(device)) = (route, device) else {
            let until = now + FRESH;
            return Some(Entry { route: None, neighbour: None, confirm: false, until });
        };
        let Route { interface, next_hop, source, mtu } = route;
        let device_mtu = self.links[device].1.mtu;
        let route = Some((device, source, mtu.map_or(device_mtu, |mtu| mtu.min(device_mtu))));
        Some(match self.netlink.neighbour(interface, next_hop).ok()? {
            Neighbour::Known(mac) => {
                Entry { route, neighbour: Some(mac), confirm: false, until: now + FRESH }
            }
            Neighbour::Stale(mac) => {
                Entry { route, neighbour: Some(mac), confirm: true, until: now + FRESH }
            }
            Neighbour::Unknown => {
                Entry { route, neighbour: None, confirm: false, until: now + UNKNOWN }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_behind_our_interfaces_goes_by_the_kernel() {
        let mut neighbours = Neighbours::new(&[]).unwrap();
        let now = Instant::now();
        for destination in ["127.0.0.1", "::1", "203.0.113.1"] {
            let destination = destination.parse().unwrap();
            assert_eq!(neighbours.hop(now, destination, None), None);
            assert_eq!(neighbours.route(now, destination, None), None);
        }
    }

    #[test]
    fn questions_and_memory_are_bounded() {
        let mut neighbours = Neighbours::new(&[]).unwrap();
        let now = Instant::now();
        let address = |n: u32| IpAddr::from(n.to_be_bytes());
        for n in 0..QUESTIONS_PER_TURN + 50 {
            neighbours.hop(now, address(n), None);
        }
        assert_eq!(neighbours.young.len(), QUESTIONS_PER_TURN as usize);
        for n in 0..3 * GENERATION as u32 {
            neighbours.allow_questions();
            neighbours.hop(now, address(n), None);
        }
        assert!(neighbours.young.len() + neighbours.old.len() <= 2 * GENERATION);
    }

    #[test]
    fn a_used_address_survives_the_change_of_generations() {
        let mut neighbours = Neighbours::new(&[]).unwrap();
        let now = Instant::now();
        let entry =
            Entry { route: None, neighbour: Some([7; 6]), confirm: false, until: now + FRESH };
        let key = (IpAddr::from([192, 0, 2, 1]), None);
        neighbours.old.insert(key, entry);
        neighbours.questions = 0;
        assert_eq!(neighbours.entry(now, key).unwrap().neighbour, Some([7; 6]));
        assert!(neighbours.young.contains_key(&key));
        assert!(neighbours.entry(now + FRESH, key).is_none(), "over age, and nobody may be asked");
    }
}
