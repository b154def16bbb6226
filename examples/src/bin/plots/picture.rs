//! The looks that all plots share.

use std::error::Error;

use plotters::coord::Shift;
use plotters::prelude::*;

/// An axis: what it measures, from where to where.
pub(crate) struct Axis {
    pub(crate) title: &'static str,
    pub(crate) from: f64,
    pub(crate) to: f64,
}

/// A named line.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Draws on an empty white canvas and gives the SVG.
pub(crate) fn canvas(
    size: (u32, u32),
    draw: impl FnOnce(&DrawingArea<SVGBackend<'_>, Shift>) -> Result<(), Box<dyn Error>>,
) -> Result<String, Box<dyn Error>> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE)?;
        draw(&area)?;
        area.present()?;
    }
    Ok(svg)
}

/// Lines over a logarithmic x axis.
pub(crate) fn lines(title: &str, x: &Axis, y: &Axis, lines: &[Line]) -> Result<String, Box<dyn Error>> {
    canvas((860, 460), |area| {
        let mut chart = ChartBuilder::on(area)
            .caption(title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(52)
            .build_cartesian_2d((x.from..x.to).log_scale(), y.from..y.to)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_desc(x.title)
            .y_desc(y.title)
            .x_label_formatter(&|x| format!("{x:.0}"))
            .draw()?;
        for (index, line) in lines.iter().enumerate() {
            let colour = colour(index);
            chart
                .draw_series(LineSeries::new(line.points.iter().copied(), colour.stroke_width(2)))?
                .label(&line.name)
                .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(2)));
            chart.draw_series(line.points.iter().map(|&point| Circle::new(point, 3, colour.filled())))?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.3))
            .draw()?;
        Ok(())
    })
}

/// Bars one below the other, each with its name and its figure, and a line at a value that all should be held against.
pub(crate) fn bars(
    title: &str,
    unit: &str,
    bars: &[(String, f64)],
    mark: (f64, &str),
) -> Result<String, Box<dyn Error>> {
    let greatest = bars.iter().map(|&(_, value)| value).fold(mark.0, f64::max);
    let height = 90 + 30 * bars.len() as u32;
    canvas((860, height), |area| {
        area.draw(&Text::new(title.to_owned(), (24, 16), ("sans-serif", 18)))?;
        let place = |value: f64| 330 + (value / greatest * 440.0) as i32;
        let bottom = 52 + 30 * bars.len() as i32;
        for (index, (name, value)) in bars.iter().enumerate() {
            let top = 52 + 30 * index as i32;
            area.draw(&Text::new(name.clone(), (24, top + 4), ("sans-serif", 14)))?;
            area.draw(&Rectangle::new([(330, top), (place(*value), top + 20)], colour(0).filled()))?;
            area.draw(&Text::new(
                format!("{value:.1} {unit}"),
                (place(*value) + 8, top + 4),
                ("sans-serif", 13),
            ))?;
        }
        area.draw(&PathElement::new(
            vec![(place(mark.0), 46), (place(mark.0), bottom)],
            BLACK.stroke_width(1),
        ))?;
        area.draw(&Text::new(mark.1.to_owned(), (place(mark.0) - 40, bottom + 4), ("sans-serif", 13)))?;
        Ok(())
    })
}

/// Colours that stay apart for most eyes: those of Okabe and Ito.
pub(crate) const fn colour(index: usize) -> RGBColor {
    const COLOURS: [RGBColor; 8] = [
        RGBColor(0, 114, 178),
        RGBColor(213, 94, 0),
        RGBColor(0, 158, 115),
        RGBColor(204, 121, 167),
        RGBColor(230, 159, 0),
        RGBColor(86, 180, 233),
        RGBColor(0, 0, 0),
        RGBColor(148, 148, 40),
    ];
    COLOURS[index % COLOURS.len()]
}
