//! From TOML text to [`Config`], or to the list of everything that is wrong with it.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeTable;
use weir_usage::{Address, ChannelTerms, Domain, NEWS_WITHIN, Price};

use super::reader::{OneOrMore, Problem, Problems, Section};
use super::{
    ChainConfig, Channel, Config, Duties, Endpoint, KeyConfig, Policy, ServiceConfig, Tolerance,
};

const GWEI: u128 = 1_000_000_000;
/// A claim of this many vouchers is about 2M gas, far below any block limit.
const CLAIM_BATCH_MAX: u64 = 100;
/// Each is asked at every look at the chain, and is a label of the metrics.
const RPC_MAX: usize = 8;

/// Reads a configuration.
///
/// # Errors
/// Every problem in the text, in its order.
pub fn parse(text: &str) -> Result<Config, Vec<Problem>> {
    let mut problems = Problems::new(text);
    let (document, syntax) = DeTable::parse_recoverable(text);
    for error in &syntax {
        problems.add(error.span().unwrap_or(0..0), error.message(), "see https://toml.io");
    }
    if !syntax.is_empty() {
        // What a broken line was meant to be isn't known, so "missing" would only mislead.
        return Err(problems.into_sorted());
    }
    let mut top = Section::new("", 0..0, Some(document.get_ref()));
    let config = read_top(&mut top, &mut problems);
    top.finish(&mut problems);
    let problems = problems.into_sorted();
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(problems),
    }
}

fn read_top(top: &mut Section<'_, '_>, p: &mut Problems<'_>) -> Option<Config> {
    let exit = top.required("exit_id", p);
    let mut files = top.section("files", p);
    let journal = files.or("journal", PathBuf::from("/var/lib/weir-settle/journal"), p);
    let socket = files.or("socket", PathBuf::from("/run/weir/settle.sock"), p);
    let socket_mode = read_mode(&mut files, p);
    let control = files.or("control", PathBuf::from("/run/weir/settle-control.sock"), p);
    if socket == control {
        p.add(
            files.span_of("control"),
            "`control` and `socket` are the same path",
            "the relay's socket and the operator's socket are two",
        );
    }
    files.finish(p);

    let mut status = top.section("admin", p);
    let admin = match status.optional::<std::net::SocketAddr>("listen", p) {
        Some(address) if !address.ip().is_loopback() => {
            p.add(
                status.span_of("listen"),
                format!("`listen` is {address}, which is not a loopback address"),
                "the figures are the operator's: use 127.0.0.1 or [::1] and a proxy",
            );
            None
        }
        other => other,
    };
    status.finish(p);

    let mut ask = top.section("ask", p);
    let ask_interval = Duration::from_millis(ask.or("interval_ms", 200, p));
    if ask_interval > NEWS_WITHIN / 2 {
        let (most, within) = ((NEWS_WITHIN / 2).as_millis(), NEWS_WITHIN.as_secs());
        p.add(
            ask.span_of("interval_ms"),
            format!("`interval_ms` is {}, more than {most}", ask_interval.as_millis()),
            format!(
                "a relay that was killed waits {within} s for the news of a lane; later news would \
                 give its payers the credit window twice"
            ),
        );
    }
    ask.finish(p);

    let chain = read_chain(top.section("chain", p), p);
    let policy = read_policy(top.section("policy", p), p);
    let tolerance = read_tolerance(top.section("tolerance", p), p);
    let mut usage = top.section("usage", p);
    let usage_key = if usage.is_present() { read_key(&mut usage, p) } else { None };
    usage.finish(p);
    let duties = read_duties(top.section("duties", p), usage_key.is_some(), p);
    let mut section = top.section("payout", p);
    let payout = section.optional("address", p);
    section.finish(p);
    let sections = top.sections("channel", p);
    let domain = chain.as_ref().map(|c| c.domain);
    let channels = read_channels(sections, domain, payout, p);
    let services = top.sections("service", p);
    let services = services.into_iter().filter_map(|s| read_service(s, p)).collect();
    Some(Config {
        exit: exit?,
        journal,
        socket,
        socket_mode,
        control,
        admin,
        ask_interval,
        chain: chain?,
        policy,
        tolerance,
        usage_key,
        payout,
        channels,
        services,
        duties,
    })
}

fn read_mode(files: &mut Section<'_, '_>, p: &mut Problems<'_>) -> u32 {
    let text: String = files.or("socket_mode", "0600".into(), p);
    match text.as_str() {
        "0600" => 0o600,
        "0660" => 0o660,
        _ => {
            p.add(
                files.span_of("socket_mode"),
                format!("`socket_mode` is \"{text}\""),
                "\"0600\", or \"0660\" if relay and sidecar share a group",
            );
            0o600
        }
    }
}

fn read_chain(mut s: Section<'_, '_>, p: &mut Problems<'_>) -> Option<ChainConfig> {
    if !s.is_present() {
        p.add(s.span(), "[chain] is missing", "it names rpc, chain_id, escrow and key");
        return None;
    }
    let rpc = read_rpc(&mut s, p);
    let quorum = read_quorum(&mut s, rpc.as_ref().map_or(1, Vec::len), p);
    let chain_id = s.required("chain_id", p);
    let escrow = s.required("escrow", p);
    let config = (
        s.optional("anchor", p),
        read_key(&mut s, p),
        seconds(&mut s, "connect_timeout_s", 5, p),
        seconds(&mut s, "request_timeout_s", 15, p),
        positive_ms(&mut s, "poll_ms", 2_000, p),
        s.or("confirmations", 12, p),
        seconds(&mut s, "stuck_after_s", 120, p),
        s.or::<u64>("fee_ceiling_gwei", 200, p),
        s.or::<u64>("low_balance_gwei", 10_000_000, p),
        s.or::<u64>("deadline_fee_ceiling_gwei", 2_000, p),
        s.or::<u64>("low_balance_days", 7, p),
    );
    s.finish(p);
    Some(ChainConfig {
        rpc: rpc?,
        quorum,
        domain: Domain { chain_id: chain_id?, escrow: escrow? },
        anchor: config.0,
        key: config.1?,
        connect_timeout: config.2,
        request_timeout: config.3,
        poll: config.4,
        confirmations: config.5,
        stuck_after: config.6,
        fee_ceiling_wei: u128::from(config.7) * GWEI,
        low_balance_wei: u128::from(config.8) * GWEI,
        deadline_fee_ceiling_wei: u128::from(config.9) * GWEI,
        low_balance_days: config.10,
    })
}

/// `key`, or `key_file` as it was called before credentials.
fn read_key(s: &mut Section<'_, '_>, p: &mut Problems<'_>) -> Option<KeyConfig> {
    let (old, old_password) = (s.optional("key_file", p), s.optional("password_file", p));
    let password = s.optional("password", p);
    for (new, old) in [("key", "key_file"), ("password", "password_file")] {
        if s.has(new) && s.has(old) {
            p.add(s.span_of(old), format!("`{old}` and `{new}` are the same"), "remove one");
        }
    }
    let key = match old {
        Some(old) => s.optional("key", p).or(Some(old)),
        None => s.required("key", p),
    };
    Some(KeyConfig { key: key?, password: password.or(old_password) })
}

fn read_rpc(s: &mut Section<'_, '_>, p: &mut Problems<'_>) -> Option<Vec<Endpoint>> {
    let OneOrMore(rpc) = s.required("rpc", p)?;
    if rpc.is_empty() || rpc.len() > RPC_MAX {
        p.add(s.span_of("rpc"), format!("`rpc` names {} endpoints", rpc.len()), "1 to 8");
    }
    let mut endpoints = Vec::new();
    for (index, text) in rpc.iter().enumerate() {
        match text.parse() {
            Ok(endpoint) => endpoints.push(endpoint),
            Err(what) => {
                let message = format!("`rpc` number {}: {what}", index + 1);
                p.add(s.span_of("rpc"), message, "such as \"https://node.example\"");
            }
        }
        if rpc[..index].contains(text) {
            let hint = "an endpoint can't check itself";
            p.add(s.span_of("rpc"), "`rpc` names an endpoint twice", hint);
        }
    }
    Some(endpoints)
}

fn read_quorum(s: &mut Section<'_, '_>, endpoints: usize, p: &mut Problems<'_>) -> usize {
    // Half of them: of two, one may be down; those that answer must agree all the same.
    let default = endpoints.div_ceil(2).max(1);
    let quorum = s.or::<u64>("quorum", default as u64, p);
    if quorum == 0 || quorum > endpoints as u64 {
        let hint = format!("1 to {endpoints}, the number of endpoints");
        p.add(s.span_of("quorum"), format!("`quorum` is {quorum}"), hint);
        return default;
    }
    quorum as usize
}

fn read_policy(mut s: Section<'_, '_>, p: &mut Problems<'_>) -> Policy {
    let batch = s.or("claim_batch_max", 50, p);
    if batch == 0 || batch > CLAIM_BATCH_MAX {
        p.add(
            s.span_of("claim_batch_max"),
            format!("`claim_batch_max` is {batch}"),
            format!("1 to {CLAIM_BATCH_MAX}: a batch must fit a block with room to spare"),
        );
    }
    let policy = Policy {
        claim_threshold: s.or("claim_threshold", 10_000_000, p),
        claim_period: seconds(&mut s, "claim_period_s", 86_400, p),
        claim_batch_max: batch.clamp(1, CLAIM_BATCH_MAX) as usize,
        settle_threshold: s.or("settle_threshold", 100_000_000, p),
        settle_period: seconds(&mut s, "settle_period_s", 604_800, p),
        anchor_period: seconds(&mut s, "anchor_period_s", 86_400, p),
        deadline: seconds(&mut s, "deadline_s", 21_600, p),
        wei_per_million_units: s.or("wei_per_million_units", 0, p),
    };
    s.finish(p);
    policy
}

fn read_tolerance(mut s: Section<'_, '_>, p: &mut Problems<'_>) -> Tolerance {
    let tolerance = Tolerance {
        udp_bytes: s.or("udp_bytes", 65_536, p),
        tcp_deficit_bytes: s.or("tcp_deficit_bytes", 4 << 20, p),
        tcp_overhead_permille: s.or("tcp_overhead_permille", 200, p),
        tcp_overhead_bytes: s.or("tcp_overhead_bytes", 65_536, p),
        access_holds_back: s.or("access_holds_back", true, p),
        unsigned_permille: s.or("unsigned_permille", 10, p),
    };
    s.finish(p);
    tolerance
}

fn read_duties(mut s: Section<'_, '_>, has_usage_key: bool, p: &mut Problems<'_>) -> Duties {
    let duties = Duties {
        sample_days: s.or("sample_days", true, p),
        sample_day_grace: seconds(&mut s, "sample_day_grace_s", 3_600, p),
        samples_account: s.optional("samples_account", p),
        answer_challenges: s.or("answer_challenges", true, p),
        bond: s.optional("bond", p),
    };
    if duties.bond.is_some() && !has_usage_key {
        p.add(
            s.span_of("bond"),
            "`bond` has statements signed, and there is no [usage] key to sign with",
            "name a usage key, or leave `bond` out",
        );
    }
    s.finish(p);
    duties
}

fn read_service(mut s: Section<'_, '_>, p: &mut Problems<'_>) -> Option<ServiceConfig> {
    let (agreement, maintenance) = (s.required("agreement", p), s.optional("maintenance", p));
    s.finish(p);
    Some(ServiceConfig { agreement: agreement?, maintenance })
}

fn read_channels(
    sections: Vec<Section<'_, '_>>,
    domain: Option<Domain>,
    payout: Option<Address>,
    p: &mut Problems<'_>,
) -> Vec<Channel> {
    let mut channels: Vec<Channel> = Vec::new();
    let mut seen = HashSet::new();
    for mut s in sections {
        let id = s.required("id", p);
        let payer = s.required("payer", p);
        let signer = s.required("signer", p);
        let receiver = s.required("receiver", p);
        if let (Some(receiver), Some(payout)) = (receiver, payout)
            && receiver != payout
        {
            p.add(
                s.span_of("receiver"),
                format!("`receiver` is {receiver}, and [payout] says {payout}"),
                "a channel's receiver can't be changed: ask the payer to open another",
            );
        }
        let token = s.required("token", p);
        let withdraw_delay_s = s.required("withdraw_delay_s", p);
        let salt: Option<weir_usage::Digest> = s.required("salt", p);
        let lanes: Vec<u32> = s.or("lanes", vec![0], p);
        let price = s.required("price_per_gib", p).and_then(|units| {
            Price::new(units)
                .map_err(|e| p.add(s.span_of("price_per_gib"), e.to_string(), "a smaller price"))
                .ok()
        });
        if lanes.is_empty() || lanes.iter().collect::<HashSet<_>>().len() != lanes.len() {
            p.add(s.span_of("lanes"), "`lanes` is empty or names a lane twice", "such as [0, 1]");
        }
        let (id_span, span) = (s.span_of("id"), s.span());
        s.finish(p);
        let channel = (|| {
            Some(Channel {
                id: id?,
                terms: ChannelTerms {
                    payer: payer?,
                    signer: signer?,
                    receiver: receiver?,
                    token: token?,
                    withdraw_delay_s: withdraw_delay_s?,
                    salt: salt?.0,
                },
                lanes,
                price: price?,
            })
        })();
        let Some(channel) = channel else { continue };
        if let Some(domain) = domain {
            let computed = channel.terms.id(&domain);
            if computed != channel.id {
                p.add(
                    id_span,
                    format!("`id` doesn't belong to these terms; they hash to {computed}"),
                    "one of id, payer, signer, receiver, token, withdraw_delay_s, salt, chain_id \
                     or escrow is not what the channel was opened with",
                );
            }
        }
        if !seen.insert(channel.id) {
            p.add(span, format!("channel {} is listed twice", channel.id), "remove one of them");
        }
        channels.push(channel);
    }
    channels
}

fn seconds(
    s: &mut Section<'_, '_>,
    key: &'static str,
    default: u64,
    p: &mut Problems<'_>,
) -> Duration {
    Duration::from_secs(positive(s, key, default, p))
}

fn positive_ms(
    s: &mut Section<'_, '_>,
    key: &'static str,
    default: u64,
    p: &mut Problems<'_>,
) -> Duration {
    Duration::from_millis(positive(s, key, default, p))
}

fn positive(s: &mut Section<'_, '_>, key: &'static str, default: u64, p: &mut Problems<'_>) -> u64 {
    // A hundred years: beyond it the arithmetic on instants would overflow.
    const MAX: u64 = 100 * 366 * 86_400;
    let value = s.or(key, default, p);
    if value == 0 || value > MAX {
        p.add(s.span_of(key), format!("`{key}` is {value}"), format!("1 to {MAX}"));
        return default;
    }
    value
}
