//! What the demo found: one table for people, one object for programs, one list of checks.

use serde_json::{Value, json};

/// One kind of tunnel. Bytes are tunnelled payload, both directions together.
#[derive(Clone, Debug, Default)]
pub struct TunnelRow {
    pub kind: &'static str,
    /// What the client's own meter counted.
    pub client_bytes: u64,
    /// Ledger A: forwarded by the engine.
    pub engine_bytes: u64,
    /// Ledger B: payload of the exit flows as the kernel saw them. `None` without XDP.
    pub kernel_bytes: Option<u64>,
    /// What the escrow contract credited the exit for this traffic, at the lab's price of one token
    /// unit per byte.
    pub chain_bytes: u64,
    /// Payload that the engine dropped, by its own account.
    pub drops: u64,
    pub seconds: f64,
}

/// What the chain and the sidecar say.
#[derive(Clone, Debug, Default)]
pub struct Settlement {
    pub chain_id: u64,
    pub channel: String,
    /// What the client's own count costs at the channel's price, in the token's smallest unit.
    pub expected: u128,
    /// What the escrow contract says was claimed.
    pub claimed: u128,
    pub anchored_root: String,
    /// `(what, hash, gas)` of every transaction.
    pub transactions: Vec<(String, String, u64)>,
}

#[derive(Clone, Debug, Default)]
pub struct Crash {
    /// Bytes that the client received or sent and nobody was paid for.
    pub lost_bytes: u64,
    /// Bytes that were asked for beyond what client and engine counted.
    pub double_counted_bytes: u64,
    pub window_bytes: u64,
}

/// A service level that was broken, and what it cost.
#[derive(Clone, Debug, Default)]
pub struct Breach {
    pub agreement: String,
    pub interval_s: u64,
    pub intervals: u64,
    pub good: u64,
    pub bad: u64,
    /// How many intervals the buyer's client and the exit both signed a sample of.
    pub co_signed: u64,
    /// How many statements three measurers made.
    pub statements: u64,
    /// Of one period, in the token's smallest unit.
    pub fee: u128,
    /// What the agreed ladder says, computed here.
    pub credit: u128,
    /// By how much the buyer's balance grew on the chain.
    pub credited: u128,
}

/// A sentence that must be true, and what was found.
#[derive(Clone, Debug)]
pub struct Check {
    pub name: &'static str,
    pub ok: bool,
    pub found: String,
}

#[derive(Debug, Default)]
pub struct Report {
    pub tunnels: Vec<TunnelRow>,
    pub settlement: Settlement,
    pub crash: Crash,
    pub breach: Breach,
    pub xdp_mode: String,
    pub xdp_ns_per_packet: Option<f64>,
    pub backend: String,
    pub cpu_ns_per_datagram: u64,
    pub latency_us: (f64, f64),
    pub checks: Vec<Check>,
    pub not_shown: Vec<&'static str>,
}

impl Report {
    pub fn check(&mut self, name: &'static str, ok: bool, found: impl Into<String>) {
        let check = Check { name, ok, found: found.into() };
        eprintln!("    {} {}: {}", if ok { "ok  " } else { "FAIL" }, check.name, check.found);
        self.checks.push(check);
    }

    pub fn ok(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(|check| check.ok)
    }

    pub fn json(&self) -> Value {
        json!({
            "ok": self.ok(),
            "backend": self.backend,
            "tunnels": self.tunnels.iter().map(|row| json!({
                "kind": row.kind,
                "client_bytes": row.client_bytes,
                "engine_bytes": row.engine_bytes,
                "kernel_bytes": row.kernel_bytes,
                "chain_bytes": row.chain_bytes,
                "drops": row.drops,
                "seconds": row.seconds,
            })).collect::<Vec<_>>(),
            "settlement": {
                "chain_id": self.settlement.chain_id,
                "channel": self.settlement.channel,
                "expected": self.settlement.expected.to_string(),
                "claimed": self.settlement.claimed.to_string(),
                "anchored_root": self.settlement.anchored_root,
                "transactions": self.settlement.transactions.iter().map(|(what, hash, gas)| json!({
                    "what": what, "hash": hash, "gas": gas,
                })).collect::<Vec<_>>(),
            },
            "xdp": { "mode": self.xdp_mode, "ns_per_packet": self.xdp_ns_per_packet },
            "cpu_ns_per_datagram": self.cpu_ns_per_datagram,
            "latency_us": { "p50": self.latency_us.0, "p99": self.latency_us.1 },
            "crash": {
                "lost_bytes": self.crash.lost_bytes,
                "double_counted_bytes": self.crash.double_counted_bytes,
                "window_bytes": self.crash.window_bytes,
            },
            "sla": {
                "agreement": self.breach.agreement,
                "interval_s": self.breach.interval_s,
                "intervals": self.breach.intervals,
                "good": self.breach.good,
                "bad": self.breach.bad,
                "co_signed": self.breach.co_signed,
                "statements": self.breach.statements,
                "fee": self.breach.fee.to_string(),
                "credit": self.breach.credit.to_string(),
                "credited": self.breach.credited.to_string(),
            },
            "checks": self.checks.iter().map(|check| json!({
                "name": check.name, "ok": check.ok, "found": check.found,
            })).collect::<Vec<_>>(),
            "not_shown": self.not_shown,
        })
    }

    pub fn table(&self) -> String {
        let mut out = String::new();
        let mut line = |text: String| {
            out.push_str(text.trim_end());
            out.push('\n');
        };
        line(format!(
            "{:<14}{:>11}{:>11}{:>11}{:>11}{:>12}{:>7}{:>8}",
            "tunnel", "client", "engine", "kernel", "chain", "difference", "drops", "MB/s"
        ));
        for row in &self.tunnels {
            let (kernel, difference) = match row.kernel_bytes {
                Some(kernel) => (kernel.to_string(), signed(kernel) - signed(row.engine_bytes)),
                None => ("-".to_owned(), signed(row.client_bytes) - signed(row.engine_bytes)),
            };
            line(format!(
                "{:<14}{:>11}{:>11}{:>11}{:>11}{:>12}{:>7}{:>8.1}",
                row.kind,
                row.client_bytes,
                row.engine_bytes,
                kernel,
                row.chain_bytes,
                difference,
                row.drops,
                row.engine_bytes as f64 / row.seconds.max(0.001) / 1e6,
            ));
        }
        let s = &self.settlement;
        line(String::new());
        line(format!("chain             id {}, channel {}", s.chain_id, s.channel));
        line(format!("claimed           {} of {} expected, in token units", s.claimed, s.expected));
        line(format!("anchored root     {}", s.anchored_root));
        for what in ["claim", "settle", "anchor"] {
            let gas = s.transactions.iter().filter(|tx| tx.0 == what).map(|tx| tx.2);
            let (count, low, high) = (gas.clone().count(), gas.clone().min(), gas.max());
            if let (Some(low), Some(high)) = (low, high) {
                line(format!("{what:<18}{count} transactions, {low} to {high} gas"));
            }
        }
        let ns =
            self.xdp_ns_per_packet.map_or("-".to_owned(), |ns| format!("{ns:.0} ns per packet"));
        line(format!("xdp               {}, {ns}", self.xdp_mode));
        line(format!("backend           {}", self.backend));
        line(format!("relay CPU         {} ns per UDP datagram relayed", self.cpu_ns_per_datagram));
        line(format!(
            "added latency     p50 {:.1} us, p99 {:.1} us",
            self.latency_us.0, self.latency_us.1
        ));
        line(format!(
            "after kill -9     {} bytes lost (window {}), {} counted twice",
            self.crash.lost_bytes, self.crash.window_bytes, self.crash.double_counted_bytes
        ));
        let b = &self.breach;
        line(format!(
            "service level     {} of {} intervals bad, {} good: {} of a fee of {} credited from the bond",
            b.bad, b.intervals, b.good, b.credited, b.fee
        ));
        for reason in &self.not_shown {
            line(format!("not shown         {reason}"));
        }
        let failed: Vec<&Check> = self.checks.iter().filter(|check| !check.ok).collect();
        line(String::new());
        if failed.is_empty() {
            line(format!("everything reconciles: {} checks", self.checks.len()));
        }
        for check in failed {
            line(format!("FAILED: {}: {}", check.name, check.found));
        }
        out
    }
}

fn signed(bytes: u64) -> i128 {
    i128::from(bytes)
}
