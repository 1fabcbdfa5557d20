//! Numbers to global memory and back.
#![allow(dead_code, reason = "each test uses some of it")]
#![allow(clippy::unwrap_used, reason = "part of the tests")]

use ptx_emulator::{Arena, Fault, Launch, Program};

pub(crate) const ARITHMETIC: &str = include_str!("../kernels/arithmetic.ptx");
pub(crate) const HISTOGRAM: &str = include_str!("../kernels/histogram.ptx");
pub(crate) const WARP: &str = include_str!("../kernels/warp.ptx");
pub(crate) const FAULTS: &str = include_str!("../kernels/faults.ptx");

/// A number as it lies in memory.
pub(crate) trait Number: Copy {
    const BYTES: usize;
    fn put(self, out: &mut Vec<u8>);
    fn take(bytes: &[u8]) -> Self;
}

macro_rules! number {
    ($($type:ty),*) => {$(
        impl Number for $type {
            const BYTES: usize = size_of::<$type>();
            fn put(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn take(bytes: &[u8]) -> Self {
                Self::from_le_bytes(bytes.try_into().unwrap())
            }
        }
    )*};
}
number!(u8, u16, u32, i32, u64, f32, f64);

/// A program, and the memory that its kernels see.
pub(crate) struct Card {
    pub(crate) program: Program,
    pub(crate) memory: Arena,
}

impl Card {
    pub(crate) fn new(ptx: &str) -> Self {
        Self { program: Program::parse(ptx).unwrap(), memory: Arena::new() }
    }

    pub(crate) fn put<T: Number>(&mut self, numbers: &[T]) -> u64 {
        let mut bytes = Vec::new();
        for number in numbers {
            number.put(&mut bytes);
        }
        let address = self.memory.allocate(bytes.len() as u64);
        self.memory.write(address, &bytes).unwrap();
        address
    }

    pub(crate) fn room<T: Number>(&mut self, count: usize) -> u64 {
        self.memory.allocate((count * T::BYTES) as u64)
    }

    pub(crate) fn get<T: Number>(&self, address: u64, count: usize) -> Vec<T> {
        let mut bytes = vec![0; count * T::BYTES];
        self.memory.read(address, &mut bytes).unwrap();
        bytes.chunks(T::BYTES).map(T::take).collect()
    }

    pub(crate) fn launch(&mut self, kernel: &str, grid: u32, threads: u32, arguments: &[u64]) -> Launch {
        self.try_launch(kernel, grid, threads, arguments).unwrap_or_else(|fault| panic!("{fault}"))
    }

    pub(crate) fn try_launch(
        &mut self,
        kernel: &str,
        grid: u32,
        threads: u32,
        arguments: &[u64],
    ) -> Result<Launch, Fault> {
        self.program.launch(&mut self.memory, kernel, grid, threads, arguments)
    }
}

/// Numbers that look like chance, the same each time.
pub(crate) fn noise(count: usize) -> Vec<u32> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u32
        })
        .collect()
}
