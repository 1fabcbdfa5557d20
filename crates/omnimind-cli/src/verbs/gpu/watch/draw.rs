//! Draws the live view into whatever space there is. What does not fit is left out, the least important first.

use std::time::Duration;

use gpu_probe::{Reading, Sample};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph, RenderDirection, Row, Sparkline, SparklineBar, Table};

use super::view::{Seen, View};
use crate::output::{Bytes, Percent, age};
use crate::verbs::gpu::Card;
use crate::verbs::gpu::card::{Forecast, Process};
use crate::verbs::gpu::report;

const DIM: Style = Style::new().add_modifier(Modifier::DIM);
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const GOOD: Style = Style::new().fg(Color::Green);
const WARN: Style = Style::new().fg(Color::Yellow);
const BAD: Style = Style::new().fg(Color::Red);
const LOAD: Style = Style::new().fg(Color::Cyan);

/// From this width on two charts stand side by side, and processes say how they were started.
const WIDE: u16 = 70;
/// From this height on there is a line of keys.
const HIGH: u16 = 8;

pub(super) fn draw(frame: &mut Frame<'_>, view: &View) {
    let area = frame.area();
    let Some(seen) = view.chosen() else {
        return frame.render_widget(Paragraph::new("no card answers yet; q ends"), area);
    };
    let facts = facts(&seen.card);
    let keys = u16::from(area.height >= HIGH);
    // Two lines must be, and each of the others takes its place only if the processes keep some.
    let room = area.height.saturating_sub(2 + keys);
    let texts = (1 + facts.len() as u16).min(room.saturating_sub(2));
    let room = room - texts;
    let chart = if room < 6 { 0 } else { (room / 2).clamp(3, 10) };
    let [title, gauge, text, charts, processes, help] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(texts),
        Constraint::Length(chart),
        Constraint::Fill(1),
        Constraint::Length(keys),
    ])
    .areas(area);
    frame.render_widget(title_line(view, seen), title);
    frame.render_widget(gauge_line(&seen.card, gauge.width, view.enter), gauge);
    let mut lines = vec![forecast_line(&seen.card)];
    lines.extend(facts);
    frame.render_widget(Paragraph::new(lines), text);
    draw_charts(frame, charts, seen, view.enter);
    draw_processes(frame, processes, &seen.card);
    let cards = if view.place().1 > 1 { "  ←→ card" } else { "" };
    let pause = if view.paused { "goes on" } else { "pause" };
    frame.render_widget(Line::styled(format!("q quit{cards}  p {pause}"), DIM), help);
}

fn title_line(view: &View, seen: &Seen) -> Line<'static> {
    let (place, count) = view.place();
    let mut spans = Vec::new();
    if view.paused {
        spans.push(Span::styled("PAUSED ", WARN.add_modifier(Modifier::BOLD)));
    }
    spans.push(Span::styled(format!("{} {}", seen.card.info.index, seen.card.info.name), BOLD));
    if count > 1 {
        spans.push(Span::styled(format!("  card {place} of {count}"), DIM));
    }
    let every = view.every.as_secs_f64();
    spans.push(Span::styled(format!("  every {every} s"), DIM));
    Line::from(spans)
}

fn gauge_line(card: &Card, width: u16, enter: f64) -> Line<'static> {
    let Some(memory) = &card.memory else {
        let reason = card.error.as_deref().unwrap_or("it does not answer");
        return Line::styled(reason.to_owned(), BAD);
    };
    let used = memory.used_fraction();
    let numbers = format!(" {} {}", Percent(used), report::of_total(memory));
    let room = usize::from(width).saturating_sub(5 + numbers.chars().count()).min(60);
    let full = (used * room as f64).round() as usize;
    Line::from(vec![
        Span::raw("VRAM "),
        Span::styled("█".repeat(full.min(room)), pressure(used, enter)),
        Span::styled("░".repeat(room.saturating_sub(full)), DIM),
        Span::styled(numbers, BOLD),
    ])
}

/// Above the share at which consolidating begins it is red, and yellow a little below.
fn pressure(used: f64, enter: f64) -> Style {
    match used {
        used if used > enter => BAD,
        used if used > 0.85 * enter => WARN,
        _ => GOOD,
    }
}

fn forecast_line(card: &Card) -> Line<'static> {
    if card.memory.is_none() {
        return Line::default();
    }
    let Some(Forecast { ahead_seconds, expected_fraction: expected, full_in_seconds, .. }) = card.forecast
    else {
        return Line::styled("no forecast yet", DIM);
    };
    let middle = format!("in {ahead_seconds} s {}", Percent(expected.middle));
    let likely = if expected.high - expected.low < 0.002 {
        middle
    } else {
        format!("{middle}, likely {:.1} to {:.1} %", 100.0 * expected.low, 100.0 * expected.high)
    };
    match full_in_seconds {
        Some(left) => Line::from(vec![
            Span::styled(format!("full in about {}", rounded(left)), BAD.add_modifier(Modifier::BOLD)),
            Span::raw(format!("; {likely}")),
        ]),
        None => Line::raw(likely),
    }
}

/// A time that is only about right: to a second below ten, to five below two minutes, else to its unit.
fn rounded(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 10.0 => format!("{seconds:.0} s"),
        seconds if seconds < 120.0 => format!("{:.0} s", (seconds / 5.0).round() * 5.0),
        seconds => age(Duration::from_secs_f64(seconds)),
    }
}

fn facts(card: &Card) -> Vec<Line<'static>> {
    let facts = report::facts(&card.info).into_iter().chain(report::pieces(card));
    facts
        .map(|(name, text)| Line::from(vec![Span::styled(format!("{name:<4} "), DIM), Span::raw(text)]))
        .collect()
}

fn draw_charts(frame: &mut Frame<'_>, area: Rect, seen: &Seen, enter: f64) {
    let used = |reading: &Reading| Some((1000.0 * reading.memory.used_fraction()).round() as u64);
    let load = |reading: &Reading| reading.utilisation_percent.map(|load| 10 * u64::from(load));
    let reports_load = seen.history.iter().filter_map(Sample::reading).any(|one| load(one).is_some());
    let style = pressure(seen.card.used_fraction.unwrap_or(0.0), enter);
    if area.width >= WIDE && reports_load {
        let [left, right] = Layout::horizontal([Constraint::Fill(1); 2]).areas(area);
        draw_chart(frame, left, "VRAM", style, &seen.history, used);
        draw_chart(frame, right, "load", LOAD, &seen.history, load);
    } else {
        draw_chart(frame, area, "VRAM", style, &seen.history, used);
    }
}

/// The newest on the right; what was not seen is a gap.
fn draw_chart(
    frame: &mut Frame<'_>,
    area: Rect,
    name: &str,
    style: Style,
    history: &[Sample],
    value: impl Fn(&Reading) -> Option<u64>,
) {
    let inside = usize::from(area.width.saturating_sub(2));
    let shown = history.get(history.len().saturating_sub(inside)..).unwrap_or_default();
    let span = match (shown.first(), shown.last()) {
        (Some(first), Some(last)) => last.at.saturating_sub(first.at),
        _ => Duration::ZERO,
    };
    let bars = shown.iter().rev().map(|sample| SparklineBar::from(sample.reading().and_then(&value)));
    let chart = Sparkline::default()
        .block(
            Block::new()
                .borders(Borders::ALL)
                .border_style(DIM)
                .title(format!(" {name}, last {} ", age(span))),
        )
        .data(bars.collect::<Vec<_>>())
        .max(1000)
        .direction(RenderDirection::RightToLeft)
        .absent_value_symbol("·")
        .absent_value_style(DIM)
        .style(style);
    frame.render_widget(chart, area);
}

fn draw_processes(frame: &mut Frame<'_>, area: Rect, card: &Card) {
    let processes = match card.processes.as_deref() {
        None => {
            return frame.render_widget(Line::styled("the driver does not tell who holds memory", DIM), area);
        }
        Some([]) => return frame.render_widget(Line::styled("nobody holds memory of this card", DIM), area),
        Some(processes) => processes,
    };
    let wide = area.width >= WIDE;
    // One line for the header, and one to say that there are more.
    let room = usize::from(area.height.saturating_sub(1));
    let left_out = if processes.len() > room { processes.len() - room.saturating_sub(1) } else { 0 };
    let shown = processes.get(..processes.len() - left_out).unwrap_or_default();
    let mut rows: Vec<Row<'_>> = shown.iter().map(|one| row(one, wide)).collect();
    if left_out > 0 {
        rows.push(Row::new([String::new(), format!("{left_out} more")]).style(DIM));
    }
    let narrow = [Constraint::Length(7), Constraint::Length(9), Constraint::Length(7), Constraint::Fill(1)];
    let all = [
        Constraint::Length(7),
        Constraint::Length(9),
        Constraint::Length(7),
        Constraint::Length(10),
        Constraint::Max(20),
        Constraint::Fill(1),
    ];
    let (header, widths): (&[&str], &[Constraint]) = if wide {
        (&["    pid", "    holds", "  share", "      grew", "process", "started as"], &all)
    } else {
        (&["    pid", "    holds", "  share", "process"], &narrow)
    };
    let header = Row::new(header.to_vec()).style(DIM);
    frame.render_widget(Table::new(rows, widths.to_vec()).header(header), area);
}

fn row(one: &Process, wide: bool) -> Row<'static> {
    let bytes = |bytes: Option<u64>| bytes.map_or_else(String::new, |bytes| Bytes(bytes).to_string());
    let share = one.used_fraction.map_or_else(String::new, |share| Percent(share).to_string());
    let mut cells =
        vec![format!("{:>7}", one.of.pid), format!("{:>9}", bytes(one.of.used_bytes)), format!("{share:>7}")];
    if wide {
        let more = one.more_bytes.map_or_else(String::new, |more| format!("+{}", Bytes(more)));
        cells.push(format!("{more:>10}"));
    }
    cells.push(report::name(one));
    if wide {
        cells.push(one.of.command_line.clone().unwrap_or_default());
    }
    let row = Row::new(cells);
    if one.more_bytes.is_some() { row.style(WARN) } else { row }
}
