//! The measurer's configuration: TOML as somebody writes it, checked as a whole.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use weir_client::{Budget, ClientConfig, PayerConfig, Token, Trust};
use weir_sla::{Kind, References};
use weir_usage::bond::{Agreement, SlaTerms};
use weir_usage::{Address, ChannelId, Price, SigningKey};

use crate::Error;
use crate::schedule::INTERVAL_S_MIN;

/// Probes of an interval, unless it is configured: with ten a second in a minute, one that is lost
/// is less than 0.2 %.
const PROBES: u32 = 600;
/// They are numbered with 16 bits.
const PROBES_MAX: u32 = 36_000;
/// A second of 8 Gbit/s.
const BURST_BYTES_MAX: u64 = 1 << 30;
const CONTROLS_MAX: usize = 8;
/// Agreements, references and keys are some kilobytes.
const FILE_BYTES_MAX: u64 = 256 << 10;

/// What a measurer works with; everything has been checked.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) client: ClientConfig,
    pub(crate) agreement: Agreement,
    pub(crate) references: References,
    pub(crate) key: SigningKey,
    pub(crate) lane: u32,
    pub(crate) statements: PathBuf,
    pub(crate) probes: u32,
    pub(crate) burst_bytes: u64,
    pub(crate) control: Vec<SocketAddr>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    exit: ExitSection,
    payer: Option<PayerSection>,
    measure: MeasureSection,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExitSection {
    url: String,
    token_file: Option<PathBuf>,
    wallet: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    pin_sha256: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PayerSection {
    key_file: PathBuf,
    channel: ChannelId,
    #[serde(default)]
    lane: u32,
    chain_id: u64,
    escrow: Address,
    price_max: u64,
    budget: Option<u64>,
    budget_day: Option<u64>,
    state_file: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MeasureSection {
    agreement: PathBuf,
    references: PathBuf,
    key_file: PathBuf,
    statements: PathBuf,
    #[serde(default = "probes")]
    probes: u32,
    burst_bytes: Option<u64>,
    #[serde(default)]
    control: Vec<SocketAddr>,
}

fn probes() -> u32 {
    PROBES
}

impl Config {
    /// Reads a configuration and the files that it names.
    ///
    /// # Errors
    /// The first file that can't be read, or all that is wrong with the rest.
    pub fn read(path: &Path) -> Result<Config, Error> {
        let file: File = toml::from_str(&text("configuration", path)?)
            .map_err(|error| Error::file("configuration", path, error))?;
        let MeasureSection { agreement, references, key_file, .. } = &file.measure;
        let key = key(key_file)?;
        let agreement: Agreement = json("agreement", agreement)?;
        let references: References = json("references", references)?;
        let mut problems = Vec::new();
        if let Err(error) = agreement.signatures() {
            problems.push(format!("measure.agreement: {error}"));
        }
        let terms = &agreement.terms;
        if let Err(error) = references.must_be_of(terms) {
            problems.push(format!("measure.references: {error}"));
        }
        if !terms.measurers.contains(&key.address()) {
            let address = key.address();
            problems.push(format!("measure.key_file: {address} is no measurer of the agreement"));
        }
        let burst_bytes = file.measure.burst_bytes.unwrap_or_else(|| burst_needed(terms));
        check(&file.measure, terms, &references, burst_bytes, &mut problems);
        let client = client(&file, &mut problems);
        match client {
            Some(client) if problems.is_empty() => Ok(Config {
                lane: file.payer.as_ref().map_or(0, |payer| payer.lane),
                client,
                agreement,
                references,
                key,
                statements: file.measure.statements,
                probes: file.measure.probes,
                burst_bytes,
                control: file.measure.control,
            }),
            _ => Err(Error::Config { problems }),
        }
    }
}

/// What shows the committed rate: a second of it, and a tenth to spare.
fn burst_needed(terms: &SlaTerms) -> u64 {
    terms.committed_kbps.saturating_mul(1_100).div_ceil(8)
}

/// Whether the terms can be measured so at all: a measurer that can't see them met would blame the
/// exit for that.
fn check(
    section: &MeasureSection,
    terms: &SlaTerms,
    references: &References,
    burst_bytes: u64,
    problems: &mut Vec<String>,
) {
    let mut must = |holds: bool, problem: String| {
        if !holds {
            problems.push(problem);
        }
    };
    let interval_s = terms.interval_s;
    must(
        interval_s >= INTERVAL_S_MIN,
        format!("measure.agreement: intervals of {interval_s} s are too short to be measured"),
    );
    let echoed = references.of_kind(Kind::Echo).count() + references.of_kind(Kind::Dns).count();
    must(echoed > 0, "measure.references: none is echo:// or dns://, for round trips".to_owned());
    let sources = references.of_kind(Kind::Http).count();
    must(
        sources > 0 || terms.committed_kbps == 0,
        "measure.references: none is http://, for the committed rate".to_owned(),
    );
    let probes = section.probes;
    must(
        (1..=PROBES_MAX).contains(&probes),
        format!("measure.probes: {probes} is not between 1 and {PROBES_MAX}"),
    );
    // One lost probe must not be more than what may be lost.
    let least = 1_000_000_u32.checked_div(terms.loss_ppm).unwrap_or(0);
    must(
        probes >= least,
        format!("measure.probes: {probes} can't tell the agreed loss; {least} can"),
    );
    let needed = burst_needed(terms);
    must(
        (needed..=BURST_BYTES_MAX).contains(&burst_bytes),
        format!(
            "measure.burst_bytes: {burst_bytes} is not between the {needed} that show the committed \
             rate and {BURST_BYTES_MAX}"
        ),
    );
    let controls = section.control.len();
    must(controls <= CONTROLS_MAX, format!("measure.control: {controls} are more than 8"));
}

/// The customer. `None` if it has a problem that was named.
fn client(file: &File, problems: &mut Vec<String>) -> Option<ClientConfig> {
    let before = problems.len();
    let mut note = |key: &str, error: &dyn std::fmt::Display| {
        problems.push(format!("{key}: {error}"));
    };
    let ExitSection { url, token_file, wallet, ca_file, pin_sha256 } = &file.exit;
    let relay = url.parse().map_err(|error| note("exit.url", &error)).ok();
    let token = token_file.as_ref().and_then(|path| {
        let token = text("token", path).and_then(|text| Ok(text.parse::<Token>()?));
        token.map_err(|error| note("exit.token_file", &error)).ok()
    });
    if token_file.is_some() == wallet.is_some() {
        note("exit", &"needs either token_file or wallet");
    }
    let trust = match (ca_file, pin_sha256) {
        (None, None) => Some(Trust::System),
        (Some(path), None) => Some(Trust::CaFile(path.clone())),
        (None, Some(pin)) => {
            let trust = format!("sha256:{pin}").parse();
            trust.map_err(|error| note("exit.pin_sha256", &error)).ok()
        }
        (Some(_), Some(_)) => {
            note("exit", &"takes either ca_file or pin_sha256");
            None
        }
    };
    let payer = file.payer.as_ref().and_then(|payer| {
        let price_max = Price::new(payer.price_max.into());
        let price_max = price_max.map_err(|error| note("payer.price_max", &error)).ok()?;
        Some(PayerConfig {
            signing_key_file: payer.key_file.clone(),
            channel: payer.channel,
            lane: payer.lane,
            chain_id: payer.chain_id,
            escrow: payer.escrow,
            price_max,
            budget: Budget {
                total: payer.budget.map(u128::from),
                per_day: payer.budget_day.map(u128::from),
            },
            state_file: payer.state_file.clone(),
            period: PayerConfig::PERIOD,
            crash_allowance_bytes: PayerConfig::CRASH_ALLOWANCE_BYTES,
            vouched_file: None,
        })
    });
    if problems.len() > before {
        return None;
    }
    let mut client = ClientConfig::new(relay?);
    (client.token, client.wallet, client.payer) = (token, wallet.clone(), payer);
    client.trust = trust?;
    Some(client)
}

fn key(path: &Path) -> Result<SigningKey, Error> {
    let wrong = |problem: &dyn std::fmt::Display| Error::file("key", path, problem);
    let text = text("key", path)?;
    let digits = text.trim().strip_prefix("0x").unwrap_or(text.trim());
    let byte = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..64).step_by(2).map(byte).collect();
    let bytes: Option<[u8; 32]> = bytes.and_then(|bytes| bytes.try_into().ok());
    let bytes = bytes.filter(|_| digits.len() == 64);
    let bytes = bytes.ok_or_else(|| wrong(&"holds no 64 hexadecimal digits"))?;
    SigningKey::from_bytes(&bytes).map_err(|error| wrong(&error))
}

fn json<T: DeserializeOwned>(purpose: &'static str, path: &Path) -> Result<T, Error> {
    serde_json::from_str(&text(purpose, path)?).map_err(|e| Error::file(purpose, path, e))
}

fn text(purpose: &'static str, path: &Path) -> Result<String, Error> {
    let wrong = |problem: &dyn std::fmt::Display| Error::file(purpose, path, problem);
    let length = std::fs::metadata(path).map_err(|error| wrong(&error))?.len();
    if length > FILE_BYTES_MAX {
        return Err(wrong(&"is too long for one"));
    }
    std::fs::read_to_string(path).map_err(|error| wrong(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_has_the_keys_that_are_read() {
        let example = include_str!("../../../configs/measure.toml");
        let file: File = toml::from_str(example).unwrap();
        let mut problems = Vec::new();
        // Everything but the files is as it should be.
        assert!(client(&file, &mut problems).is_none());
        assert!(problems.iter().all(|problem| problem.starts_with("exit.token_file: ")));
        assert_eq!(file.measure.control.len(), 1);
        // Every key that is commented out exists, too.
        let all: Vec<&str> = example
            .lines()
            .map(|line| line.strip_prefix("# ").filter(|rest| is_key(rest)).unwrap_or(line))
            .collect();
        toml::from_str::<File>(&all.join("\n")).map(drop).unwrap();
    }

    fn is_key(text: &str) -> bool {
        text.split_once(" = ").is_some_and(|(key, _)| {
            key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        })
    }
}
