//! A report as one HTML file: tables, plots, and the signed JSON itself.

use std::fmt::Write as _;

use crate::calendar::{DAY_S, date, date_time};
use crate::svg::{Line, lines, strip};
use crate::text::{percent, rows};
use crate::{Report, Sealed};

const OPEN: &str = "<script type=\"application/json\" id=\"report\">";
const CLOSE: &str = "</script>";

const STYLE: &str = "body{font:14px/1.5 system-ui,sans-serif;max-width:800px;margin:2em auto;\
padding:0 1em;color:#222}table{border-collapse:collapse}td,th{padding:.2em .8em .2em 0;\
text-align:left;vertical-align:top}code{overflow-wrap:anywhere}svg{width:100%;height:auto;\
margin:1em 0}svg text{font-size:11px}.n{text-align:right}";

/// The page. `json` is the sealed report, which ends up in it.
pub(crate) fn render(sealed: &Sealed, json: &str) -> String {
    let report = &sealed.report;
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <title>Service level {from} to {until}</title><style>{STYLE}</style></head><body>\
         <h1>Service level {from} to {until}</h1><table>",
        from = date(report.begins_s),
        until = date(report.ends_s - 1)
    );
    let parties = [
        ("agreement", report.sla.to_string()),
        ("operator", report.terms.operator.to_string()),
        ("payer", report.terms.payer.to_string()),
        ("channel", report.terms.channel.to_string()),
    ];
    for (name, value) in parties.into_iter().chain(rows(report)) {
        // Everything is a number, a date or hexadecimal: nothing to escape.
        let _ = write!(page, "<tr><th>{name}</th><td><code>{value}</code></td></tr>");
    }
    page.push_str("</table>");
    plots(&mut page, report);
    credits(&mut page, report);
    reputation(&mut page, report);
    let _ = write!(
        page,
        "<h2>Signature</h2><p>By the operator over the JSON below; <code>weir-settle sla verify \
         FILE</code> checks it, and that this page shows nothing else.</p><p><code>{}</code></p>",
        sealed.signature
    );
    // A reader of HTML must not find an end of the script in it. Only strings have a `<`.
    let json = json.replace('<', "\\u003c");
    let _ = writeln!(page, "{OPEN}{json}{CLOSE}</body></html>");
    page
}

/// The JSON in a page; `None` if the text is no page.
pub(crate) fn embedded(text: &str) -> Option<&str> {
    let (_, rest) = text.strip_prefix("<!doctype html>").and_then(|text| text.split_once(OPEN))?;
    rest.split_once(CLOSE).map(|(json, _)| json)
}

fn plots(page: &mut String, report: &Report) {
    let (from, until) = (date_time(report.begins_s), date_time(report.ends_s));
    let ends = [from.as_str(), until.as_str()];
    let of = |value: &dyn Fn(&crate::report::Slot) -> Option<f64>| {
        report.slots.iter().map(value).collect::<Vec<_>>()
    };
    let mbps = |kbps: u64| Some(kbps as f64 / 1000.0);
    page.push_str(&strip("Intervals", &report.slots, ends));
    let bandwidth = [
        Line { name: "up", values: of(&|slot| mbps(slot.up_kbps)) },
        Line { name: "down", values: of(&|slot| mbps(slot.down_kbps)) },
    ];
    let committed = report.terms.committed_kbps as f64 / 1000.0;
    page.push_str(&lines("Mean Mbit/s", &bandwidth, ("committed", committed), ends));
    let ms = |us: u32| f64::from(us) / 1000.0;
    let rtt = [Line { name: "p95", values: of(&|slot| slot.rtt_p95_us.map(ms)) }];
    page.push_str(&lines("RTT in ms", &rtt, ("agreed", ms(report.terms.rtt_p95_us)), ends));
}

fn credits(page: &mut String, report: &Report) {
    page.push_str(
        "<h2>Credits</h2><table><tr><th>availability below</th><th>part of the fee</th></tr>",
    );
    for step in &report.terms.credits {
        let (below, credit) = (percent(step.below_ppm), percent(step.credit_ppm));
        let _ = write!(page, "<tr><td>{below}</td><td>{credit}</td></tr>");
    }
    page.push_str("</table>");
}

fn reputation(page: &mut String, report: &Report) {
    let _ = write!(
        page,
        "<h2>Reputation {}</h2><p>Mean of a Beta distribution over intervals, weighted by what was \
         paid on their day; a day's weight halves in 30 days. It costs nobody a token.</p><table>\
         <tr><th>day</th><th>good</th><th>bad</th><th>paid</th></tr>",
        percent(report.reputation.score_ppm)
    );
    for day in &report.reputation.inputs {
        let date = date(day.day * DAY_S);
        let _ = write!(
            page,
            "<tr><td>{date}</td><td class=n>{}</td><td class=n>{}</td><td class=n>{}</td></tr>",
            day.good, day.bad, day.paid
        );
    }
    page.push_str("</table>");
}
