//! An authoritative DNS server (RFC 1035) for one small zone, over UDP.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;

const TTL_S: u32 = 60;

/// What names resolve to.
#[derive(Clone, Debug)]
pub(super) struct Zone {
    apex: Name,
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
}

impl Zone {
    pub(super) fn new(apex: &str, v4: Option<Ipv4Addr>, v6: Option<Ipv6Addr>) -> Result<Zone> {
        let mut apex = Name::from_ascii(apex)?.to_lowercase();
        apex.set_fqdn(true);
        Ok(Zone { apex, v4, v6 })
    }

    /// The addresses of a host of the zone; `None` if there is no such host.
    ///
    /// The private ones are for exits to refuse: what a name resolves to must not get an
    /// application into the operator's network.
    fn addresses(&self, host: &str) -> Option<(Vec<Ipv4Addr>, Vec<Ipv6Addr>)> {
        let own = (self.v4.into_iter().collect(), self.v6.into_iter().collect());
        Some(match host {
            "web" | "echo" | "dns" => own,
            "v4" => (own.0, Vec::new()),
            "v6" => (Vec::new(), own.1),
            "private" => (vec![Ipv4Addr::new(10, 0, 0, 1)], Vec::new()),
            "loopback" => (vec![Ipv4Addr::LOCALHOST], vec![Ipv6Addr::LOCALHOST]),
            "metadata" => (vec![Ipv4Addr::new(169, 254, 169, 254)], Vec::new()),
            _ => return None,
        })
    }

    /// Answers one query; `None` for what is not a query.
    pub(super) fn answer(&self, query: &[u8]) -> Option<Vec<u8>> {
        let query = Message::from_vec(query).ok()?;
        if query.metadata.message_type != MessageType::Query {
            return None;
        }
        let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
        answer.metadata.recursion_desired = query.metadata.recursion_desired;
        answer.metadata.recursion_available = true;
        answer.metadata.response_code = self.fill(&query, &mut answer);
        answer.to_vec().ok()
    }

    fn fill(&self, query: &Message, answer: &mut Message) -> ResponseCode {
        if query.metadata.op_code != OpCode::Query {
            return ResponseCode::NotImp;
        }
        let [question] = &query.queries[..] else { return ResponseCode::FormErr };
        answer.add_query(question.clone());
        let name = question.name();
        if !self.apex.zone_of(name) {
            return ResponseCode::Refused;
        }
        answer.metadata.authoritative = true;
        let text = name.to_lowercase().to_ascii();
        let apex = self.apex.to_ascii();
        if text == apex {
            return ResponseCode::NoError;
        }
        let host = text.strip_suffix(&apex).and_then(|host| host.strip_suffix('.'));
        let Some((v4, v6)) = host.and_then(|host| self.addresses(host)) else {
            return ResponseCode::NXDomain;
        };
        let mut add = |data| {
            answer.add_answer(Record::from_rdata(name.clone(), TTL_S, data));
        };
        match question.query_type() {
            RecordType::A => v4.into_iter().for_each(|ip| add(RData::A(A(ip)))),
            RecordType::AAAA => v6.into_iter().for_each(|ip| add(RData::AAAA(AAAA(ip)))),
            _ => {}
        }
        ResponseCode::NoError
    }
}

/// Answers for ever.
pub(super) async fn serve(socket: UdpSocket, zone: Zone) {
    let mut buffer = vec![0; 65_536];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        if let Some(answer) = zone.answer(&buffer[..length]) {
            let _ = socket.send_to(&answer, from).await;
        }
    }
}
