//! DNS queries over UDP: hosts that exist, both record types, and hosts that don't.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use serde_json::json;

use super::Outcome;
use super::latency::Latencies;
use crate::lab::path::{Target, Via};

#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub via: Via,
    /// The DNS server, host:port.
    #[arg(long)]
    pub target: Target,
    /// Queries to send.
    #[arg(long, default_value_t = 1000)]
    pub count: u64,
    /// Queries under way at a time.
    #[arg(long, default_value_t = 16)]
    pub window: usize,
    #[arg(long, default_value = "lab.test")]
    pub zone: String,
}

const LOSS: Duration = Duration::from_secs(2);

struct Pending {
    query: Query,
    exists: bool,
    sent: Instant,
}

pub(super) async fn run(args: Args) -> Result<Outcome> {
    let path = args.via.udp(&args.target).await?;
    let mut pending: HashMap<u16, Pending> = HashMap::new();
    let mut latencies = Latencies::default();
    let (mut sent, mut answered, mut records, mut nxdomain, mut lost) = (0, 0u64, 0u64, 0u64, 0u64);
    let mut wrong = Vec::new();
    let mut buffer = vec![0; 65_536];
    let start = Instant::now();
    while sent < args.count || !pending.is_empty() {
        while sent < args.count && pending.len() < args.window {
            let (query, exists) = question(sent, &args.zone)?;
            // The window is far below 2^16, so an id is free again when it comes round.
            let id = (sent & 0xffff) as u16;
            let mut message = Message::new(id, MessageType::Query, OpCode::Query);
            message.metadata.recursion_desired = true;
            message.add_query(query.clone());
            path.send(&message.to_vec()?).await?;
            pending.insert(id, Pending { query, exists, sent: Instant::now() });
            sent += 1;
        }
        let oldest = pending.values().map(|p| p.sent).min().unwrap_or_else(Instant::now);
        let patience = (oldest + LOSS).saturating_duration_since(Instant::now());
        match tokio::time::timeout(patience, path.receive(&mut buffer)).await {
            Err(_) => {
                let before = pending.len();
                pending.retain(|_, p| p.sent.elapsed() < LOSS);
                lost += (before - pending.len()) as u64;
            }
            Ok(Err(error)) => return Err(error.into()),
            Ok(Ok(length)) => {
                let Ok(answer) = Message::from_vec(&buffer[..length]) else {
                    wrong.push("an answer that is not DNS".to_owned());
                    continue;
                };
                let Some(asked) = pending.remove(&answer.metadata.id) else {
                    wrong.push(format!("an answer {} to nothing", answer.metadata.id));
                    continue;
                };
                latencies.record(asked.sent.elapsed());
                answered += 1;
                records += answer.answers.len() as u64;
                nxdomain += u64::from(answer.metadata.response_code == ResponseCode::NXDomain);
                if let Some(problem) = judge(&asked, &answer) {
                    wrong.push(problem);
                }
            }
        }
    }
    let fields = json!({
        "sent": sent,
        "answered": answered,
        "records": records,
        "nxdomain": nxdomain,
        "lost": lost,
        "payload": path.counts(),
        "verified": wrong.is_empty(),
        "rtt": latencies.json(),
        "seconds": start.elapsed().as_secs_f64(),
    });
    Ok(Outcome::check(fields, lost == 0 && wrong.is_empty(), || {
        wrong.truncate(5);
        format!("{lost} answers lost; {}", wrong.join("; "))
    }))
}

/// Of four queries, one is for a host that does not exist.
fn question(index: u64, zone: &str) -> Result<(Query, bool)> {
    let (host, kind, exists) = match index % 4 {
        0 => ("web".to_owned(), RecordType::A, true),
        1 => ("web".to_owned(), RecordType::AAAA, true),
        2 => ("echo".to_owned(), RecordType::A, true),
        _ => (format!("nx-{index}"), RecordType::A, false),
    };
    let mut name = Name::from_ascii(format!("{host}.{zone}"))?;
    name.set_fqdn(true);
    Ok((Query::query(name, kind), exists))
}

/// The zone decides how many addresses a host has; here it is only known whether it exists.
fn judge(asked: &Pending, answer: &Message) -> Option<String> {
    let name = asked.query.name();
    if answer.queries.first() != Some(&asked.query) {
        return Some(format!("the answer for {name} repeats another question"));
    }
    let expected = if asked.exists { ResponseCode::NoError } else { ResponseCode::NXDomain };
    if answer.metadata.response_code != expected {
        return Some(format!("{name}: {}, expected {expected}", answer.metadata.response_code));
    }
    let kind = asked.query.query_type();
    let fits = answer.answers.iter().all(|r| r.name == *name && r.record_type() == kind);
    (!fits).then(|| format!("{name}: a record of another name or type"))
}
