//! The live view: a terminal that is asked for keys and drawn on, and given back as it was, whatever happens.
//!
//! What is shown ([`view`]) and how ([`draw`]) know no terminal.

mod draw;
mod ending;
#[cfg(test)]
mod tests;
mod view;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gpu_probe::{GpuProbe, Sampler};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};

use self::ending::Ending;
use self::view::{Flow, View};
use super::Card;
use crate::failure::Failure;

/// How soon a signal is noticed.
const PATIENCE: Duration = Duration::from_millis(100);

/// Shows the cards until somebody ends it.
pub(super) fn run(
    sampler: &Sampler,
    gpu: &Arc<dyn GpuProbe>,
    enter: f64,
    every: Duration,
) -> Result<(), Failure> {
    let ending = Ending::expect().map_err(failed)?;
    // Gives the terminal back if anything panics, too.
    let mut terminal = ratatui::try_init().map_err(|error| {
        drop(ratatui::try_restore());
        failed(error)
    })?;
    let shown = show(&mut terminal, sampler, gpu, enter, every, &ending);
    let restored = ratatui::try_restore();
    ending.follow();
    shown.and(restored).map_err(failed)
}

fn show(
    terminal: &mut DefaultTerminal,
    sampler: &Sampler,
    gpu: &Arc<dyn GpuProbe>,
    enter: f64,
    every: Duration,
    ending: &Ending,
) -> io::Result<()> {
    let mut view = View::new(every, enter);
    let mut due = Instant::now();
    loop {
        if Instant::now() >= due {
            let recorder = sampler.recorder();
            view.take(Card::all(recorder, &**gpu, enter), |device| recorder.history(device));
            // Nobody sees more than ten pictures a second.
            due = Instant::now() + every.max(PATIENCE);
        }
        terminal.draw(|frame| draw::draw(frame, &view))?;
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if ending.is_asked_for() {
                return Ok(());
            }
            if left.is_zero() {
                break;
            }
            if !event::poll(left.min(PATIENCE))? {
                continue;
            }
            match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release => {
                    if view.press(key) == Flow::End {
                        return Ok(());
                    }
                    break;
                }
                Event::Resize(..) => break,
                _ => {}
            }
        }
    }
}

fn failed(source: io::Error) -> Failure {
    Failure::Io {
        what: "the terminal".to_owned(),
        source,
        next: "leave out --watch, or use --watch --json, which needs none",
    }
}
