//! `weir doctor`: what this host offers a relay, and what to do about the rest.

mod host;
mod network;
mod xsk;

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::config::Config;
use crate::failure::Failure;

#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Also look at what this configuration needs: its ports, interfaces and limits
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Interfaces to look at for XDP; those of the configuration, or all, unless given
    #[arg(short, long, value_name = "NAME")]
    interface: Vec<String>,
    /// Also time the kernel programs on this host, for each kind of packet (about a second)
    #[arg(long)]
    measure: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What the XDP program costs per packet, by verdict.
fn measure() -> Vec<Finding> {
    match weir_xdp::measure_verdicts() {
        Ok(costs) => costs
            .into_iter()
            .map(|cost| Finding {
                figure_ns: Some(cost.nanoseconds),
                least_ns: Some(cost.nanoseconds_min),
                net_ns: Some(cost.nanoseconds_net),
                scenario: Some(cost.name),
                ..Finding::ok("xdp cost", format!("{}: {} ns", cost.name, cost.nanoseconds))
            })
            .collect(),
        Err(error) => {
            let advice = "it needs root, or CAP_BPF and CAP_NET_ADMIN";
            vec![Finding::warn("xdp cost", format!("can't be measured: {error}"), advice)]
        }
    }
}

/// How one finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// One line of the report.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
    /// What was measured, in the unit that the name ends with.
    #[serde(skip_serializing_if = "Option::is_none")]
    figure_ns: Option<u32>,
    /// The least of several measurements, of which `figure_ns` is the median.
    #[serde(skip_serializing_if = "Option::is_none")]
    least_ns: Option<u32>,
    /// The median without what measuring costs.
    #[serde(skip_serializing_if = "Option::is_none")]
    net_ns: Option<u32>,
    /// What was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    scenario: Option<&'static str>,
}

/// # Errors
/// When a relay couldn't run here, or the configuration is wrong.
pub fn doctor(args: &DoctorArgs) -> Result<(), Failure> {
    let config = args.config.as_deref().map(Config::load).transpose()?;
    let mut findings = host::findings(config.as_ref());
    let interfaces = network::interfaces(config.as_ref(), &args.interface);
    findings.extend(network::findings(config.as_ref(), &interfaces));
    findings.extend(xsk::findings(config.as_ref(), &interfaces));
    if args.measure {
        findings.extend(measure());
    }
    if args.json {
        let text = serde_json::to_string_pretty(&findings)
            .map_err(|error| Failure::Internal(error.into()))?;
        println!("{text}");
    } else {
        for finding in &findings {
            print!("{}", finding.render());
        }
    }
    let failed = findings.iter().filter(|finding| finding.verdict == Verdict::Fail).count();
    if failed > 0 {
        return Err(Failure::Unavailable(format!("{failed} check(s) failed")));
    }
    Ok(())
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self::new(check, Verdict::Ok, found.into(), None)
    }

    fn warn(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(check, Verdict::Warn, found.into(), Some(advice.into()))
    }

    fn fail(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(check, Verdict::Fail, found.into(), Some(advice.into()))
    }

    fn new(check: &'static str, verdict: Verdict, found: String, advice: Option<String>) -> Self {
        let (figure_ns, least_ns, net_ns, scenario) = (None, None, None, None);
        Self { check, verdict, found, advice, figure_ns, least_ns, net_ns, scenario }
    }

    fn render(&self) -> String {
        let verdict = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        let mut text = format!("{verdict:<5} {:<12} {}\n", self.check, self.found);
        if let Some(advice) = &self.advice {
            text.push_str(&format!("{:18} -> {advice}\n", ""));
        }
        text
    }
}
