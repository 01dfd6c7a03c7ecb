//! Round trips to the references through UDP tunnels, evenly over the interval.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio::time::{Instant, sleep_until};
use weir_sla::{Kind, Reference};

use crate::proxy::{Association, datagram_header};
use crate::schedule::Schedule;
use crate::tally::Answers;

/// As large as a query of DNS or a packet of speech.
const ECHO_BYTES: usize = 32;
/// A DNS header (RFC 1035 section 4.1.1), then the root's name, type NS, class IN.
const DNS_QUERY: [u8; 17] = [0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1];
/// The bit that tells answers from queries.
const DNS_ANSWER: u8 = 0x80;
/// Answers of name servers are the longest.
const DATAGRAM_BYTES_MAX: usize = 65_535;

/// One reference, its probes under way, and what became of the others.
struct Line {
    kind: Kind,
    header: Vec<u8>,
    next: u16,
    under_way: BTreeMap<u16, Instant>,
    answers: Answers,
}

/// Probes the references from `begins` on, in turn; not while `busy`, when an answer would have to
/// wait behind the own download. `tag` makes this interval's echoes unlike any other's.
pub(crate) async fn run(
    association: &Association,
    references: &[Reference],
    tag: u64,
    schedule: &Schedule,
    begins: Instant,
    busy: &AtomicBool,
) -> Vec<Answers> {
    let mut lines: Vec<Line> = references.iter().map(Line::new).collect();
    // The first of each opens the tunnel. It is not counted: it has a second round trip in it.
    for line in &mut lines {
        line.send(association, tag).await;
    }
    let opened_by = Instant::now() + schedule.answer_max;
    let mut next = opened_by;
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    let (send_until, ends) = (begins + schedule.send_until, begins + schedule.ends);
    let (mut opening, mut turn) = (true, 0);
    loop {
        tokio::select! {
            received = association.socket.recv(&mut buffer) => {
                // An error is of a datagram that was sent before; it is missing already.
                let Ok(length) = received else { continue };
                for line in &mut lines {
                    line.receive(&buffer[..length], tag, schedule);
                }
                if opening && lines.iter().all(|line| line.under_way.is_empty()) {
                    next = Instant::now();
                }
            }
            () = sleep_until(next), if next < send_until => {
                if opening {
                    opening = false;
                    lines.iter_mut().for_each(Line::begin);
                }
                let count = lines.len();
                if !busy.load(Relaxed) && let Some(line) = lines.get_mut(turn % count.max(1)) {
                    line.answers.sent += 1;
                    line.send(association, tag).await;
                    turn += 1;
                }
                next += schedule.spacing;
            }
            () = sleep_until(ends) => return lines.into_iter().map(|line| line.answers).collect(),
        }
    }
}

impl Line {
    fn new(reference: &Reference) -> Line {
        Line {
            kind: reference.kind,
            header: datagram_header(reference),
            next: 0,
            under_way: BTreeMap::new(),
            answers: Answers::default(),
        }
    }

    /// From here on everything counts.
    fn begin(&mut self) {
        self.under_way.clear();
        self.answers = Answers::default();
    }

    async fn send(&mut self, association: &Association, tag: u64) {
        let datagram = [&self.header[..], &self.payload(self.next, tag)].concat();
        // What can't even be sent is lost.
        let _ = association.socket.send(&datagram).await;
        self.under_way.insert(self.next, Instant::now());
        self.next = self.next.wrapping_add(1);
    }

    fn payload(&self, number: u16, tag: u64) -> Vec<u8> {
        if self.kind == Kind::Dns {
            let mut query = DNS_QUERY.to_vec();
            query[..2].copy_from_slice(&number.to_be_bytes());
            return query;
        }
        let mut payload = vec![0; ECHO_BYTES];
        payload[..8].copy_from_slice(&tag.to_be_bytes());
        payload[8..10].copy_from_slice(&number.to_be_bytes());
        payload
    }

    /// Takes the answer to one of its probes; whatever else came is no answer.
    fn receive(&mut self, datagram: &[u8], tag: u64, schedule: &Schedule) {
        let Some(payload) = datagram.strip_prefix(&self.header[..]) else { return };
        let number = match self.kind {
            Kind::Dns if payload.len() >= 12 && payload[2] & DNS_ANSWER != 0 => payload.get(..2),
            Kind::Echo => payload.get(8..10),
            _ => None,
        };
        let Some(number) = number.and_then(|two| two.try_into().ok()).map(u16::from_be_bytes)
        else {
            return;
        };
        if self.kind == Kind::Echo && payload != self.payload(number, tag) {
            return;
        }
        let Some(sent) = self.under_way.remove(&number) else { return };
        let took = sent.elapsed();
        if took <= schedule.answer_max {
            self.answers.rtts_us.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_answers_to_own_probes_count_and_each_once() {
        let schedule = Schedule::new(60, 10);
        for text in ["echo://a:7", "dns://192.0.2.53:53", "dns://[2001:db8::1]:53"] {
            let mut line = Line::new(&text.parse().unwrap());
            line.under_way.insert(5, Instant::now());
            let answer = |line: &Line, number, tag| {
                let mut payload = line.payload(number, tag);
                if line.kind == Kind::Dns {
                    payload[2] |= DNS_ANSWER;
                }
                [&line.header[..], &payload].concat()
            };
            let good = answer(&line, 5, 1);
            let mut other = good.clone();
            other[4] ^= 1;
            for bad in [&answer(&line, 6, 1)[..], &other, &good[..good.len() - 17], &[]] {
                line.receive(bad, 1, &schedule);
            }
            let query = [&line.header[..], &line.payload(5, 2)].concat();
            line.receive(&query, 1, &schedule);
            assert!(line.answers.rtts_us.is_empty(), "{text}");
            line.receive(&good, 1, &schedule);
            line.receive(&good, 1, &schedule);
            assert_eq!(line.answers.rtts_us.len(), 1, "{text}");
        }
    }
}
