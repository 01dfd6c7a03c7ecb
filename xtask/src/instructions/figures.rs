//! The figures: per unit, in a file, and against each other.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::callgrind::crate_of;
use crate::sh;

/// Keys, hash seeds and the order of a table change a count by a few parts in ten thousand.
const TOLERANCE: f64 = 0.03;

/// Three per cent of nothing is nothing: so many instructions more are no regression.
const SLACK: f64 = 2.0;

/// Functions that are named in the file, the dearest first: they say where a difference is.
const NAMED: usize = 12;

/// Features that ring and libc choose by; for the reader, since neither is counted.
const FEATURES: [&str; 6] = ["aes", "pclmulqdq", "avx2", "vaes", "avx512f", "sha_ni"];

/// Instructions per unit.
#[derive(Clone, Debug, PartialEq)]
pub struct PerUnit {
    /// The project's own crates, and what of them was inlined into the program.
    pub weir: f64,
    pub quinn_proto: f64,
    /// With everything else that is counted.
    pub total: f64,
    functions: Vec<(String, f64)>,
}

/// All of a file.
#[derive(Debug)]
pub struct Figures {
    pub tolerance: f64,
    toolchain: String,
    arch: String,
    valgrind: String,
    cpu: String,
    scenarios: BTreeMap<String, PerUnit>,
}

/// What came of a comparison.
#[derive(Debug)]
pub struct Comparison {
    pub table: String,
    pub regressions: Vec<String>,
}

impl PerUnit {
    /// `program` is the crate's name of the program that ran.
    pub fn new(costs: &BTreeMap<String, u64>, program: &str, units: u64) -> PerUnit {
        let per_unit = |cost: u64| (cost as f64 / units as f64 * 10.0).round() / 10.0;
        let sum = |wanted: &dyn Fn(&str) -> bool| {
            per_unit(costs.iter().filter(|(name, _)| wanted(name)).map(|(_, cost)| cost).sum())
        };
        let mut functions: Vec<_> =
            costs.iter().map(|(name, cost)| (name.clone(), per_unit(*cost))).collect();
        functions.sort_by(|a, b| b.1.total_cmp(&a.1));
        functions.truncate(NAMED);
        PerUnit {
            weir: sum(&|name| {
                let of = crate_of(name);
                of.starts_with("weir_") || of == program
            }),
            quinn_proto: sum(&|name| crate_of(name) == "quinn_proto"),
            total: sum(&|_| true),
            functions,
        }
    }

    fn groups(&self) -> [(&'static str, f64); 3] {
        [("weir", self.weir), ("quinn-proto", self.quinn_proto), ("total", self.total)]
    }

    fn json(&self) -> Value {
        let functions: Map<String, Value> =
            self.functions.iter().map(|(name, per_unit)| (name.clone(), json!(per_unit))).collect();
        let groups = self.groups().map(|(name, per_unit)| (name.to_owned(), json!(per_unit)));
        let mut object = Map::from_iter(groups);
        object.insert("functions".into(), functions.into());
        object.into()
    }

    fn parse(value: &Value) -> Option<PerUnit> {
        let functions = value["functions"].as_object()?.iter();
        Some(PerUnit {
            weir: value["weir"].as_f64()?,
            quinn_proto: value["quinn-proto"].as_f64()?,
            total: value["total"].as_f64()?,
            functions: functions
                .map(|(n, v)| Some((n.clone(), v.as_f64()?)))
                .collect::<Option<_>>()?,
        })
    }
}

impl Figures {
    /// What was counted here and now.
    pub fn here(scenarios: BTreeMap<String, PerUnit>) -> Result<Figures> {
        Ok(Figures {
            tolerance: TOLERANCE,
            toolchain: toolchain()?,
            arch: std::env::consts::ARCH.to_owned(),
            valgrind: sh::read(sh::cmd("valgrind").arg("--version"))?.trim().to_owned(),
            cpu: cpu(),
            scenarios,
        })
    }

    /// The file; no figures if there is none yet.
    pub fn load(file: &Path) -> Result<Figures> {
        let text = match std::fs::read_to_string(file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Figures::here(BTreeMap::new());
            }
            text => text.with_context(|| format!("{}", file.display()))?,
        };
        Figures::parse(&text).with_context(|| format!("{} has another form", file.display()))
    }

    fn parse(text: &str) -> Option<Figures> {
        let value: Value = serde_json::from_str(text).ok()?;
        let word = |key: &str| Some(value[key].as_str()?.to_owned());
        let scenarios = value["scenarios"].as_object()?.iter();
        Some(Figures {
            tolerance: value["tolerance"].as_f64()?,
            toolchain: word("toolchain")?,
            arch: word("arch")?,
            valgrind: word("valgrind")?,
            cpu: word("cpu")?,
            scenarios: scenarios
                .map(|(name, value)| Some((name.clone(), PerUnit::parse(value)?)))
                .collect::<Option<_>>()?,
        })
    }

    pub fn save(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(&self.json())? + "\n";
        std::fs::write(file, text).with_context(|| format!("can't write {}", file.display()))
    }

    fn json(&self) -> Value {
        let scenarios: Map<String, Value> =
            self.scenarios.iter().map(|(name, counted)| (name.clone(), counted.json())).collect();
        json!({
            "what": "instructions per unit by `cargo xtask instructions`, without ring and libc",
            "tolerance": self.tolerance, "toolchain": self.toolchain, "arch": self.arch,
            "valgrind": self.valgrind, "cpu": self.cpu, "scenarios": scenarios,
        })
    }

    /// Why these figures say nothing about what is built here, if they don't.
    pub fn incomparable(&self) -> Result<Option<String>> {
        let here = toolchain()?;
        Ok(if self.arch != std::env::consts::ARCH {
            Some(format!("the figures are of {}", self.arch))
        } else if self.toolchain != here {
            Some(format!("the figures are of {}, this is {here}", self.toolchain))
        } else {
            None
        })
    }

    /// Holds what was counted against these figures.
    pub fn compare(&self, counted: &BTreeMap<String, PerUnit>) -> Comparison {
        let mut table = format!(
            "{:28}{:>12}{:>12}{:>12}{:>12}\n",
            "instructions per unit", "weir", "quinn-proto", "total", "committed"
        );
        let mut regressions = Vec::new();
        for (name, now) in counted {
            let [weir, quinn, total] = now.groups().map(|(_, per_unit)| per_unit);
            let before = self.scenarios.get(name);
            let committed = before.map_or("none".into(), |before| format!("{:.1}", before.total));
            let _ =
                writeln!(table, "{name:28}{weir:>12.1}{quinn:>12.1}{total:>12.1}{committed:>12}");
            let Some(before) = before else {
                regressions.push(format!("{name} has no committed figure"));
                continue;
            };
            for ((group, now), (_, before)) in now.groups().into_iter().zip(before.groups()) {
                if now > before * (1.0 + self.tolerance) + SLACK {
                    regressions.push(format!("{name}, {group}: {before:.1} became {now:.1}"));
                } else if now < before * (1.0 - self.tolerance) - SLACK {
                    let _ = writeln!(
                        table,
                        "  {group}: {before:.1} became {now:.1}; --update keeps it"
                    );
                }
            }
        }
        Comparison { table, regressions }
    }
}

fn toolchain() -> Result<String> {
    Ok(sh::read(sh::cmd("rustc").arg("--version"))?.trim().to_owned())
}

/// The processor's name and those of its features that matter here.
fn cpu() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim())
    };
    let flags = field("flags").unwrap_or_default();
    let present: Vec<&str> =
        FEATURES.into_iter().filter(|feature| flags.split(' ').any(|f| f == *feature)).collect();
    format!("{} ({})", field("model name").unwrap_or("unknown"), present.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(weir: u64, quinn: u64) -> PerUnit {
        let costs = [
            ("weir_core::a", weir - 400),
            ("program::main", 400),
            ("<quinn_proto::B as C>::b", quinn),
            ("mi_free", 100),
        ];
        let costs = costs.map(|(name, cost)| (name.to_owned(), cost * 10)).into();
        PerUnit::new(&costs, "program", 10)
    }

    fn figures(scenario: PerUnit) -> Figures {
        Figures::here([("udp".to_owned(), scenario)].into()).unwrap()
    }

    #[test]
    fn groups_add_up_and_survive_the_file() {
        let per_unit = counted(1000, 2000);
        assert_eq!((per_unit.weir, per_unit.quinn_proto, per_unit.total), (1000.0, 2000.0, 3100.0));
        let file = figures(per_unit.clone()).json().to_string();
        let mut read = Figures::parse(&file).unwrap().scenarios.remove("udp").unwrap();
        read.functions.sort_by(|a, b| b.1.total_cmp(&a.1));
        assert_eq!(read, per_unit);
    }

    #[test]
    fn more_than_the_tolerance_is_a_regression_and_less_is_not() {
        let committed = figures(counted(1000, 2000));
        let compare = |now| committed.compare(&[("udp".to_owned(), now)].into());
        assert!(compare(counted(1025, 2050)).regressions.is_empty());
        let worse = compare(counted(1040, 2000)).regressions;
        assert_eq!(worse, ["udp, weir: 1000.0 became 1040.0"]);
        let better = compare(counted(900, 2000));
        assert!(better.regressions.is_empty() && better.table.contains("--update"));
        let unknown = committed.compare(&[("new".to_owned(), counted(401, 1))].into());
        assert_eq!(unknown.regressions, ["new has no committed figure"]);
    }
}
