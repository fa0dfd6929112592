//! Ratios as a picture: a line from the least to the greatest, a mark at the median, and where the
//! goal is.

use super::super::works::Bound;
use std::fmt::Write;

/// Widths and heights in pixels.
const WIDTH: f64 = 760.0;
const LABELS: f64 = 330.0;
const RIGHT: f64 = 60.0;
const LINE: f64 = 26.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 30.0;

/// Colours that are told apart without seeing red and green.
const GOOD: &str = "#0072b2";
const BAD: &str = "#d55e00";
const PLAIN: &str = "#666666";

/// One line of a plot.
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) ratio: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) goal: Option<Bound>,
}

/// The plot as an SVG document.
pub(super) fn svg(title: &str, bars: &[Bar]) -> String {
    let most = bars.iter().fold(1.0_f64, |most, bar| {
        let edge = bar.goal.map_or(0.0, Bound::edge);
        most.max(bar.max).max(edge)
    });
    let step = step(most);
    let steps = (most / step).ceil();
    let at = |ratio: f64| LABELS + (WIDTH - LABELS - RIGHT) * ratio / (steps * step);
    let height = TOP + LINE * bars.len() as f64 + BOTTOM;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\" role=\"img\">\n\
         <title>{title}</title>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"22\" font-size=\"14\" font-weight=\"bold\">{title}</text>\n",
        title = escaped(title),
    );
    let foot = height - BOTTOM;
    let mut tick = 0.0;
    while tick <= steps {
        let (x, ratio) = (at(tick * step), tick * step);
        let is_one = (ratio - 1.0).abs() < 1e-9;
        let colour = if is_one { "#444444" } else { "#dddddd" };
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{foot}\" stroke=\"{colour}\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            foot + 16.0,
            (ratio * 100.0).round() / 100.0,
        );
        tick += 1.0;
    }
    for (place, bar) in bars.iter().enumerate() {
        let y = TOP + LINE * (place as f64 + 0.5);
        line(&mut svg, bar, y, &at);
    }
    svg += "</svg>\n";
    svg
}

fn line(svg: &mut String, bar: &Bar, y: f64, at: &dyn Fn(f64) -> f64) {
    let colour = match bar.goal {
        None => PLAIN,
        Some(goal) if goal.is_met(bar.ratio) => GOOD,
        Some(_) => BAD,
    };
    let (low, middle, high) = (at(bar.min), at(bar.ratio), at(bar.max));
    let _ = writeln!(
        svg,
        "<text x=\"10\" y=\"{text:.1}\">{label}</text>\
         <line x1=\"{low:.1}\" x2=\"{high:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"{colour}\" \
         stroke-width=\"3\"/>\
         <circle cx=\"{middle:.1}\" cy=\"{y:.1}\" r=\"5\" fill=\"{colour}\"/>\
         <text x=\"{end:.1}\" y=\"{text:.1}\" text-anchor=\"end\">{ratio:.2}</text>",
        text = y + 4.0,
        label = escaped(&bar.label),
        end = WIDTH - 10.0,
        ratio = bar.ratio,
    );
    if let Some(goal) = bar.goal {
        // It opens to the side where the goal is met.
        let (x, side) = match goal {
            Bound::AtLeast(least) => (at(least), 5.0),
            Bound::AtMost(most) => (at(most), -5.0),
        };
        let _ = writeln!(
            svg,
            "<path d=\"M{:.1} {:.1}H{x:.1}V{:.1}H{:.1}\" fill=\"none\" stroke=\"black\"/>",
            x + side,
            y - 9.0,
            y + 9.0,
            x + side,
        );
    }
}

/// Steps of the scale, so that there are at most eight.
fn step(most: f64) -> f64 {
    let mut step = 0.25;
    while most / step > 8.0 {
        step *= 2.0;
    }
    step
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(ratio: f64, goal: Option<Bound>) -> Bar {
        Bar {
            label: "a < b".to_owned(),
            ratio,
            min: ratio - 0.1,
            max: ratio + 0.1,
            goal,
        }
    }

    #[test]
    fn a_goal_that_is_missed_has_another_colour_than_one_that_is_met() {
        let colours = |ratio, goal| {
            let drawn = svg("t", &[bar(ratio, goal)]);
            [GOOD, BAD, PLAIN].map(|colour| drawn.contains(&format!("fill=\"{colour}\"")))
        };
        assert_eq!(
            colours(1.0, Some(Bound::AtLeast(0.9))),
            [true, false, false]
        );
        assert_eq!(colours(1.0, Some(Bound::AtMost(0.9))), [false, true, false]);
        assert_eq!(colours(1.0, None), [false, false, true]);
    }

    #[test]
    fn what_is_drawn_stays_inside_and_names_are_escaped() {
        for ratio in [0.2, 1.0, 3.7, 45.0] {
            let drawn = svg("x & y", &[bar(ratio, Some(Bound::AtLeast(0.9)))]);
            assert!(drawn.contains("x &amp; y") && drawn.contains("a &lt; b"));
            let centre = drawn.split("cx=\"").nth(1).unwrap();
            let centre: f64 = centre.split('"').next().unwrap().parse().unwrap();
            assert!(
                (LABELS..=WIDTH - RIGHT).contains(&centre),
                "{ratio}: {centre}"
            );
        }
    }

    #[test]
    fn a_scale_has_few_steps() {
        assert_eq!([1.0, 2.0, 3.0, 45.0].map(step), [0.25, 0.25, 0.5, 8.0]);
    }
}
