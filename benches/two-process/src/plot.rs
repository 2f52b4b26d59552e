//! Drawings of a report.

use crate::channel::Failure;
use crate::record::Report;
use crate::run::Measure;
use crate::summary::Series;
use plotters::coord::combinators::LogCoord;
use plotters::coord::ranged1d::{KeyPointHint, Ranged, ValueFormatter};
use plotters::prelude::*;
use std::fs;
use std::ops::Range;
use std::path::Path;

const SIZE: (u32, u32) = (1000, 640);
/// How much broader than the curves a drawing is, for their names at the right.
const ROOM_FOR_NAMES: f64 = 1.25;

/// A line of a drawing.
struct Curve {
    name: String,
    points: Vec<(f64, f64)>,
}

/// Draws everything there is to draw.
pub(crate) fn draw(report: &Report, directory: &Path) -> Result<(), Failure> {
    fs::create_dir_all(directory)?;
    for &size in Measure::Roundtrip.sizes() {
        let curves = latencies(report, size);
        if !curves.is_empty() {
            let path = directory.join(format!("roundtrip-{size}.svg"));
            percentiles(&path, &format!("Round trips of {size} bytes"), &curves)?;
        }
    }
    for (measure, title) in [(Measure::Stream, "one at a time"), (Measure::Batch, "in batches of up to 32")] {
        let curves = rates(report, measure);
        if !curves.is_empty() {
            let path = directory.join(format!("{}.svg", measure.name()));
            throughput(&path, &format!("Messages per second, {title}"), &curves)?;
        }
    }
    Ok(())
}

/// How many nines a share in percent has: 90 has one, 99 two.
fn nines(share: f64) -> f64 {
    -(1.0 - share / 100.0).log10()
}

fn latencies(report: &Report, size: usize) -> Vec<Curve> {
    let series = Series::of(&report.records, Measure::Roundtrip, size);
    let curve = |system: &str| Curve {
        name: system.to_owned(),
        points: series
            .shares(system)
            .into_iter()
            .filter(|share| *share < 100.0)
            .filter_map(|share| Some((nines(share), series.percentile(system, share)?)))
            .collect(),
    };
    series.systems().into_iter().map(|record| curve(&record.system)).collect()
}

fn rates(report: &Report, measure: Measure) -> Vec<Curve> {
    let mut curves: Vec<Curve> = Vec::new();
    for &size in measure.sizes() {
        let series = Series::of(&report.records, measure, size);
        for record in series.systems() {
            let Some(figure) = series.figure(&record.system) else { continue };
            let point = (size as f64, 1e9 / figure.median);
            match curves.iter_mut().find(|curve| curve.name == record.system) {
                Some(curve) => curve.points.push(point),
                None => curves.push(Curve { name: record.system.clone(), points: vec![point] }),
            }
        }
    }
    curves
}

/// The least and the most of a coordinate, with some room.
fn extent(curves: &[Curve], pick: fn(&(f64, f64)) -> f64) -> Range<f64> {
    let all = || curves.iter().flat_map(|curve| &curve.points).map(pick);
    all().fold(f64::INFINITY, f64::min) * 0.7..all().fold(0.0, f64::max) * 1.4
}

/// 1500 as 1.5k.
fn si(value: &f64) -> String {
    let (unit, sign) = match *value {
        value if value >= 1e9 => (1e9, "G"),
        value if value >= 1e6 => (1e6, "M"),
        value if value >= 1e3 => (1e3, "k"),
        _ => (1.0, ""),
    };
    format!("{}{sign}", value / unit)
}

/// Nines, labelled as percents.
struct Nines(Range<f64>);

impl Ranged for Nines {
    type FormatOption = plotters::coord::ranged1d::NoDefaultFormatting;
    type ValueType = f64;
    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let share = (value - self.0.start) / (self.0.end - self.0.start);
        #[expect(clippy::cast_possible_truncation, reason = "a place on the drawing")]
        let place = (f64::from(limit.1 - limit.0) * share) as i32;
        limit.0 + place
    }
    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        [0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999]
            .into_iter()
            .map(nines)
            .filter(|at| *at <= self.0.end)
            .collect()
    }
    fn range(&self) -> Range<f64> {
        self.0.clone()
    }
}

impl ValueFormatter<f64> for Nines {
    fn format_ext(&self, value: &f64) -> String {
        let share = 100.0 - 100.0 / 10_f64.powf(*value);
        format!("{}", (share * 1000.0).round() / 1000.0)
    }
}

fn percentiles(path: &Path, title: &str, curves: &[Curve]) -> Result<(), Failure> {
    let end = curves.iter().flat_map(|curve| &curve.points).map(|point| point.0).fold(1.0, f64::max);
    let y = extent(curves, |point| point.1);
    chart(
        path,
        title,
        curves,
        Nines(0.0..end * ROOM_FOR_NAMES),
        y,
        ["percent of the round trips", "ns, not exceeded by so many"],
    )
}

fn throughput(path: &Path, title: &str, curves: &[Curve]) -> Result<(), Failure> {
    let sizes = extent(curves, |point| point.0);
    let end = sizes.end * (sizes.end / sizes.start).powf(ROOM_FOR_NAMES - 1.0);
    let x: LogCoord<f64> = (sizes.start..end).log_scale().into();
    let y = extent(curves, |point| point.1);
    chart(path, title, curves, x, y, ["bytes of a message", "messages per second"])
}

fn chart<X>(
    path: &Path,
    title: &str,
    curves: &[Curve],
    x: X,
    y: Range<f64>,
    axes: [&str; 2],
) -> Result<(), Failure>
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    let failed = |error: &dyn std::fmt::Display| Failure::from(format!("{}: {error}", path.display()));
    area.fill(&WHITE).map_err(|error| failed(&error))?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 22))
        .margin(15)
        .x_label_area_size(45)
        .y_label_area_size(80)
        .build_cartesian_2d(x, y.log_scale())
        .map_err(|error| failed(&error))?;
    let mut mesh = chart.configure_mesh();
    mesh.x_desc(axes[0])
        .y_desc(axes[1])
        .light_line_style(WHITE)
        .label_style(("sans-serif", 14))
        .y_label_formatter(&si);
    mesh.draw().map_err(|error| failed(&error))?;
    for (n, curve) in curves.iter().enumerate() {
        let colour = Palette99::pick(n).to_rgba();
        // The library's own lines are drawn broader.
        let width = if curve.name.starts_with("slipring") { 4 } else { 2 };
        let line = LineSeries::new(curve.points.iter().copied(), colour.stroke_width(width)).point_size(3);
        let drawn = chart.draw_series(line).map_err(|error| failed(&error))?;
        drawn
            .label(curve.name.as_str())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(width)));
    }
    let mut labels = chart.configure_series_labels();
    labels
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .label_font(("sans-serif", 14));
    labels.draw().map_err(|error| failed(&error))?;
    area.present().map_err(|error| failed(&error))
}
