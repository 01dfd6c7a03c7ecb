use weir_core::ledger::Amount;
use weir_core::port::Ledger as _;
use weir_io::LedgerWriter;
use weir_usage::FlowAmount;

use super::*;

/// The kernel of a process that found these counts of a dead one.
#[derive(Debug)]
struct Found(HashMap<FlowTuple, ExitFlow>);

impl FlowBook for Found {
    fn begin(&mut self) {}

    fn read(&mut self, _: &FlowTuple, _: Option<&TunnelCounters>) -> FlowReading {
        FlowReading::Uncounted
    }

    fn inherited(&mut self, flow: &FlowTuple) -> Option<ExitFlow> {
        self.0.remove(flow)
    }
}

fn entry(tunnel: u128) -> LedgerEntry {
    let flow = FlowTuple {
        transport: Transport::Udp,
        local: "192.0.2.1:40000".parse().unwrap(),
        remote: "198.51.100.7:53".parse().unwrap(),
    };
    LedgerEntry { tunnel, session: 1, channel: [7; 32], lane: 0, flow }
}

fn counters(received: u64, forwarded: u64) -> TunnelCounters {
    let amount = |bytes| Amount { bytes, datagrams: 1 };
    let mut counters = TunnelCounters::default();
    counters.up.received = amount(received);
    counters.up.forwarded = amount(forwarded);
    counters
}

/// A process that dies with one tunnel closed and not yet acknowledged, and another one open from
/// the same port to the same target.
fn die(dir: &std::path::Path) {
    let mut writer = LedgerWriter::create(&recover::file_name(dir, 9, 0), 9, 0, 8).unwrap();
    let first = writer.open(&entry(1)).unwrap();
    writer.close(first, &counters(100, 100));
    let second = writer.open(&entry(2)).unwrap();
    writer.publish(second, &counters(320, 300));
}

fn start(
    dir: &std::path::Path,
    kernel: HashMap<FlowTuple, ExitFlow>,
) -> (Export, [UsageRecord; 2]) {
    let recovered = recover::read_dead(dir);
    let mut export = Export::new(Vec::new(), recovered, Some(Box::new(Found(kernel))), true);
    export.collect();
    let mut records = export.pending(8);
    records.sort_by_key(|record| record.tunnel);
    (export, records.try_into().unwrap())
}

#[test]
fn kernel_counts_of_a_dead_process_go_to_the_tunnel_that_had_the_flow_open() {
    let dir = tempfile::tempdir().unwrap();
    die(dir.path());
    let up = FlowAmount { packets: 3, payload_bytes: 300, wire_bytes: 400 };
    let counted = ExitFlow { up, down: FlowAmount::default() };
    let (_, [closed, open]) = start(dir.path(), HashMap::from([(entry(2).flow, counted)]));
    assert_eq!((closed.flow, open.flow), (None, Some(counted)));
    for (record, forwarded) in [(closed, 100), (open, 300)] {
        assert!(record.is_final);
        assert_eq!(record.up.forwarded.bytes, forwarded);
        assert!(record.t0_ms > 0);
        record.check().unwrap();
    }
}

#[test]
fn a_second_death_before_the_report_loses_kernel_counts_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    die(dir.path());
    let (export, before) = start(dir.path(), HashMap::from([(entry(2).flow, ExitFlow::default())]));
    // Killed: the ledger file is still there, the kernel's maps aren't.
    drop(export);
    let (mut export, after) = start(dir.path(), HashMap::new());
    for (before, after) in before.iter().zip(&after) {
        assert!(after.is_final);
        assert_eq!(after.flow, None, "uncounted, which isn't judged, and not counted as zero");
        assert_eq!((before.tunnel, &before.up), (after.tunnel, &after.up));
    }
    // The file goes with the last acknowledgement, not before.
    let files = || std::fs::read_dir(dir.path()).unwrap().count();
    for (seq, record) in after.iter().enumerate() {
        assert_eq!(files(), 1);
        export.sent(record.tunnel, seq as u64);
        export.acked(seq as u64 + 1);
    }
    assert_eq!((files(), export.unfinished()), (0, 0));
}
