//! Connections that are opened and closed again.

use crate::Outcome;
use crate::rig::Rig;

const WARM_UP: u64 = 20;

/// A unit is a connection from its first packet to the end of its draining period's start: the
/// relay has answered everything, and the client has gone.
pub(crate) fn full(units: u64) -> Outcome {
    run(units, false)
}

pub(crate) fn resumed(units: u64) -> Outcome {
    run(units, true)
}

fn run(units: u64, resume: bool) -> Outcome {
    let mut rig = Rig::new();
    rig.resume = resume;
    for n in 0..WARM_UP + units {
        if n == WARM_UP {
            rig.reset();
        }
        one(&mut rig);
        rig.lap();
    }
    let engine = rig.engine_time();
    let stats = rig.engine.stats();
    assert_eq!(stats.connections_established, WARM_UP + units);
    Outcome {
        unit: "handshake",
        units,
        engine,
        note: format!(
            "= {:.0} per CPU-second [{:.1} packets to the client]",
            units as f64 / engine.as_secs_f64(),
            rig.packets_out as f64 / units as f64,
        ),
    }
}

fn one(rig: &mut Rig) {
    let n = rig.add_client();
    while rig.clients[n].settings.is_none() {
        rig.pump(n);
        rig.turn();
    }
    // The client's SETTINGS and last acknowledgements get there, and tickets come back.
    for _ in 0..3 {
        rig.pump(n);
        rig.turn();
    }
    let now = rig.now;
    rig.clients[n].quic.close(now, 0x100u32.into(), Default::default());
    rig.pump(n);
    rig.turn();
}
