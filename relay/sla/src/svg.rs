//! Plots over the time of a period, as SVG text that loads nothing.

use std::fmt::Write as _;

use crate::report::Slot;

const WIDTH: f64 = 760.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 130.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 30.0;
const LINES_HEIGHT: f64 = 240.0;
const STRIP_HEIGHT: f64 = 90.0;

/// Told apart by the colour-blind as well (Okabe and Ito).
const COLOURS: [&str; 3] = ["#0072b2", "#e69f00", "#009e73"];
const LIMIT: &str = "#d55e00";
const GOOD: &str = "#009e73";
const UNKNOWN: &str = "#dddddd";

/// A named line; `None` where nothing is known, which leaves a gap.
pub(crate) struct Line<'a> {
    pub(crate) name: &'a str,
    pub(crate) values: Vec<Option<f64>>,
}

/// Lines over the slots, and a dashed one for what was agreed.
pub(crate) fn lines(
    title: &str,
    lines: &[Line<'_>],
    limit: (&str, f64),
    ends: [&str; 2],
) -> String {
    let highest = lines.iter().flat_map(|line| &line.values).flatten().copied();
    let high = highest.fold(limit.1, f64::max).max(1.0) * 1.05;
    let y_at = |y: f64| TOP + (1.0 - y / high) * (LINES_HEIGHT - TOP - BOTTOM);
    let mut svg = open(title, LINES_HEIGHT, ends);
    for quarter in 0..=4 {
        let value = high * f64::from(quarter) / 4.0;
        let (y, end) = (y_at(value), WIDTH - RIGHT);
        let _ = write!(
            svg,
            "<line x1='{LEFT}' x2='{end}' y1='{y:.1}' y2='{y:.1}' stroke='#ddd'/>\
             <text x='{:.1}' y='{:.1}' text-anchor='end'>{value:.1}</text>",
            LEFT - 6.0,
            y + 4.0
        );
    }
    for (index, line) in lines.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let count = line.values.len();
        for part in line.values.iter().enumerate().collect::<Vec<_>>().split(|v| v.1.is_none()) {
            draw(&mut svg, part, colour, |index| x_at(index as f64 + 0.5, count), y_at);
        }
        legend(&mut svg, index, colour, line.name);
    }
    let (y, end) = (y_at(limit.1), WIDTH - RIGHT);
    let _ = write!(
        svg,
        "<line x1='{LEFT}' x2='{end}' y1='{y:.1}' y2='{y:.1}' stroke='{LIMIT}' \
         stroke-dasharray='5 4'/>"
    );
    legend(&mut svg, lines.len(), LIMIT, limit.0);
    svg + "</svg>"
}

/// What was good, bad and unknown, slot by slot, stacked.
pub(crate) fn strip(title: &str, slots: &[Slot], ends: [&str; 2]) -> String {
    let mut svg = open(title, STRIP_HEIGHT, ends);
    let inner = STRIP_HEIGHT - TOP - BOTTOM;
    let width = (WIDTH - LEFT - RIGHT) / slots.len().max(1) as f64;
    for (index, slot) in slots.iter().enumerate() {
        let all = f64::from(slot.good + slot.bad + slot.unknown).max(1.0);
        let mut y = TOP;
        // The bad on top, where it is seen.
        for (count, colour) in [(slot.bad, LIMIT), (slot.good, GOOD), (slot.unknown, UNKNOWN)] {
            if count > 0 {
                let height = inner * f64::from(count) / all;
                let _ = write!(
                    svg,
                    "<rect x='{:.2}' y='{y:.2}' width='{width:.2}' height='{height:.2}' \
                     fill='{colour}'/>",
                    x_at(index as f64, slots.len())
                );
                y += height;
            }
        }
    }
    for (index, (colour, name)) in
        [(GOOD, "good"), (LIMIT, "bad"), (UNKNOWN, "unknown")].into_iter().enumerate()
    {
        legend(&mut svg, index, colour, name);
    }
    svg + "</svg>"
}

fn draw(
    svg: &mut String,
    part: &[(usize, &Option<f64>)],
    colour: &str,
    x_at: impl Fn(usize) -> f64,
    y_at: impl Fn(f64) -> f64,
) {
    let points: Vec<(f64, f64)> = part
        .iter()
        .filter_map(|(index, value)| value.map(|value| (x_at(*index), y_at(value))))
        .collect();
    // A point alone would be a line of no length.
    if let [(x, y)] = points[..] {
        let _ = write!(svg, "<circle cx='{x:.1}' cy='{y:.1}' r='2' fill='{colour}'/>");
    } else if !points.is_empty() {
        let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let path = path.join(" ");
        let _ = write!(
            svg,
            "<polyline fill='none' stroke='{colour}' stroke-width='1.5' points='{path}'/>"
        );
    }
}

fn x_at(slot: f64, slots: usize) -> f64 {
    LEFT + (WIDTH - LEFT - RIGHT) * slot / slots.max(1) as f64
}

fn open(title: &str, height: f64, [from, until]: [&str; 2]) -> String {
    let (end, foot) = (WIDTH - RIGHT, height - BOTTOM + 18.0);
    format!(
        "<svg viewBox='0 0 {WIDTH} {height}' role='img'><title>{title}</title>\
         <text x='{LEFT}' y='18' font-weight='bold'>{title}</text>\
         <text x='{LEFT}' y='{foot}'>{from}</text>\
         <text x='{end}' y='{foot}' text-anchor='end'>{until}</text>"
    )
}

fn legend(svg: &mut String, index: usize, colour: &str, name: &str) {
    let (x, y) = (WIDTH - RIGHT + 12.0, TOP + 16.0 * index as f64);
    let _ = write!(
        svg,
        "<rect x='{x}' y='{y}' width='10' height='10' fill='{colour}'/>\
         <text x='{}' y='{}'>{name}</text>",
        x + 16.0,
        y + 9.0
    );
}
