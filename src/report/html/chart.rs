//! Turns shares of a budget over layers or positions into the geometry of a chart on a log scale.

use serde::Serialize;

use super::level;

/// Sizes in units of the drawing.
const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 196.0;
const LEFT: f64 = 54.0;
const RIGHT: f64 = 348.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 160.0;

/// Shares up to this power of ten are drawn at the bottom: a thousandth of a budget needs no attention.
const LOWEST: f64 = -3.0;

/// One line of a chart.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// Its CSS class.
    pub class: &'static str,
    /// Position, share and tooltip of each point, in ascending order of position.
    pub points: Vec<(usize, f64, String)>,
}

/// A chart, ready to be rendered.
#[derive(Clone, Debug, Serialize)]
pub struct Chart {
    pub title: String,
    /// The description for screen readers.
    pub about: String,
    pub across: &'static str,
    pub width: f64,
    pub height: f64,
    pub left: f64,
    pub right: f64,
    pub bottom: f64,
    pub ticks: Vec<Tick>,
    pub across_ticks: Vec<Tick>,
    pub lines: Vec<Drawn>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Tick {
    at: f64,
    label: String,
    /// True for the line at 100% of the budget.
    budget: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct Drawn {
    name: String,
    class: &'static str,
    /// Neighbouring points are joined; a gap is left where a point between them was not compared.
    path: String,
    dots: Vec<Dot>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Dot {
    x: f64,
    y: f64,
    title: String,
    over: bool,
}

/// The power of ten above all `shares`; at least slightly above the budget.
pub fn highest(shares: impl Iterator<Item = f64>) -> f64 {
    let finite = shares.filter(|share| share.is_finite()).fold(1.0, f64::max);
    let decades = finite.log10().ceil();
    if decades < 1.0 { 0.3 } else { decades }
}

/// Draws `lines` on a scale that ends at ten to the power of `highest`.
pub fn chart(title: String, across: &'static str, highest: f64, lines: &[Line]) -> Chart {
    let places = || lines.iter().flat_map(|line| line.points.iter().map(|point| point.0));
    let (first, last) = (places().min().unwrap_or(0), places().max().unwrap_or(0));
    let x = |at: usize| match last - first {
        0 => (LEFT + RIGHT) / 2.0,
        range => LEFT + 8.0 + (RIGHT - LEFT - 16.0) * (at - first) as f64 / range as f64,
    };
    let y = |share: f64| {
        let decades = if share.is_nan() { highest } else { share.log10().clamp(LOWEST, highest) };
        BOTTOM - (BOTTOM - TOP) * (decades - LOWEST) / (highest - LOWEST)
    };
    let worst = lines.iter().flat_map(|line| &line.points).max_by(|a, b| a.1.total_cmp(&b.1));
    let about = worst.map_or("nothing was compared".into(), |(_, _, label)| format!("worst: {label}"));
    Chart {
        title,
        about,
        across,
        width: WIDTH,
        height: HEIGHT,
        left: LEFT,
        right: RIGHT,
        bottom: BOTTOM,
        ticks: ticks(highest)
            .map(|(share, label)| Tick { at: y(share), label, budget: share == 1.0 })
            .collect(),
        across_ticks: whole(first, last)
            .map(|n| Tick { at: x(n), label: n.to_string(), budget: false })
            .collect(),
        lines: lines.iter().map(|line| drawn(line, &x, &y)).collect(),
    }
}

fn drawn(line: &Line, x: &dyn Fn(usize) -> f64, y: &dyn Fn(f64) -> f64) -> Drawn {
    let mut path = String::new();
    for (n, (at, share, _)) in line.points.iter().enumerate() {
        let joined = n > 0 && line.points[n - 1].0 + 1 == *at;
        path += &format!("{}{:.1} {:.1}", if joined { "L" } else { "M" }, x(*at), y(*share));
    }
    let round = |v: f64| (v * 10.0).round() / 10.0;
    let dot = |(at, share, title): &(usize, f64, String)| Dot {
        x: round(x(*at)),
        y: round(y(*share)),
        title: title.clone(),
        over: level::class(*share) > "s4",
    };
    Drawn { name: line.name.clone(), class: line.class, path, dots: line.points.iter().map(dot).collect() }
}

/// Powers of ten. If there are many: the lowest, and every second one from the budget up.
fn ticks(highest: f64) -> impl Iterator<Item = (f64, String)> {
    let many = highest > 4.0;
    let all = LOWEST as i32..=highest.floor() as i32;
    let chosen =
        all.filter(move |&decade| !many || decade == LOWEST as i32 || decade >= 0 && decade % 2 == 0);
    chosen.map(|decade| {
        let label = match decade {
            -3 => "≤0.1%".into(),
            -2 => "1%".into(),
            -1 => "10%".into(),
            0 => "budget".into(),
            1 => "10×".into(),
            2 => "100×".into(),
            3 => "1000×".into(),
            more => format!("1e{more}×"),
        };
        (10f64.powi(decade), label)
    })
}

/// At most eight round numbers from `first` to `last`.
fn whole(first: usize, last: usize) -> impl Iterator<Item = usize> {
    let steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000];
    let step = steps.into_iter().find(|step| (last - first) / step < 8).unwrap_or(100_000);
    (first..=last).filter(move |n| n % step == 0)
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;
    use rstest::rstest;

    use super::*;

    fn drawn_at(shares: &[f64]) -> (Chart, Vec<f64>) {
        let points = shares.iter().enumerate().map(|(n, &share)| (n, share, String::new())).collect();
        let line = Line { name: String::new(), class: "main", points };
        let chart = chart("t".into(), "layer", highest(shares.iter().copied()), &[line]);
        let heights = chart.lines[0].dots.iter().map(|dot| dot.y).collect();
        (chart, heights)
    }

    fn budget_line(chart: &Chart) -> f64 {
        chart.ticks.iter().find(|tick| tick.budget).unwrap().at
    }

    #[test]
    fn only_points_over_budget_are_drawn_above_the_budget_line() {
        let (chart, heights) = drawn_at(&[0.5, 1.0, 1.5, 20.0]);
        let line = budget_line(&chart);
        let above: Vec<bool> = heights.iter().map(|y| *y < line - 0.1).collect();
        assert_eq!(above, [false, false, true, true]);
        let over: Vec<bool> = chart.lines[0].dots.iter().map(|dot| dot.over).collect();
        assert_eq!(above, over);
    }

    #[test]
    fn every_factor_of_ten_has_the_same_height() {
        let (_, heights) = drawn_at(&[0.01, 0.1, 1.0, 10.0, 100.0]);
        let steps: Vec<f64> = heights.windows(2).map(|pair| pair[0] - pair[1]).collect();
        steps.iter().for_each(|step| assert_relative_eq!(*step, steps[0], epsilon = 0.2));
        assert!(steps[0] > 10.0);
    }

    #[test]
    fn values_outside_the_scale_are_drawn_at_its_ends() {
        let (chart, heights) = drawn_at(&[0.0, 1e-9, f64::INFINITY, f64::NAN, 5.0]);
        assert_eq!(heights[..4], [chart.bottom, chart.bottom, TOP, TOP]);
    }

    #[rstest]
    #[case(&[0.2, 0.9], 4)]
    #[case(&[0.2, 3.0], 5)]
    #[case(&[0.2, 3e6], 5)]
    fn the_scale_has_a_few_ticks(#[case] shares: &[f64], #[case] ticks: usize) {
        assert_eq!(drawn_at(shares).0.ticks.len(), ticks);
    }

    #[rstest]
    #[case(0, 3, &[0, 1, 2, 3])]
    #[case(0, 29, &[0, 5, 10, 15, 20, 25])]
    #[case(7, 7, &[7])]
    #[case(0, 980, &[0, 200, 400, 600, 800])]
    fn axis_labels_are_round_numbers(#[case] first: usize, #[case] last: usize, #[case] ticks: &[usize]) {
        assert_eq!(whole(first, last).collect::<Vec<_>>(), ticks);
    }
}
