//! Runs `weir-load` as `weir-bench` does: by its standard streams.

use std::io::{BufRead, BufReader, Lines, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use weir_load::spec::{Event, Report, Spec, Way, Work};

/// A child that ends with the test.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    pub(crate) fn start(args: &[&str]) -> Process {
        let mut child = Command::new(env!("CARGO_BIN_EXE_weir-load"))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("weir-load starts");
        let input = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Process { child, input, lines }
    }

    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("weir-load reads");
    }

    pub(crate) fn hear(&mut self) -> String {
        self.lines.next().expect("weir-load says more").expect("a line")
    }

    fn event(&mut self) -> Event {
        let line = self.hear();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// Closes its standard input, at which everything ends.
    pub(crate) fn end(self) {
        let Process { mut child, input, .. } = self;
        drop(input);
        child.wait().expect("weir-load ends with its input");
    }
}

/// A target on free ports of loopback.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) process: Process,
    pub(crate) udp: SocketAddr,
    pub(crate) tcp: SocketAddr,
}

impl Target {
    pub(crate) fn start() -> Target {
        let args = ["target", "--udp", "127.0.0.1:0", "--tcp", "127.0.0.1:0"];
        let mut process = Process::start(&args);
        let ready: serde_json::Value = serde_json::from_str(&process.hear()).unwrap();
        let address = |which: &str| ready[which].as_str().unwrap().parse().unwrap();
        Target { udp: address("udp"), tcp: address("tcp"), process }
    }
}

/// Runs the work for a moment; the events come in their order.
pub(crate) fn run(way: Way, work: Work) -> Result<Report, String> {
    let held = matches!(work, Work::Idle { .. });
    let spec = Spec { way, work, warmup_ms: 50, measure_ms: 400, seed: 1 };
    let mut process = Process::start(&["run"]);
    process.say(&serde_json::to_string(&spec).unwrap());
    for expected in ["ready", "begin", "end"] {
        match (process.event(), expected) {
            (Event::Ready, "ready") => process.say("go"),
            (Event::Begin, "begin") if held => process.say("stop"),
            (Event::Begin, "begin") => {}
            (Event::End { report }, "end") => return Ok(*report),
            (Event::Failed { error }, _) => return Err(error),
            (other, _) => panic!("{other:?} instead of {expected}"),
        }
    }
    unreachable!("the last event returns")
}
