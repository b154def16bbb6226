//! Axes and lines in SVG.

use std::fmt::Write as _;

use super::escape;

/// A range of values along an edge.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    from: f64,
    to: f64,
    is_log: bool,
}

impl Axis {
    /// From the first to the last, in equal steps.
    pub(super) fn linear(from: f64, to: f64) -> Self {
        let to = if to > from { to } else { from + 1.0 };
        Self { from, to, is_log: false }
    }

    /// Between these, both above zero, in equal ratios.
    pub(super) fn log(from: f64, to: f64) -> Self {
        let from = from.max(1e-9);
        let to = if to > from * 1.01 { to } else { from * 10.0 };
        Self { from, to, is_log: true }
    }

    /// Where a value lies: 0 at the first, 1 at the last.
    fn place(&self, value: f64) -> f64 {
        let share = if self.is_log {
            libm::log(value.max(1e-12) / self.from) / libm::log(self.to / self.from)
        } else {
            (value - self.from) / (self.to - self.from)
        };
        share.clamp(0.0, 1.0)
    }

    /// Round values within, some five of them.
    fn ticks(&self) -> Vec<f64> {
        if !self.is_log {
            let rough = (self.to - self.from) / 5.0;
            let power = libm::pow(10.0, libm::floor(libm::log10(rough)));
            let step =
                [1.0, 2.0, 5.0, 10.0].into_iter().map(|times| times * power).find(|&step| step >= rough);
            let step = step.unwrap_or(rough);
            let first = (self.from / step).ceil() * step;
            return (0..12)
                .map(|n| first + f64::from(n) * step)
                .filter(|&at| at <= self.to * 1.000_001)
                .collect();
        }
        let decades =
            (libm::floor(libm::log10(self.from)) as i32)..=(libm::ceil(libm::log10(self.to)) as i32);
        let wide = libm::log10(self.to / self.from) > 3.2;
        let digits: &[f64] = if wide { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let all =
            decades.flat_map(|decade| digits.iter().map(move |digit| digit * libm::pow(10.0, decade.into())));
        all.filter(|&at| at >= self.from * 0.999_999 && at <= self.to * 1.000_001).collect()
    }
}

/// A picture with two axes.
#[derive(Debug)]
pub(super) struct Plot {
    id: String,
    title: String,
    about: String,
    x: Axis,
    y: Axis,
    height: f64,
    body: String,
}

impl Plot {
    /// `id` is unique in the page; `about` tells what there is to be seen.
    pub(super) fn new(id: &str, title: &str, about: &str, x: Axis, y: Axis) -> Self {
        let (id, title, about) = (id.to_owned(), title.to_owned(), about.to_owned());
        Self { id, title, about, x, y, height: HEIGHT, body: String::new() }
    }

    /// Values and names of the edges.
    pub(super) fn axes(&mut self, x: (&str, &dyn Fn(f64) -> String), y: (&str, &dyn Fn(f64) -> String)) {
        let (right, bottom) = (WIDTH - RIGHT, self.height - BOTTOM);
        for tick in self.x.ticks() {
            let at = self.at_x(tick);
            let text = escape(&x.1(tick));
            let _ = write!(
                self.body,
                "<path class=grid d=\"M{at:.1} {TOP}V{bottom}\"/><text class=tx x={at:.1} y={:.0}>{text}</text>",
                bottom + 15.0
            );
        }
        for tick in self.y.ticks() {
            let at = self.at_y(tick);
            let text = escape(&y.1(tick));
            let _ = write!(
                self.body,
                "<path class=grid d=\"M{LEFT} {at:.1}H{right}\"/><text class=ty x={:.0} y={:.1}>{text}</text>",
                LEFT - 6.0,
                at + 4.0
            );
        }
        let _ = write!(
            self.body,
            "<text class=tx x={:.0} y={:.0}>{}</text><text class=tl x={LEFT} y={:.0}>{}</text>",
            f64::midpoint(LEFT, right),
            self.height - 4.0,
            escape(x.0),
            TOP - 8.0,
            escape(y.0)
        );
    }

    /// A line through points, which may have gaps (values that are not finite).
    pub(super) fn line(&mut self, class: &str, points: impl IntoIterator<Item = (f64, f64)>) {
        let mut path = String::new();
        let mut is_down = false;
        for (x, y) in points {
            if !(x.is_finite() && y.is_finite()) {
                is_down = false;
                continue;
            }
            let sign = if is_down { 'L' } else { 'M' };
            let _ = write!(path, "{sign}{:.1} {:.1}", self.at_x(x), self.at_y(y));
            is_down = true;
        }
        let _ = write!(self.body, "<path class=\"{class}\" d=\"{path}\"/>");
    }

    /// The space between two lines: where, low, high.
    pub(super) fn band(&mut self, class: &str, points: &[(f64, f64, f64)]) {
        let fine = || points.iter().filter(|point| point.1.is_finite() && point.2.is_finite());
        let mut path = String::new();
        for (number, &(x, low, _)) in fine().enumerate() {
            let sign = if number == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{sign}{:.1} {:.1}", self.at_x(x), self.at_y(low));
        }
        for &(x, _, high) in fine().rev() {
            let _ = write!(path, "L{:.1} {:.1}", self.at_x(x), self.at_y(high));
        }
        if !path.is_empty() {
            let _ = write!(self.body, "<path class=\"band {class}\" d=\"{path}Z\"/>");
        }
    }

    /// Cells in rows: `level` says how strong each is, from 0, which is left out, to 8.
    pub(super) fn cells(&mut self, columns: usize, rows: usize, level: impl Fn(usize, usize) -> u8) {
        let (width, height) = (WIDTH - LEFT - RIGHT, self.height - TOP - BOTTOM);
        let (step, thick) = (width / columns.max(1) as f64, height / rows.max(1) as f64);
        let mut paths: [String; 9] = Default::default();
        for row in 0..rows {
            let y = TOP + (row as f64 + 0.5) * thick;
            let mut column = 0;
            while column < columns {
                let own = level(column, row).min(8);
                let from = column;
                while column < columns && level(column, row).min(8) == own {
                    column += 1;
                }
                if own > 0 {
                    let (x, long) = (LEFT + from as f64 * step, (column - from) as f64 * step);
                    let _ = write!(paths[usize::from(own)], "M{x:.1} {y:.1}h{long:.1}");
                }
            }
        }
        for (own, path) in paths.iter().enumerate().filter(|(_, path)| !path.is_empty()) {
            let _ = write!(self.body, "<path class=\"heat h{own}\" stroke-width={thick:.2} d=\"{path}\"/>");
        }
    }

    /// The picture, in a figure with its title.
    pub(super) fn finish(self, legend: &str) -> String {
        let Self { id, title, about, height, body, .. } = self;
        let (title, about) = (escape(&title), escape(&about));
        format!(
            "<figure><figcaption>{title}</figcaption>\
             <svg viewBox=\"0 0 {WIDTH} {height}\" role=img aria-labelledby=\"{id}-t {id}-d\">\
             <title id={id}-t>{title}</title><desc id={id}-d>{about}</desc>{body}</svg>{legend}</figure>\n"
        )
    }

    fn at_x(&self, value: f64) -> f64 {
        LEFT + self.x.place(value) * (WIDTH - LEFT - RIGHT)
    }

    fn at_y(&self, value: f64) -> f64 {
        self.height - BOTTOM - self.y.place(value) * (self.height - TOP - BOTTOM)
    }
}

/// Names beside the colours of their lines.
pub(super) fn legend<'a>(entries: impl IntoIterator<Item = (String, &'a str)>) -> String {
    let mut text = String::from("<ul class=legend>");
    for (class, name) in entries {
        let _ = write!(
            text,
            "<li><svg width=26 height=10 aria-hidden=true><path class=\"{class}\" d=\"M1 5H25\"/></svg>{}</li>",
            escape(name)
        );
    }
    text + "</ul>"
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 42.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(Axis::linear(0.0, 1.0).ticks().len(), 6);
        assert_eq!(Axis::log(1.0, 1e4).ticks(), [1.0, 10.0, 100.0, 1000.0, 10_000.0]);
        assert_eq!(Axis::log(1.0, 10.0).ticks(), [1.0, 2.0, 5.0, 10.0]);
        for axis in
            [Axis::linear(0.0, 0.0), Axis::linear(3.0, 17.0), Axis::log(0.0, 0.0), Axis::log(5.0, 5.0)]
        {
            assert!((1..=13).contains(&axis.ticks().len()), "{axis:?} {:?}", axis.ticks());
        }
    }
}
