//! What the pipeline needs of a card: a few lanes to launch kernels and copy on. Implemented by whoever talks to a driver.

/// A card that has loaded [`PTX`](super::PTX).
///
/// Work of one lane is done in the order in which it was given; lanes run beside each other, so that one computes while another
/// copies.
pub trait Card {
    /// What a failing card says.
    type Error: std::error::Error + Send + Sync + 'static;

    /// How many lanes there are; at least 1.
    fn lanes(&self) -> usize;

    /// Address and bytes of the scratch of a lane, aligned to 256 bytes.
    fn scratch(&self, lane: usize) -> (u64, u64);

    /// Bytes of the staging memory of each lane: host memory that the card copies from and to.
    fn staging_bytes(&self) -> usize;

    /// Issues a kernel: `grid` blocks of `threads` threads. Each argument fills one parameter; a parameter of four bytes takes
    /// the lower half.
    ///
    /// # Errors
    /// If the card refuses. A fault while the kernel runs may be reported by a later call on the lane.
    fn launch(
        &mut self,
        lane: usize,
        kernel: &str,
        grid: u32,
        threads: u32,
        arguments: &[u64],
    ) -> Result<(), Self::Error>;

    /// Issues a copy from the card into the staging memory of the lane.
    ///
    /// # Errors
    /// As [`launch`](Self::launch).
    fn fetch(
        &mut self,
        lane: usize,
        from_address: u64,
        to_staging: usize,
        bytes: usize,
    ) -> Result<(), Self::Error>;

    /// Issues a copy from the staging memory of the lane to the card.
    ///
    /// # Errors
    /// As [`launch`](Self::launch).
    fn send(
        &mut self,
        lane: usize,
        from_staging: usize,
        to_address: u64,
        bytes: usize,
    ) -> Result<(), Self::Error>;

    /// Waits until everything issued on the lane is done, and gives its staging memory.
    ///
    /// # Errors
    /// As [`launch`](Self::launch), also for what was issued before.
    fn staging(&mut self, lane: usize) -> Result<&mut [u8], Self::Error>;
}
