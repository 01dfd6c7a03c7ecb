//! Plots as SVG text: lines and grouped bars. Nothing is loaded from anywhere.

use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 60.0;

/// Told apart by the colour-blind as well (Okabe and Ito).
const COLOURS: [&str; 8] =
    ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#f0e442", "#000000"];

/// A named line.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// A tick of an axis: where, and what stands there.
pub(super) type Tick = (f64, String);

/// Lines over a linear x axis with given ticks; y is logarithmic.
pub(super) fn lines(title: &str, y_label: &str, ticks: &[Tick], lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|line| &line.points);
    let (mut low, mut high) = (f64::MAX, f64::MIN);
    for &(_, y) in points() {
        (low, high) = (low.min(y.max(1e-3)), high.max(y.max(1e-3)));
    }
    if low > high {
        return String::new();
    }
    let (low, high) = (low.log10().floor(), high.log10().ceil().max(low.log10().floor() + 1.0));
    let x_end = ticks.last().map_or(1.0, |tick| tick.0).max(1e-9);
    let x_at = |x: f64| LEFT + x / x_end * (WIDTH - LEFT - RIGHT);
    let y_at = |y: f64| TOP + (high - y.max(1e-3).log10()) / (high - low) * (HEIGHT - TOP - BOTTOM);
    let mut svg = open(title, y_label);
    for decade in low as i32..=high as i32 {
        let value = 10f64.powi(decade);
        grid(&mut svg, y_at(value), &format!("{value}"));
    }
    for (x, name) in ticks {
        label(&mut svg, x_at(*x), HEIGHT - BOTTOM + 16.0, "middle", name);
    }
    for (index, line) in lines.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let path: Vec<String> =
            line.points.iter().map(|&(x, y)| format!("{:.1},{:.1}", x_at(x), y_at(y))).collect();
        let _ = write!(
            svg,
            "<polyline fill='none' stroke='{colour}' stroke-width='2' points='{}'/>",
            path.join(" ")
        );
        for &(x, y) in line.points.iter().filter(|_| line.points.len() < 4) {
            let _ = write!(
                svg,
                "<circle cx='{:.1}' cy='{:.1}' r='4' fill='{colour}'/>",
                x_at(x),
                y_at(y)
            );
        }
        legend(&mut svg, index, colour, &line.name);
    }
    svg + "</svg>"
}

/// A bar of a group, with its spread.
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) value: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

/// Groups of bars; the same name has the same colour in every group.
pub(super) fn bars(title: &str, y_label: &str, groups: &[(String, Vec<Bar>)]) -> String {
    let all = || groups.iter().flat_map(|(_, bars)| bars);
    let top = all().map(|bar| bar.max).fold(0.0, f64::max);
    if top <= 0.0 {
        return String::new();
    }
    let mut names: Vec<&str> = Vec::new();
    for bar in all() {
        if !names.contains(&bar.name.as_str()) {
            names.push(&bar.name);
        }
    }
    let step = nice_step(top / 5.0);
    let high = (top / step).ceil() * step;
    let y_at = |y: f64| TOP + (high - y) / high * (HEIGHT - TOP - BOTTOM);
    let mut svg = open(title, y_label);
    for index in 0..=(high / step).round() as u32 {
        let value = f64::from(index) * step;
        grid(&mut svg, y_at(value), &format!("{}", (value * 1e6).round() / 1e6));
    }
    let group_width = (WIDTH - LEFT - RIGHT) / groups.len() as f64;
    for (index, (group, bars)) in groups.iter().enumerate() {
        let start = LEFT + group_width * index as f64;
        let width = group_width * 0.85 / bars.len().max(1) as f64;
        for (place, bar) in bars.iter().enumerate() {
            let colour = colour_of(&names, &bar.name);
            let x = start + group_width * 0.075 + width * place as f64;
            let (y, middle) = (y_at(bar.value), x + width * 0.45);
            let _ = write!(
                svg,
                "<rect x='{x:.1}' y='{y:.1}' width='{:.1}' height='{:.1}' fill='{colour}'>\
                 <title>{}: {:.3} ({:.3} to {:.3})</title></rect>\
                 <line x1='{middle:.1}' x2='{middle:.1}' y1='{:.1}' y2='{:.1}' stroke='#333'/>",
                width * 0.9,
                y_at(0.0) - y,
                escape(&bar.name),
                bar.value,
                bar.min,
                bar.max,
                y_at(bar.min),
                y_at(bar.max),
            );
        }
        label(&mut svg, start + group_width / 2.0, HEIGHT - BOTTOM + 16.0, "middle", group);
    }
    for (index, name) in names.iter().enumerate() {
        legend(&mut svg, index, COLOURS[index % COLOURS.len()], name);
    }
    svg + "</svg>"
}

fn colour_of(names: &[&str], name: &str) -> &'static str {
    let index = names.iter().position(|other| *other == name).unwrap_or(0);
    COLOURS[index % COLOURS.len()]
}

/// 1, 2 or 5 times a power of ten, at least `step`.
fn nice_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|nice| *nice >= step)
        .unwrap_or(10.0 * power)
}

fn open(title: &str, y_label: &str) -> String {
    let middle = (TOP + HEIGHT - BOTTOM) / 2.0;
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' \
         font-family='sans-serif' font-size='12' role='img'>\
         <text x='{LEFT}' y='18' font-size='14' font-weight='bold'>{}</text>\
         <text x='16' y='{middle}' text-anchor='middle' transform='rotate(-90 16 {middle})'>{}\
         </text>",
        escape(title),
        escape(y_label)
    )
}

fn grid(svg: &mut String, y: f64, name: &str) {
    let _ = write!(
        svg,
        "<line x1='{LEFT}' x2='{:.1}' y1='{y:.1}' y2='{y:.1}' stroke='#ddd'/>",
        WIDTH - RIGHT
    );
    label(svg, LEFT - 6.0, y + 4.0, "end", name);
}

fn label(svg: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let text = escape(text);
    let _ = write!(svg, "<text x='{x:.1}' y='{y:.1}' text-anchor='{anchor}'>{text}</text>");
}

fn legend(svg: &mut String, index: usize, colour: &str, name: &str) {
    let (x, y) = (WIDTH - RIGHT + 14.0, TOP + 18.0 * index as f64);
    let _ = write!(svg, "<rect x='{x}' y='{y}' width='12' height='12' fill='{colour}'/>");
    label(svg, x + 18.0, y + 10.0, "start", name);
}

/// For text and for attributes in either quotes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_steps() {
        for (step, nice) in [(0.3, 0.5), (1.0, 1.0), (1.1, 2.0), (7.0, 10.0), (23.0, 50.0)] {
            assert!((nice_step(step) - nice).abs() < 1e-9, "{step}");
        }
    }

    #[test]
    fn nothing_to_show_makes_no_plot() {
        assert!(bars("a", "b", &[]).is_empty());
        assert!(lines("a", "b", &[], &[]).is_empty());
    }
}
