//! The whole bench on loopback, without privileges: that it runs, reports and cleans up. What it
//! measures here is of no interest.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// The bench, with a temporary folder of its own; `None` where the programs that it starts aren't
/// built, because only this package's tests are run.
fn bench(tmp: &Path) -> Option<Command> {
    let program = Path::new(env!("CARGO_BIN_EXE_weir-bench"));
    for needed in ["weir", "weir-load", "weir-plain"] {
        if !program.with_file_name(needed).is_file() {
            eprintln!("SKIP: {needed} isn't built; `cargo test --workspace` builds it");
            return None;
        }
    }
    let mut command = Command::new(program);
    command.arg("--loopback").env("TMPDIR", tmp).stdin(Stdio::null());
    Some(command)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_run_reports_what_it_measured_and_leaves_nothing_behind() {
    let (tmp, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let Some(mut bench) = bench(tmp.path()) else { return };
    let (json, html) = (out.path().join("run.json"), out.path().join("run.html"));
    bench.args(["--scenario", "udp-1200", "--repeats", "1", "--subjects", "weir,direct,xsk"]);
    let output = bench.arg("--json").arg(&json).arg("--html").arg(&html).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));

    let run: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert_eq!((&run["schema"], &run["host"]["lab"]), (&"weir-bench/1".into(), &"loopback".into()));
    let result = |index: usize| &run["results"][index];
    assert_eq!(result(0)["subject"], "weir");
    assert!(result(0)["cpu_ns_per_unit"]["median"].as_f64().unwrap() > 0.0, "{run}");
    assert!(result(0)["rate_per_s"]["median"].as_f64().unwrap() > 0.0, "{run}");
    assert_eq!(result(0)["corrupt"], 0);
    assert_eq!(
        (&result(1)["subject"], result(1)["cpu_ns_per_unit"].is_null()),
        (&"direct".into(), true)
    );
    assert_eq!((&result(2)["subject"], &result(2)["repeats"]), (&"xsk".into(), &0.into()));
    let why = result(2)["notes"][0].as_str().unwrap();
    assert!(why.starts_with("not measured: "), "{why}");
    assert!(!run.to_string().contains(tmp.path().to_str().unwrap()), "a path of this machine");

    assert!(std::fs::read_to_string(&html).unwrap().contains("<svg"));
    assert!(text(&output).contains("udp-1200"));
    assert_eq!(std::fs::read_dir(tmp.path()).unwrap().count(), 0, "files are left");

    // The kept run can be compared with, by the same program.
    let mut again = Command::new(env!("CARGO_BIN_EXE_weir-bench"));
    let output = again.arg("--from").arg(&json).arg("--compare").arg(&json).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("too few repeats"), "{}", text(&output));
}

#[test]
fn an_interrupt_takes_everything_down() {
    let tmp = tempfile::tempdir().unwrap();
    let Some(mut bench) = bench(tmp.path()) else { return };
    bench.args(["--scenario", "udp-1200", "--repeats", "100", "--subjects", "direct"]);
    let mut running = bench.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(running.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with("    1 direct")), "it measures");
    let pid = Pid::from_raw(running.id().cast_signed()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let rest: Vec<String> = lines.collect();
    assert!(rest.iter().any(|line| line.contains("interrupted")), "{rest:?}");
    assert_eq!(running.wait().unwrap().code(), Some(1));
    assert_eq!(std::fs::read_dir(tmp.path()).unwrap().count(), 0, "files are left");
}

#[test]
fn mistakes_are_named_before_anything_is_measured() {
    for (args, why) in [
        (&["--scenario", "udp-1201"][..], "udp-1201"),
        (&["--scenario", "udp-1200", "--subjects", "weird"][..], "weird"),
        (&["--compare", "/nonexistent.json"][..], "/nonexistent.json"),
        (&["--peer", "no-port", "--scenario", "udp-1200"][..], "NAME=HOST:PORT"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_weir-bench")).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {}", text(&output));
        assert!(text(&output).contains(why), "{args:?}: {}", text(&output));
    }
}
