//! A card that several processes share: how it is made and joined, and how every call keeps to its book.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::book::{Book, Turn};
use super::card::{Card, Elsewhere, own_name};
use super::{SimulatedCard, SimulatedGpu};
use crate::error::Result;

/// Names the book of the shared card that [`detect`](crate::detect()) takes instead of a real one.
pub const SHARED_CARD_VARIABLE: &str = "OMNIMIND_SIMULATED_CARD";

impl SimulatedGpu {
    /// One card that all processes share which name the same book. It is made, with this capacity in bytes (in whole granules of
    /// 512), where it is not there yet. What this card holds is free for the others when it is dropped, or its process ends.
    ///
    /// ```
    /// use gpu_probe::{DeviceMemory, Error, GpuProbe, SimulatedGpu};
    ///
    /// # let scratch = std::env::temp_dir().join(format!("shared-card-{}", std::process::id()));
    /// # std::fs::create_dir_all(&scratch)?;
    /// # let book = scratch.join("card");
    /// let ours = SimulatedGpu::shared(&book, 4 << 20)?;
    /// let theirs = SimulatedGpu::join(&book)?; // in another process, as a rule
    /// let held = ours.allocate(0, 3 << 20)?;
    /// assert_eq!(theirs.memory(0)?.free_bytes, 1 << 20);
    /// assert!(matches!(theirs.allocate(0, 2 << 20), Err(Error::OutOfMemory(_))));
    /// ours.free(held)?;
    /// # let _ = theirs.allocate(0, 4 << 20)?;
    /// # std::fs::remove_dir_all(scratch)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::SharedCard`](crate::Error::SharedCard) if the book cannot be opened, is damaged, or says another capacity; or on
    /// a system without `/proc`.
    pub fn shared(path: &Path, capacity_bytes: u64) -> Result<Self> {
        Self::over(path, Some(capacity_bytes))
    }

    /// One card that others share already, with the capacity that its book says.
    ///
    /// # Errors
    /// As [`shared`](Self::shared), or if there is no such book.
    pub fn join(path: &Path) -> Result<Self> {
        Self::over(path, None)
    }

    /// The shared card whose book the environment variable [`SHARED_CARD_VARIABLE`] names; `None` if it is not set, or empty.
    #[must_use]
    pub fn shared_from_environment() -> Option<Result<Self>> {
        let path = std::env::var_os(SHARED_CARD_VARIABLE).filter(|path| !path.is_empty())?;
        Some(Self::join(Path::new(&path)))
    }

    fn over(path: &Path, capacity_bytes: Option<u64>) -> Result<Self> {
        let book = Book::open(path, capacity_bytes, &own_name().unwrap_or_default())?;
        let card = SimulatedCard {
            name: "Simulated GPU (shared)".into(),
            capacity_bytes: book.capacity_bytes(),
            ..SimulatedCard::default()
        };
        Ok(Self { book: Some(Mutex::new(book)), ..Self::with_cards([card]) })
    }

    /// Looks at a card, with what others hold of it now.
    pub(super) fn look<T>(
        &self,
        mut card: MutexGuard<'_, Card>,
        question: impl FnOnce(&Card) -> T,
    ) -> Result<T> {
        if let Some(book) = &self.book {
            read(&mut card, &lock(book).turn()?);
        }
        Ok(question(&card))
    }

    /// Changes what a card holds. If it is shared, nobody else does so meanwhile, and the book says so afterwards.
    pub(super) fn change<T>(
        &self,
        mut card: MutexGuard<'_, Card>,
        work: impl FnOnce(&mut Card) -> Result<T>,
    ) -> Result<T> {
        let Some(book) = &self.book else { return work(&mut card) };
        let mut book = lock(book);
        let mut turn = book.turn()?;
        read(&mut card, &turn);
        turn.reserve()?;
        let done = work(&mut card);
        // Of two writes to one place only the first can find the disk full. Should this one fail all the same, the book says too
        // much until the next change.
        drop(turn.settle(card.held_bytes()));
        done
    }
}

fn read(card: &mut Card, turn: &Turn<'_>) {
    let elsewhere = Elsewhere { processes: turn.others(), beside_bytes: turn.beside_bytes() };
    card.set_elsewhere(elsewhere, turn.limit_bytes());
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}
