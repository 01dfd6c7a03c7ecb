//! Getting a train out when the first try failed: queued ICMP errors and missing offloads.

use std::os::fd::BorrowedFd;

use weir_core::port::{EgressError, EgressEvent, EgressId};

use crate::errno::egress_error;
use crate::message::{Message, Train};

/// What became of a train.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) sent_datagrams: u32,
    pub(crate) sent_bytes: u64,
    pub(crate) dropped_datagrams: u32,
    pub(crate) dropped_bytes: u64,
    /// `errno` of the last datagram that was dropped.
    pub(crate) drop_errno: i32,
    /// An ICMP error that an earlier datagram had caused and that came out here.
    pub(crate) queued: Option<EgressError>,
    /// The kernel can't segment on this socket: send singly from now on.
    pub(crate) offload_refused: bool,
}

impl Outcome {
    /// The kernel took all of it.
    pub(crate) fn all(train: &Train, bytes: usize) -> Outcome {
        Outcome {
            sent_datagrams: train.datagrams(bytes) as u32,
            sent_bytes: bytes as u64,
            ..Outcome::default()
        }
    }

    /// True if the kernel took everything and nothing else is to be said: no hurry to report it.
    pub(crate) fn is_smooth(&self) -> bool {
        self.dropped_datagrams == 0 && self.queued.is_none()
    }

    /// What the engine is told of a target-facing train.
    pub(crate) fn events(self, id: EgressId) -> impl Iterator<Item = EgressEvent<'static>> {
        let failed = self.queued.map(|error| EgressEvent::Failed { id, error });
        let sent = (self.sent_datagrams > 0).then_some(EgressEvent::UdpSent {
            id,
            datagrams: self.sent_datagrams,
            bytes: self.sent_bytes,
        });
        let dropped = (self.dropped_datagrams > 0).then(|| EgressEvent::UdpDropped {
            id,
            datagrams: self.dropped_datagrams,
            bytes: self.dropped_bytes,
            error: egress_error(self.drop_errno),
        });
        [failed, sent, dropped].into_iter().flatten()
    }

    fn drop(&mut self, datagrams: usize, bytes: usize, errno: i32) {
        self.dropped_datagrams += datagrams as u32;
        self.dropped_bytes += bytes as u64;
        self.drop_errno = errno;
    }
}

/// Sends a train with system calls, with or without the offload.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    message: &mut Message,
    train: &Train,
    payload: &[u8],
    offload: bool,
) -> Outcome {
    if train.is_many() && !(offload && train.fits_offload(payload.len())) {
        let mut outcome = Outcome::default();
        send_singly(socket, message, train, payload, &mut outcome);
        return outcome;
    }
    message.describe(train, offload);
    match message.send(socket, payload) {
        Ok(_) => Outcome::all(train, payload.len()),
        Err(errno) => resend(socket, message, train, payload, errno),
    }
}

/// Goes on after `errno`: nothing of the payload has left.
///
/// An ICMP error is handed out once, on whatever is sent next, and that isn't sent: so one retry
/// (udp(7)). A train that the device can't segment (EIO, EINVAL) or whose datagrams exceed the
/// path MTU (EMSGSIZE, also EINVAL on older kernels) is sent one by one, so that each datagram
/// gets its own verdict.
pub(crate) fn resend(
    socket: BorrowedFd<'_>,
    message: &mut Message,
    train: &Train,
    payload: &[u8],
    mut errno: i32,
) -> Outcome {
    let mut outcome = Outcome::default();
    if is_queued(errno) {
        // A queued "fragmentation needed" is no failure of the target; it updates the path MTU.
        outcome.queued = (errno != libc::EMSGSIZE).then(|| egress_error(errno));
        message.describe(train, true);
        match message.send(socket, payload) {
            Ok(_) => {
                return Outcome { queued: outcome.queued, ..Outcome::all(train, payload.len()) };
            }
            Err(again) => errno = again,
        }
    }
    if train.is_many() && matches!(errno, libc::EIO | libc::EINVAL | libc::EMSGSIZE) {
        send_singly(socket, message, train, payload, &mut outcome);
        // If single datagrams were too big as well, the offload was not what was wrong.
        outcome.offload_refused = errno != libc::EMSGSIZE && outcome.dropped_datagrams == 0;
    } else {
        outcome.drop(train.datagrams(payload.len()), payload.len(), errno);
    }
    outcome
}

fn send_singly(
    socket: BorrowedFd<'_>,
    message: &mut Message,
    train: &Train,
    payload: &[u8],
    outcome: &mut Outcome,
) {
    message.describe(train, false);
    for datagram in train.singles(payload) {
        let mut sent = message.send(socket, datagram);
        if let Err(errno) = sent
            && is_queued(errno)
        {
            outcome.queued =
                outcome.queued.or((errno != libc::EMSGSIZE).then(|| egress_error(errno)));
            sent = message.send(socket, datagram);
        }
        match sent {
            Ok(_) => {
                outcome.sent_datagrams += 1;
                outcome.sent_bytes += datagram.len() as u64;
            }
            Err(errno) => outcome.drop(1, datagram.len(), errno),
        }
    }
}

/// Errors that ICMP causes and that the kernel keeps for the next call.
fn is_queued(errno: i32) -> bool {
    matches!(
        errno,
        libc::ECONNREFUSED
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
            | libc::EHOSTDOWN
            | libc::ENOPROTOOPT
            | libc::EPROTO
            | libc::EOPNOTSUPP
            | libc::EMSGSIZE
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    fn pair() -> (UdpSocket, UdpSocket) {
        let (near, far) = (UdpSocket::bind("127.0.0.1:0"), UdpSocket::bind("127.0.0.1:0"));
        let (near, far) = (near.unwrap(), far.unwrap());
        near.connect(far.local_addr().unwrap()).unwrap();
        far.set_nonblocking(true).unwrap();
        (near, far)
    }

    fn lengths(socket: &UdpSocket) -> Vec<usize> {
        let mut buffer = [0; 65_536];
        std::iter::from_fn(|| socket.recv(&mut buffer).ok()).collect()
    }

    fn send_train(socket: &UdpSocket, segment_size: usize, bytes: usize) -> Outcome {
        let train = Train::to_target(segment_size, bytes);
        send(socket.as_fd(), &mut Message::new(), &train, &vec![7; bytes], true)
    }

    #[test]
    fn a_refused_offload_falls_back_to_single_datagrams() {
        let (near, far) = pair();
        // Without checksums the kernel refuses to segment, with EINVAL.
        crate::sys::set_int(near.as_fd(), libc::SOL_SOCKET, libc::SO_NO_CHECK, 1).unwrap();
        let outcome = send_train(&near, 100, 350);
        let expected = Outcome {
            sent_datagrams: 4,
            sent_bytes: 350,
            offload_refused: true,
            ..Outcome::default()
        };
        assert_eq!(outcome, expected);
        assert_eq!(lengths(&far), [100, 100, 100, 50]);
    }

    #[test]
    fn each_datagram_beyond_the_path_mtu_is_dropped_by_itself() {
        let (near, far) = pair();
        let outcome = send_train(&near, 65_520, 65_535);
        assert_eq!((outcome.sent_datagrams, outcome.sent_bytes), (1, 15));
        assert_eq!((outcome.dropped_datagrams, outcome.dropped_bytes), (1, 65_520));
        assert_eq!(egress_error(outcome.drop_errno), EgressError::TooBig);
        assert!(!outcome.offload_refused && outcome.queued.is_none());
        assert_eq!(lengths(&far), [15]);
    }

    #[test]
    fn a_queued_refusal_costs_no_datagram() {
        let (near, far) = pair();
        let address = far.local_addr().unwrap();
        drop(far);
        assert_eq!(send_train(&near, 10, 30).sent_datagrams, 3);
        let far = UdpSocket::bind(address).unwrap();
        far.set_nonblocking(true).unwrap();
        let outcome = send_train(&near, 10, 25);
        let queued = Some(EgressError::Refused);
        assert_eq!(
            outcome,
            Outcome { sent_datagrams: 3, sent_bytes: 25, queued, ..Outcome::default() }
        );
        assert_eq!(lengths(&far), [10, 10, 5]);
    }

    #[test]
    fn an_empty_datagram_is_one() {
        let (near, far) = pair();
        assert_eq!(send_train(&near, 0, 0), Outcome { sent_datagrams: 1, ..Outcome::default() });
        assert_eq!(lengths(&far), [0]);
    }
}
