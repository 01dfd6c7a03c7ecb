//! Datagrams under way: which came back, which are lost.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// One datagram under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flight {
    /// The place of its tunnel in the lane.
    pub(crate) tunnel: u32,
    pub(crate) bytes: u16,
    landed: bool,
    /// When it should have been sent; latency counts from here.
    pub(crate) due: Instant,
    /// When it was sent; its time to be lost counts from here.
    sent: Instant,
}

/// What an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Landing {
    /// The first answer.
    First(Flight),
    /// Another answer to the same datagram.
    Again,
    /// It was given up before, or never sent.
    Unknown,
}

/// The datagrams of one lane, by sequence number.
#[derive(Debug)]
pub(crate) struct Flights {
    lost_after: Duration,
    /// Sequence number of the first entry.
    first: u32,
    entries: VecDeque<Flight>,
    under_way: usize,
}

impl Flights {
    pub(crate) fn new(lost_after: Duration) -> Flights {
        Flights { lost_after, first: 0, entries: VecDeque::new(), under_way: 0 }
    }

    /// Datagrams that are neither answered nor lost.
    pub(crate) fn under_way(&self) -> usize {
        self.under_way
    }

    /// The sequence number that [`Flights::depart`] gives next.
    pub(crate) fn next(&self) -> u32 {
        self.first.wrapping_add(self.entries.len() as u32)
    }

    /// A datagram was sent.
    pub(crate) fn depart(&mut self, tunnel: u32, bytes: u16, due: Instant, now: Instant) {
        self.entries.push_back(Flight { tunnel, bytes, landed: false, due, sent: now });
        self.under_way += 1;
    }

    /// An answer came.
    pub(crate) fn land(&mut self, sequence: u32) -> Landing {
        let place = sequence.wrapping_sub(self.first) as usize;
        let Some(flight) = self.entries.get_mut(place) else { return Landing::Unknown };
        if std::mem::replace(&mut flight.landed, true) {
            return Landing::Again;
        }
        let landing = Landing::First(*flight);
        self.under_way -= 1;
        self.forget_landed();
        landing
    }

    /// Gives up what is under way for too long; returns how many.
    pub(crate) fn expire(&mut self, now: Instant) -> u64 {
        let mut lost = 0;
        while let Some(front) = self.entries.front()
            && now.saturating_duration_since(front.sent) >= self.lost_after
        {
            lost += u64::from(!front.landed);
            self.entries.pop_front();
            self.first = self.first.wrapping_add(1);
        }
        self.under_way -= lost as usize;
        self.forget_landed();
        lost
    }

    fn forget_landed(&mut self) {
        while self.entries.front().is_some_and(|front| front.landed) {
            self.entries.pop_front();
            self.first = self.first.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOST: Duration = Duration::from_millis(200);

    #[test]
    fn answers_in_any_order_free_the_window() {
        let now = Instant::now();
        let mut flights = Flights::new(LOST);
        for n in 0..4 {
            assert_eq!(flights.next(), n);
            flights.depart(n, 64, now, now);
        }
        assert!(matches!(flights.land(2), Landing::First(flight) if flight.tunnel == 2));
        assert_eq!(flights.land(2), Landing::Again);
        assert_eq!(flights.land(4), Landing::Unknown);
        for n in [0, 1, 3] {
            assert!(matches!(flights.land(n), Landing::First(_)));
        }
        assert_eq!((flights.under_way(), flights.entries.len()), (0, 0));
        assert_eq!(flights.land(0), Landing::Unknown);
        assert_eq!(flights.next(), 4);
    }

    #[test]
    fn what_is_lost_does_not_hold_the_window() {
        let now = Instant::now();
        let mut flights = Flights::new(LOST);
        flights.depart(0, 64, now, now);
        flights.depart(0, 64, now, now + LOST / 2);
        flights.depart(0, 64, now, now + LOST / 2);
        flights.land(1);
        assert_eq!(flights.expire(now + LOST / 2), 0);
        assert_eq!(flights.expire(now + LOST), 1);
        assert_eq!((flights.under_way(), flights.entries.len()), (1, 1));
        assert_eq!(flights.land(0), Landing::Unknown, "given up");
        assert_eq!(flights.expire(now + 2 * LOST), 1);
        assert_eq!(flights.under_way(), 0);
    }

    #[test]
    fn sequence_numbers_wrap() {
        let now = Instant::now();
        let mut flights = Flights { first: u32::MAX, ..Flights::new(LOST) };
        flights.depart(7, 64, now, now);
        flights.depart(8, 64, now, now);
        assert!(matches!(flights.land(0), Landing::First(flight) if flight.tunnel == 8));
        assert!(matches!(flights.land(u32::MAX), Landing::First(flight) if flight.tunnel == 7));
        assert_eq!(flights.next(), 1);
    }
}
