//! Curves as SVG: both axes logarithmic, one polyline and a legend entry for each curve.

use std::fmt::Write;

use serde_json::{Value, json};

/// What a plot shows.
pub struct Series {
    /// Names the file.
    pub name: &'static str,
    x: &'static str,
    y: &'static str,
    curves: Vec<(&'static str, Vec<(f64, f64)>)>,
}

const COLOURS: [&str; 6] = [
    "#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf",
];
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 170.0;
const TOP: f64 = 20.0;
const BOTTOM: f64 = 45.0;

/// The decades that hold all of some positive values.
fn decades(values: impl Iterator<Item = f64> + Clone) -> (i32, i32) {
    let low = values.clone().fold(f64::INFINITY, f64::min).log10().floor();
    let high = values.fold(f64::NEG_INFINITY, f64::max).log10().ceil();
    match low.is_finite() && high.is_finite() {
        true => (low as i32, (high as i32).max(low as i32 + 1)),
        false => (0, 1),
    }
}

fn place(value: f64, (low, high): (i32, i32), from: f64, to: f64) -> f64 {
    from + (value.log10() - f64::from(low)) / f64::from(high - low) * (to - from)
}

impl Series {
    /// No curves yet.
    pub fn new(name: &'static str, x: &'static str, y: &'static str) -> Series {
        let curves = Vec::new();
        Series { name, x, y, curves }
    }

    /// Adds a point, both positive.
    pub fn add(&mut self, curve: &'static str, x: f64, y: f64) {
        match self.curves.iter_mut().find(|(name, _)| *name == curve) {
            Some((_, points)) => points.push((x, y)),
            None => self.curves.push((curve, vec![(x, y)])),
        }
    }

    /// The points.
    pub fn json(&self) -> Value {
        let curves = self.curves.iter();
        let curves = curves.map(|(name, points)| json!({ "name": name, "points": points }));
        json!({ "name": self.name, "x": self.x, "y": self.y, "curves": curves.collect::<Vec<_>>() })
    }

    /// A table of the points in Markdown, a row for each x.
    pub fn table(&self) -> String {
        let mut text = format!("| {} |", self.x);
        for (name, _) in &self.curves {
            let _ = write!(text, " {name}, {} |", self.y);
        }
        text.push_str("\n|");
        text.push_str(&" --- |".repeat(self.curves.len() + 1));
        text.push('\n');
        let xs = self.curves.first().map_or(&[][..], |(_, points)| points);
        for (x, _) in xs {
            let _ = write!(text, "| {x} |");
            for (_, points) in &self.curves {
                let y = points.iter().find(|(other, _)| other == x);
                let _ = write!(
                    text,
                    " {} |",
                    y.map_or(String::new(), |(_, y)| format!("{y:.0}"))
                );
            }
            text.push('\n');
        }
        text
    }

    /// The drawing.
    pub fn svg(&self) -> String {
        let points = || self.curves.iter().flat_map(|(_, points)| points);
        let xs = decades(points().map(|point| point.0));
        let ys = decades(points().map(|point| point.1));
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"11\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n"
        );
        let mut line = |x: [f64; 2], y: [f64; 2]| {
            let _ = writeln!(
                svg,
                "<line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"#ddd\"/>",
                x[0], x[1], y[0], y[1]
            );
        };
        for decade in xs.0..=xs.1 {
            let x = place(10f64.powi(decade), xs, LEFT, right);
            line([x, x], [TOP, bottom]);
        }
        for decade in ys.0..=ys.1 {
            let y = place(10f64.powi(decade), ys, bottom, TOP);
            line([LEFT, right], [y, y]);
        }
        let mut text = |x: f64, y: f64, anchor: &str, said: &str| {
            let _ = writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{said}</text>"
            );
        };
        for decade in xs.0..=xs.1 {
            let x = place(10f64.powi(decade), xs, LEFT, right);
            text(x, bottom + 16.0, "middle", &shown(decade));
        }
        for decade in ys.0..=ys.1 {
            let y = place(10f64.powi(decade), ys, bottom, TOP);
            text(LEFT - 6.0, y + 4.0, "end", &shown(decade));
        }
        text((LEFT + right) / 2.0, HEIGHT - 8.0, "middle", self.x);
        text(LEFT, TOP - 7.0, "end", self.y);
        for (number, (name, points)) in self.curves.iter().enumerate() {
            let colour = COLOURS[number % COLOURS.len()];
            let mut path = String::new();
            for &(x, y) in points {
                let (x, y) = (place(x, xs, LEFT, right), place(y, ys, bottom, TOP));
                let _ = write!(path, "{x:.1},{y:.1} ");
            }
            let y = TOP + 14.0 * number as f64 + 10.0;
            let _ = writeln!(
                svg,
                "<polyline points=\"{path}\" fill=\"none\" stroke=\"{colour}\" \
                 stroke-width=\"2\"/>\n<text x=\"{:.1}\" y=\"{y:.1}\" fill=\"{colour}\">{name}\
                 </text>",
                right + 10.0
            );
        }
        svg.push_str("</svg>\n");
        svg
    }
}

fn shown(decade: i32) -> String {
    match decade {
        ..=-1 => format!("{}", 10f64.powi(decade)),
        0..=2 => 10u64.pow(decade as u32).to_string(),
        3..=5 => format!("{}k", 10u64.pow(decade as u32 - 3)),
        6..=8 => format!("{}M", 10u64.pow(decade as u32 - 6)),
        _ => format!("1e{decade}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_has_a_line_for_each_curve_inside_of_its_frame() {
        let mut series = Series::new("n", "files", "us");
        for (x, y) in [(1.0, 50.0), (100.0, 60.0)] {
            series.add("fork", x, y);
            series.add("abort", x, y * 3.0);
        }
        let svg = series.svg();
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(svg.contains("points=\"60.0,"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert!(series.table().contains("| 100 | 60 | 180 |"));
    }
}
