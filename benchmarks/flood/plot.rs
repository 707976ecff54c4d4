//! Bars on a logarithmic scale, as SVG that can be read on a light and on a dark page.

use std::fmt::Write as _;

/// One device's bars.
pub(crate) struct Panel {
    pub(crate) title: &'static str,
    pub(crate) bars: Vec<Bar>,
}

/// One order's times.
pub(crate) struct Bar {
    pub(crate) label: &'static str,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

const WIDTH: f64 = 720.0;
const LEFT: f64 = 110.0;
const RIGHT: f64 = 90.0;
const BAR: f64 = 22.0;
const TITLE: f64 = 34.0;
const TOP: f64 = 40.0;

/// The axis: from a millisecond to a thousand seconds.
const DECADES: i32 = 6;

/// Colours of both kinds of pages.
const STYLE: &str = "\
    text { font: 13px system-ui, sans-serif; fill: #1f2933; } \
    .title { font-weight: 600; } .grid { stroke: #cbd2d9; } \
    .p99 { fill: #9bb8e8; } .p50 { fill: #2f6fd0; } \
    @media (prefers-color-scheme: dark) { text { fill: #e4e7eb; } .grid { stroke: #4b5563; } \
    .p99 { fill: #35598f; } .p50 { fill: #7fb0ff; } }";

/// The quiet tenant's times to first token.
pub(crate) fn draw(panels: &[Panel]) -> String {
    let num_bars: usize = panels.iter().map(|panel| panel.bars.len()).sum();
    let rows = panels.len() as f64 * TITLE + num_bars as f64 * (BAR + 6.0);
    let height = TOP + rows + 30.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n\
         <title>Time to first token of a quiet tenant beside a flood</title>\n\
         <style>{STYLE}</style>\n"
    );
    let label =
        "Time to first token of a quiet tenant beside a flood: median (dark) and p99 (pale)";
    text(&mut svg, (8.0, 20.0), "title", label);
    grid(&mut svg, TOP + rows);
    let mut y = TOP;
    for panel in panels {
        text(&mut svg, (8.0, y + 22.0), "title", panel.title);
        y += TITLE;
        for bar in &panel.bars {
            draw_bar(&mut svg, bar, y);
            y += BAR + 6.0;
        }
    }
    svg + "</svg>\n"
}

fn grid(svg: &mut String, bottom: f64) {
    for decade in 0..=DECADES {
        let ms = 10_f64.powi(decade);
        let x = place(ms);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom:.1}\"/>"
        );
        text(svg, (x - 12.0, bottom + 18.0), "axis", &words(ms));
    }
}

fn draw_bar(svg: &mut String, bar: &Bar, y: f64) {
    text(svg, (16.0, y + 16.0), "label", bar.label);
    for (class, ms) in [("p99", bar.p99_ms), ("p50", bar.p50_ms)] {
        let width = place(ms) - LEFT;
        let _ = writeln!(
            svg,
            "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{y:.1}\" width=\"{width:.1}\" \
             height=\"{BAR}\" rx=\"2\"/>"
        );
    }
    text(svg, (place(bar.p99_ms) + 6.0, y + 16.0), "value", &words(bar.p99_ms));
}

fn text(svg: &mut String, (x, y): (f64, f64), class: &str, text: &str) {
    let _ = writeln!(svg, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>");
}

/// Where on the axis a time is.
fn place(ms: f64) -> f64 {
    let part = ms.max(1.0).log10() / f64::from(DECADES);
    LEFT + part.min(1.0) * (WIDTH - LEFT - RIGHT)
}

fn words(ms: f64) -> String {
    if ms < 1_000.0 { format!("{ms:.0} ms") } else { format!("{:.1} s", ms / 1e3) }
}
