// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! One picture: lines over a few named places, each line with its name at its end.
//!
//! The colours can be told apart by colour-blind readers (Okabe and Ito's palette) and stand out
//! from light and dark pages; the page's own colours follow what the reader prefers.

use anyhow::{Result, anyhow};
use core::ops::Range;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

const SIZE: (u32, u32) = (720, 400);
/// Room for names at the ends of lines.
const NAMES: i32 = 176;
/// Most numbers at the left.
const MARKS: usize = 16;
/// Least distance between two names.
const LINE_HEIGHT: f64 = 17.0;
/// Above this ratio of the greatest to the least, values are shown by their logarithm.
const WIDE: f64 = 30.0;

const PAPER: RGBColor = RGBColor(0xff, 0xff, 0xff);
const INK: RGBColor = RGBColor(0x1f, 0x23, 0x28);
const GRID: RGBColor = RGBColor(0xd8, 0xde, 0xe4);
const DARK_MODE: &str = "<style>@media (prefers-color-scheme: dark) { \
[fill=\"#FFFFFF\"] { fill: #0D1117 } [fill=\"#1F2328\"] { fill: #E6EDF3 } \
[stroke=\"#1F2328\"] { stroke: #E6EDF3 } [stroke=\"#D8DEE4\"] { stroke: #30363D } }</style>\n";

/// Whose line it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ink {
    /// The engine.
    First,
    /// The engine in another way.
    Second,
    /// What it is compared with.
    Limit,
    /// That in another way.
    SecondLimit,
}

impl Ink {
    const fn color(self) -> RGBColor {
        match self {
            Self::First => RGBColor(0x00, 0x82, 0xc8),
            Self::Second => RGBColor(0xd5, 0x5e, 0x00),
            Self::Limit | Self::SecondLimit => RGBColor(0x80, 0x80, 0x80),
        }
    }

    const fn is_dashed(self) -> bool {
        matches!(self, Self::SecondLimit)
    }
}

/// A line; a place without value interrupts nothing, it is left out.
pub struct Line {
    /// The name at its end.
    pub name: &'static str,
    /// How it looks.
    pub ink: Ink,
    /// Values by place.
    pub values: Vec<Option<f64>>,
}

/// A picture.
pub struct Picture<'a> {
    /// What it shows.
    pub title: &'a str,
    /// What the places are.
    pub places_are: &'a str,
    /// Unit of the values.
    pub unit: &'a str,
    /// Names of the places, from left to right.
    pub places: Vec<String>,
    /// The lines.
    pub lines: Vec<Line>,
}

/// A scale from a value to its height.
#[derive(Clone, Copy)]
struct Scale {
    log: bool,
}

impl Scale {
    fn height(self, value: f64) -> f64 {
        if self.log { value.max(1e-3).log10() } else { value }
    }

    fn value(self, height: f64) -> f64 {
        if self.log { 10f64.powf(height) } else { height }
    }

    /// Round values from one that is not above `least` to one that is not below `most`: 1, 2 and
    /// 5 times powers of ten, or powers of ten alone if there are many; or equal steps from zero.
    fn marks(self, least: f64, most: f64) -> Vec<f64> {
        let round = [1.0, 2.0, 5.0];
        let decade = |value: f64| 10f64.powi(value.max(1e-3).log10().floor() as i32);
        if !self.log {
            let fifth = most / 5.0;
            let steps = round.map(|n| n * decade(fifth)).into_iter().chain([10.0 * decade(fifth)]);
            let step = steps.into_iter().find(|step| *step >= fifth).unwrap_or(fifth);
            return (0..=(most / step).ceil() as usize).map(|n| n as f64 * step).collect();
        }
        let factors = if most / least > 1000.0 { &round[..1] } else { &round[..] };
        let from = decade(least);
        let powers = (0..12).map(|n| from * 10f64.powi(n));
        let all: Vec<f64> =
            powers.flat_map(|power| factors.iter().map(move |f| f * power)).collect();
        let first = all.iter().rposition(|mark| *mark <= least).unwrap_or(0);
        let last = all.iter().position(|mark| *mark >= most).unwrap_or(all.len() - 1);
        all[first..=last].to_vec()
    }
}

/// Heights with the marks that the scale chose.
struct Axis {
    scale: Scale,
    marks: Vec<f64>,
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, height: &f64, limit: (i32, i32)) -> i32 {
        let Range { start, end } = self.range();
        let share = (height - start) / (end - start);
        limit.0 + (share * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.marks.clone()
    }

    fn range(&self) -> Range<f64> {
        let ends = self.marks.first().zip(self.marks.last());
        ends.map_or(0.0..1.0, |(first, last)| *first..*last)
    }
}

impl ValueFormatter<f64> for Axis {
    fn format(height: &f64) -> String {
        number(*height)
    }

    fn format_ext(&self, height: &f64) -> String {
        number(self.scale.value(*height))
    }
}

impl Picture<'_> {
    /// The picture as SVG.
    pub fn svg(&self) -> Result<String> {
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
            self.draw(&area).map_err(|error| anyhow!("{}: {error}", self.title))?;
            area.present()?;
        }
        let end = svg.find('>').map_or(0, |at| at + 1);
        svg.insert_str(end, &format!("\n<title>{}</title>\n{DARK_MODE}", self.title));
        Ok(svg)
    }

    fn values(&self) -> impl Iterator<Item = f64> {
        self.lines.iter().flat_map(|line| line.values.iter().flatten().copied())
    }

    fn draw(&self, area: &DrawingArea<SVGBackend<'_>, Shift>) -> Result<()> {
        area.fill(&PAPER)?;
        let (least, most) =
            self.values().fold((f64::INFINITY, 0f64), |(a, b), v| (a.min(v), b.max(v)));
        let scale = Scale { log: most / least > WIDE };
        let marks = scale.marks(least, most);
        let axis = Axis { scale, marks: marks.into_iter().map(|m| scale.height(m)).collect() };
        let last = self.places.len().saturating_sub(1) as f64;
        let mut chart = ChartBuilder::on(area)
            .caption(self.title, ("sans-serif", 20).into_font().color(&INK))
            .margin(12)
            .margin_right(NAMES)
            .x_label_area_size(50)
            .y_label_area_size(88)
            .build_cartesian_2d(-0.15..last + 0.15, axis)?;
        let place = |x: &f64| {
            let near = (x - x.round()).abs() < 0.01;
            let name = self.places.get(x.round() as usize);
            name.filter(|_| near).cloned().unwrap_or_default()
        };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(GRID)
            .x_labels(self.places.len())
            .y_labels(MARKS)
            .x_label_formatter(&place)
            .x_desc(self.places_are)
            .y_desc(self.unit)
            .label_style(("sans-serif", 16).into_font().color(&INK))
            .axis_desc_style(("sans-serif", 16).into_font().color(&INK))
            .draw()?;
        let mut ends = Vec::new();
        for line in &self.lines {
            let points = line.points(scale);
            let style = line.ink.color().stroke_width(2);
            if line.ink.is_dashed() {
                chart.draw_series(DashedLineSeries::new(points.iter().copied(), 6, 4, style))?;
            } else {
                chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
                let dot = |point: &(f64, f64)| Circle::new(*point, 3, line.ink.color().filled());
                chart.draw_series(points.iter().map(dot))?;
            }
            if let Some(end) = points.last() {
                let (x, y) = chart.backend_coord(end);
                ends.push((line, x, f64::from(y)));
            }
        }
        name_lines(area, ends)
    }
}

impl Line {
    fn points(&self, scale: Scale) -> Vec<(f64, f64)> {
        let points = self.values.iter().enumerate();
        points.filter_map(|(x, value)| Some((x as f64, scale.height((*value)?)))).collect()
    }
}

/// Writes each line's name beside its end, and no name over another.
fn name_lines(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    mut ends: Vec<(&Line, i32, f64)>,
) -> Result<()> {
    ends.sort_by(|a, b| a.2.total_cmp(&b.2));
    let mut heights: Vec<f64> = ends.iter().map(|(_, _, y)| *y).collect();
    spread(&mut heights, LINE_HEIGHT);
    for ((line, x, _), y) in ends.iter().zip(heights) {
        let style = ("sans-serif", 16).into_font().color(&line.ink.color());
        let style = style.pos(Pos::new(HPos::Left, VPos::Center));
        area.draw(&Text::new(line.name, (x + 16, y.round() as i32), style))
            .map_err(|error| anyhow!("{error}"))?;
    }
    Ok(())
}

/// Moves sorted values apart, as little as possible, until each is `least` from the next.
fn spread(values: &mut [f64], least: f64) {
    for _ in 0..100 {
        let mut moved = false;
        for at in 1..values.len() {
            let missing = least - (values[at] - values[at - 1]);
            if missing > 0.01 {
                values[at - 1] -= missing / 2.0;
                values[at] += missing / 2.0;
                moved = true;
            }
        }
        if !moved {
            return;
        }
    }
}

/// A number with blanks between thousands.
pub fn number(value: f64) -> String {
    if value < 10.0 && (value - value.round()).abs() > 0.05 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        let texts = [0.0, 0.5, 7.0, 1_000.0, 1_000_000.0].map(number);
        assert_eq!(texts, ["0", "0.5", "7", "1 000", "1 000 000"]);
    }

    #[test]
    fn marks_are_round_and_enclose_all_values() {
        let marks = |log, least, most| Scale { log }.marks(least, most);
        assert_eq!(marks(false, 12.0, 78.0), [0.0, 20.0, 40.0, 60.0, 80.0]);
        assert_eq!(marks(true, 11.9, 190.0), [10.0, 20.0, 50.0, 100.0, 200.0]);
        assert_eq!(marks(true, 600.0, 2e6).len(), 6);
    }

    #[test]
    fn names_are_moved_apart() {
        let mut heights = [10.0, 12.0, 50.0];
        spread(&mut heights, 10.0);
        assert_eq!(heights, [6.0, 16.0, 50.0]);
    }

    #[test]
    fn a_picture_has_all_its_lines_and_both_modes() {
        let line = |name, ink| Line { name, ink, values: vec![Some(1.0), None, Some(90.0)] };
        let places = ["1", "2", "3"].map(String::from).to_vec();
        let lines = vec![line("ours", Ink::First), line("theirs", Ink::SecondLimit)];
        let picture = Picture { title: "Cost", places_are: "size", unit: "ns", places, lines };
        let svg = picture.svg().unwrap();
        for text in ["ours", "theirs", "<title>Cost</title>", "prefers-color-scheme: dark"] {
            assert!(svg.contains(text), "{text}");
        }
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    }
}
