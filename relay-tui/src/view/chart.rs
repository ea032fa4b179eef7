//! Columns over time. A second that was not seen stays blank; nothing is joined over it.

use super::pen::Pen;
use super::theme::Tone;
use crate::model::Model;
use crate::model::layout::Area;
use crate::model::series::{SAMPLES_MAX, Series, per_column};

/// Dots of a braille cell, left and right column, from the bottom.
const DOTS: [[u32; 4]; 2] = [[0x40, 0x04, 0x02, 0x01], [0x80, 0x20, 0x10, 0x08]];
/// The empty braille cell.
const BRAILLE: u32 = 0x2800;

fn samples_of_a_cell(pen: &Pen<'_>) -> usize {
    if pen.glyphs.braille { 2 } else { 1 }
}

/// The time that a chart of this width really shows: `60s`, `3 min`, `5m24s`.
pub(crate) fn range(pen: &Pen<'_>, model: &Model, width: u16) -> String {
    let columns = usize::from(width) * samples_of_a_cell(pen);
    let seconds = (per_column(columns, model.range_s) * columns).min(SAMPLES_MAX);
    match (seconds / 60, seconds % 60) {
        (0..=1, _) => format!("{seconds}s"),
        (minutes, 0) => format!("{minutes} min"),
        (minutes, rest) => format!("{minutes}m{rest:02}s"),
    }
}

/// Draws the last `seconds` of a series. `full` reaches the top, or the greatest value if that is
/// more.
pub(crate) fn columns(pen: &mut Pen<'_>, area: Area, series: &Series, seconds: usize, full: f32) {
    if area.width == 0 || area.height == 0 {
        return;
    }
    let per_cell = samples_of_a_cell(pen);
    let values = series.columns(usize::from(area.width) * per_cell, seconds);
    let most = values.iter().flatten().copied().fold(full, f32::max);
    let marks = if area.height == 1 { pen.glyphs.ramp } else { pen.glyphs.steps };
    let steps = if pen.glyphs.braille { 4 } else { marks.len() };
    let all = steps * usize::from(area.height);
    let heights: Vec<usize> = values.iter().map(|value| height(*value, most, all)).collect();
    for (column, cell) in heights.chunks(per_cell).enumerate() {
        let x = area.x + u16::try_from(column).unwrap_or(u16::MAX);
        for row in 0..area.height {
            let below = usize::from(area.height - 1 - row) * steps;
            let within = |height: usize| height.saturating_sub(below).min(steps);
            if pen.glyphs.braille {
                let dots = cell.iter().zip(DOTS).fold(0, |dots, (height, column)| {
                    dots | column.iter().take(within(*height)).sum::<u32>()
                });
                if let (1.., Some(c)) = (dots, char::from_u32(BRAILLE + dots)) {
                    pen.text(x, area.y + row, 1, c.encode_utf8(&mut [0; 4]), Tone::Good);
                }
            } else if let Some(step) = within(cell[0]).checked_sub(1) {
                pen.text(x, area.y + row, 1, marks[step], Tone::Good);
            }
        }
    }
}

/// Steps of a value: nothing for none, at least one for any that is not zero.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a chart of some dozen steps"
)]
fn height(value: Option<f32>, most: f32, full: usize) -> usize {
    match value {
        Some(value) if value > 0.0 && most > 0.0 => {
            ((value / most * full as f32).round() as usize).clamp(1, full)
        }
        _ => 0,
    }
}
