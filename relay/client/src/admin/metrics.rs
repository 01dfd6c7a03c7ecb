//! `GET /metrics`: the figures of a client in the text format of Prometheus (version 0.0.4).

use std::fmt::{Display, Write as _};

use crate::{PaymentUsage, UsageSnapshot};

pub(super) const CONTENT: &str = "text/plain; version=0.0.4";

pub(super) fn page(usage: &UsageSnapshot) -> String {
    let exit = format!("exit=\"{}\"", usage.relay);
    let total = &usage.total;
    let mut page = String::new();
    family(&mut page, "connections", "gauge", "Live QUIC connections to the exit.");
    row(&mut page, "connections", &exit, usage.connections);
    family(&mut page, "bytes_total", "counter", "Tunnelled payload bytes.");
    both(&mut page, "bytes_total", &exit, (total.up.bytes, total.down.bytes));
    family(&mut page, "tunnels_total", "counter", "Tunnels that the exit opened.");
    row(&mut page, "tunnels_total", &exit, total.tunnels);
    family(&mut page, "tunnels_refused_total", "counter", "Tunnels that it refused.");
    row(&mut page, "tunnels_refused_total", &exit, total.refused);
    if let Some(payment) = &usage.payment {
        write_payment(&mut page, &exit, payment);
    }
    page
}

fn write_payment(page: &mut String, exit: &str, payment: &PaymentUsage) {
    let lane = format!("{exit},channel=\"{}\",lane=\"{}\"", payment.channel, payment.lane);
    family(page, "signed_units", "gauge", "Token units signed, all runs together.");
    row(page, "signed_units", &lane, &payment.signed_amount);
    family(page, "own_bytes", "gauge", "Payload bytes by the own count, all runs together.");
    both(page, "own_bytes", &lane, (payment.up_bytes, payment.down_bytes));
    if let (Some(up), Some(down)) = (payment.asked_up_bytes, payment.asked_down_bytes) {
        family(page, "asked_bytes", "gauge", "Payload bytes by the exit's count.");
        both(page, "asked_bytes", &lane, (up, down));
    }
    let help = "Asks ahead of the own counts beyond the tolerance, for longer than in flight.";
    family(page, "overbilled_asks_total", "counter", help);
    row(page, "overbilled_asks_total", &lane, payment.overbilled_asks);
    family(page, "payment_problem", "gauge", "1 if the last ask was not paid in full.");
    row(page, "payment_problem", &lane, u8::from(payment.problem.is_some()));
}

// Writing into a String can't fail.

fn family(page: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(page, "# HELP weir_client_{name} {help}");
    let _ = writeln!(page, "# TYPE weir_client_{name} {kind}");
}

fn row(page: &mut String, name: &str, labels: &str, value: impl Display) {
    let _ = writeln!(page, "weir_client_{name}{{{labels}}} {value}");
}

fn both(page: &mut String, name: &str, labels: &str, (up, down): (u64, u64)) {
    row(page, name, &format!("{labels},direction=\"up\""), up);
    row(page, name, &format!("{labels},direction=\"down\""), down);
}
