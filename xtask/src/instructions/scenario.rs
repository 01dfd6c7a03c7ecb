//! What is run.

use anyhow::{Context, Result, ensure};

/// An example of one of the project's crates.
#[derive(Debug, PartialEq, Eq)]
pub struct Program {
    pub package: &'static str,
    pub example: &'static str,
    /// Callgrind counts inside these functions alone.
    pub toggle: &'static str,
    /// What was counted before this function is forgotten: the warm-up.
    pub zero_before: Option<&'static str>,
}

const ENGINE: Program = Program {
    package: "weir-sim",
    example: "hot_path",
    toggle: "hot_path::engine_side::*",
    zero_before: Some("hot_path::rig::Rig::reset"),
};
const CLASSIFIER: Program = Program {
    package: "weir-classify",
    example: "verdicts",
    toggle: "verdicts::classified",
    zero_before: None,
};
const VOUCHER: Program = Program {
    package: "weir-usage",
    example: "voucher",
    toggle: "voucher::verified",
    zero_before: None,
};

#[derive(Debug)]
pub struct Scenario {
    pub name: &'static str,
    pub program: Program,
    /// Mode and units, and turns of warm-up for the engine.
    pub args: &'static [&'static str],
}

const fn engine(name: &'static str, args: &'static [&'static str]) -> Scenario {
    Scenario { name, program: ENGINE, args }
}

const fn classifier(name: &'static str, args: &'static [&'static str]) -> Scenario {
    Scenario { name, program: CLASSIFIER, args }
}

/// The longest first, so that the threads end together.
pub const SCENARIOS: &[Scenario] = &[
    engine("engine-tcp-up", &["tcp-up", "2000", "10"]),
    engine("engine-tcp-down", &["tcp-down", "2000", "10"]),
    engine("engine-udp-up", &["udp-up", "3200", "20"]),
    engine("engine-udp-down", &["udp-down", "3200", "20"]),
    engine("engine-udp-64-up", &["udp-64-up", "3200", "10"]),
    engine("engine-udp-64-down", &["udp-64-down", "3200", "10"]),
    engine("engine-udp-up-lone", &["udp-up-lone", "500", "50"]),
    engine("engine-handshake", &["handshake", "5"]),
    Scenario { name: "voucher-verify", program: VOUCHER, args: &["verify", "10"] },
    classifier("classify-flow-udp", &["flow-udp", "1000"]),
    classifier("classify-flow-udp6", &["flow-udp6", "1000"]),
    classifier("classify-flow-tcp", &["flow-tcp", "1000"]),
    classifier("classify-flow-odd", &["flow-odd", "1000"]),
    classifier("classify-ours", &["ours", "1000"]),
    classifier("classify-drop", &["drop", "1000"]),
    classifier("classify-foreign", &["foreign", "1000"]),
];

/// How many units a program says that it did: `... (6400 of them) ...`.
pub fn units(said: &str) -> Result<u64> {
    let number = said
        .split_once(" of them)")
        .and_then(|(before, _)| before.rsplit_once('('))
        .and_then(|(_, number)| number.parse().ok());
    let units = number.with_context(|| format!("no number of units in {said:?}"))?;
    ensure!(units > 0, "no work was done: {said:?}");
    Ok(units)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_says_how_much_it_did() {
        let said = "udp-up: 1.5 ns per datagram (6400 of them) [dropped 0; (x)]";
        assert_eq!(units(said).unwrap(), 6400);
        assert!(units("udp-up: nothing").is_err());
        assert!(units("(0 of them)").is_err());
    }

    #[test]
    fn every_scenario_has_a_name_of_its_own() {
        let mut names: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SCENARIOS.len());
    }
}
