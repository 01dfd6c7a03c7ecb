//! What is handed to the buyer can be checked by the buyer.

use weir_sla::{Error, Paid, Report, Sealed};

use crate::common::{START, key, measured, record, sample, used, worse};

fn report() -> Report {
    let mut record = record();
    let sla = record.agreement().id();
    for interval in (0..60).filter(|i| !(20..26).contains(i)) {
        record.add_used(used(sample(sla, interval))).unwrap();
    }
    for interval in 20..24 {
        for by in [4, 5] {
            record.add_measured(measured(by, worse(sample(sla, interval), 3))).unwrap();
        }
    }
    let paid = [Paid { day: START / 86_400, amount: 5 }];
    Report::of(&record, 0, &paid, START + 3_600).unwrap()
}

#[test]
fn it_says_what_it_is_worth() {
    let report = report();
    assert!(report.is_final());
    let figures = &report.figures;
    assert_eq!((figures.good, figures.bad, figures.unknown), (54, 4, 2));
    // 56 of 60 are 93.3 %: below 95 %, a quarter of the fee, rounded down.
    assert_eq!(report.credit, 250_000);
    assert_eq!(report.slots.iter().map(|slot| slot.bad).sum::<u32>(), 4);
    assert_eq!((report.slot_s, report.slots.len()), (60, 60));
    assert!(report.reputation.score_ppm > 900_000 && report.reputation.inputs[0].paid == 5);
    let text = report.to_string();
    for part in ["good 54, bad 4, unknown 2", "93.3333 %", "250000 of a fee of 1000001"] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    assert!(text.contains(&report.evidence().to_string()));
}

#[test]
fn a_sealed_report_is_read_back_from_json_and_from_its_page() {
    let sealed = Sealed::new(report(), &key(2)).unwrap();
    let (json, html) = (sealed.to_json().unwrap(), sealed.to_html().unwrap());
    assert_eq!(Sealed::read(&json), Ok(sealed.clone()));
    assert_eq!(Sealed::read(&html), Ok(sealed));
    assert!(html.matches("<svg").count() == 3 && html.contains("<polyline"));
    for outside in ["http:", "https:", "src=", "href="] {
        assert!(!html.contains(outside), "a page that loads something: {outside}");
    }
}

#[test]
fn a_changed_report_or_page_is_refused() {
    let sealed = Sealed::new(report(), &key(2)).unwrap();
    let (json, html) = (sealed.to_json().unwrap(), sealed.to_html().unwrap());
    for changed in [
        json.replace("\"bad\": 4", "\"bad\": 3"),
        json.replacen("\"made_s\": ", "\"made_s\": 1", 1),
        json.replace("weir-sla-report/1", "weir-sla-report/2"),
        html.replace("93.3333 %", "99.9999 %"),
        html.replace("</table>", "</table>\n"),
        "{}".to_owned(),
        String::new(),
    ] {
        assert!(Sealed::read(&changed).is_err(), "{}", &changed[..changed.len().min(80)]);
    }
    // Signed by somebody else.
    assert!(matches!(Sealed::new(report(), &key(1)), Err(Error::Usage(_))));
    // Signed by the operator, and wrong all the same.
    let mut lie = report();
    lie.credit = 0;
    assert!(matches!(Sealed::new(lie, &key(2)), Err(Error::BadReport { .. })));
}
