//! What the live view shows, and what a key changes about it. Knows no terminal and no card.

use std::time::Duration;

use gpu_probe::Sample;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::verbs::gpu::Card;

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    GoOn,
    End,
}

#[derive(Debug)]
pub(super) struct View {
    pub(super) every: Duration,
    /// The share above which to consolidate.
    pub(super) enter: f64,
    pub(super) paused: bool,
    chosen: usize,
    cards: Vec<Seen>,
}

/// One card: what it is like now, and what it was like.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) card: Card,
    pub(super) history: Vec<Sample>,
}

impl View {
    pub(super) fn new(every: Duration, enter: f64) -> Self {
        Self { every, enter, paused: false, chosen: 0, cards: Vec::new() }
    }

    /// Takes what was seen, unless it is paused.
    pub(super) fn take(&mut self, cards: Vec<Card>, history: impl Fn(u32) -> Vec<Sample>) {
        if !self.paused || self.cards.is_empty() {
            let seen = cards.into_iter().map(|card| Seen { history: history(card.info.index), card });
            self.cards = seen.collect();
        }
    }

    /// The card to show.
    pub(super) fn chosen(&self) -> Option<&Seen> {
        self.cards.get(self.chosen)
    }

    /// Which of how many, from 1.
    pub(super) fn place(&self) -> (usize, usize) {
        (self.chosen + 1, self.cards.len())
    }

    pub(super) fn press(&mut self, key: KeyEvent) -> Flow {
        let count = self.cards.len().max(1);
        match key.code {
            KeyCode::Char('q' | 'Q') | KeyCode::Esc => return Flow::End,
            KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => return Flow::End,
            KeyCode::Char('p' | 'P' | ' ') => self.paused = !self.paused,
            KeyCode::Right | KeyCode::Down | KeyCode::Tab => self.chosen = (self.chosen + 1) % count,
            KeyCode::Left | KeyCode::Up | KeyCode::BackTab => self.chosen = (self.chosen + count - 1) % count,
            _ => {}
        }
        Flow::GoOn
    }
}
