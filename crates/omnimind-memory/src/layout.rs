//! Whether what a framework says of a tensor's shape and strides is a dense, row-major run of bytes, which is all that is
//! consolidated. Numbers only; nothing here follows a pointer.

use softhair_compress::{DType, MAX_RANK};

/// A dense, row-major run of bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dense {
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<usize>,
    /// Where the first element is; meaningless if there is none.
    pub(crate) address: u64,
    pub(crate) bytes: u64,
}

/// Strides as a framework counts them, outermost first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strides<'a> {
    pub(crate) steps: &'a [i64],
    /// Bytes of a step of one.
    pub(crate) unit_bytes: usize,
}

impl Dense {
    /// Checks a tensor whose first element is `offset` bytes after `address`. Without strides it is dense.
    ///
    /// The error is the reason, and what to do.
    pub(crate) fn check(
        dtype: DType,
        extents: &[i64],
        strides: Option<Strides<'_>>,
        address: u64,
        offset: u64,
    ) -> Result<Self, String> {
        if extents.len() > MAX_RANK {
            return Err(format!("it has {} dimensions; at most {MAX_RANK} are supported", extents.len()));
        }
        let extent = |&extent: &i64| usize::try_from(extent).ok();
        let Some(shape) = extents.iter().map(extent).collect::<Option<Vec<_>>>() else {
            return Err(format!("its shape {extents:?} cannot be one; ask the framework for another export"));
        };
        let Some(bytes) = byte_count(dtype, &shape).filter(|&bytes| i64::try_from(bytes).is_ok()) else {
            return Err(format!("its shape {shape:?} has more bytes than can be counted"));
        };
        if let Some(strides) = strides {
            strides.check(dtype, &shape)?;
        }
        if bytes > 0 && address == 0 {
            return Err("its data pointer is null; export it again while it has memory".to_owned());
        }
        let first = address.checked_add(offset);
        match first.filter(|first| first.checked_add(bytes).is_some()) {
            Some(address) => Ok(Self { dtype, shape, address, bytes }),
            None => Err(format!("{bytes} bytes at {address:#x} + {offset} go past the end of all memory")),
        }
    }
}

impl Strides<'_> {
    fn check(&self, dtype: DType, shape: &[usize]) -> Result<(), String> {
        let steps = self.steps;
        if steps.len() != shape.len() {
            return Err(format!("it has {} strides for {} dimensions", steps.len(), shape.len()));
        }
        if self.are_dense(dtype, shape) {
            return Ok(());
        }
        let unit = if self.unit_bytes == 1 { "bytes" } else { "elements" };
        Err(format!(
            "its strides {steps:?} (in {unit}) are not those of a row-major tensor of shape {shape:?}; call `.contiguous()` \
             on it first"
        ))
    }

    /// Whether elements that follow each other in row-major order follow each other in memory. The stride of a dimension
    /// along which nobody steps is nobody's business.
    fn are_dense(&self, dtype: DType, shape: &[usize]) -> bool {
        if shape.contains(&0) {
            return true;
        }
        let mut wanted = dtype.size_bytes() as i128;
        for (&extent, &step) in shape.iter().zip(self.steps).rev() {
            if extent > 1 && i128::from(step) * self.unit_bytes as i128 != wanted {
                return false;
            }
            wanted *= extent as i128;
        }
        true
    }
}

/// Bytes of a tensor, if they can be counted.
pub(crate) fn byte_count(dtype: DType, shape: &[usize]) -> Option<u64> {
    if shape.contains(&0) {
        return Some(0);
    }
    let element = dtype.size_bytes() as u64;
    shape.iter().try_fold(element, |bytes, &extent| bytes.checked_mul(extent as u64))
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};

    use super::*;

    /// Walks over all elements in row-major order and compares where they are with where they should be.
    fn naive(dtype: DType, shape: &[usize], steps: &[i64], unit_bytes: usize) -> bool {
        let count: usize = shape.iter().product();
        (0..count).all(|number| {
            let (mut left, mut at) = (number, 0_i128);
            for (&extent, &step) in shape.iter().zip(steps).rev() {
                at += (left % extent) as i128 * i128::from(step) * unit_bytes as i128;
                left /= extent;
            }
            at == (number * dtype.size_bytes()) as i128
        })
    }

    /// Strides that are right, but for a change here and there.
    fn strides(shape: &[usize], element: i64) -> Vec<i64> {
        let mut steps = vec![element; shape.len()];
        for at in (1..shape.len()).rev() {
            steps[at - 1] = steps[at] * shape[at].max(1) as i64;
        }
        steps
    }

    proptest! {
        #[test]
        fn strides_are_dense_if_every_element_is_where_it_should_be(
            shape in prop::collection::vec(0..4_usize, 0..5),
            changes in prop::collection::vec((0..5_usize, select(vec![-1_i64, 0, 1, 2, 4, 12])), 0..3),
            in_bytes in any::<bool>(),
        ) {
            let (element, unit_bytes) = if in_bytes { (4, 1) } else { (1, 4) };
            let mut steps = strides(&shape, element);
            for (at, step) in changes {
                if let Some(changed) = steps.get_mut(at) {
                    *changed = step;
                }
            }
            let dense = Strides { steps: &steps, unit_bytes }.are_dense(DType::F32, &shape);
            prop_assert_eq!(dense, naive(DType::F32, &shape, &steps, unit_bytes), "{:?} {:?}", shape, steps);
        }

        #[test]
        fn whatever_a_framework_says_is_dense_or_refused(
            dtype in select(DType::ALL.to_vec()),
            extents in prop::collection::vec(any::<i64>(), 0..40),
            steps in prop::option::of(prop::collection::vec(any::<i64>(), 0..40)),
            unit_bytes in 1..9_usize,
            address in any::<u64>(),
            offset in any::<u64>(),
        ) {
            let strides = steps.as_ref().map(|steps| Strides { steps, unit_bytes });
            match Dense::check(dtype, &extents, strides, address, offset) {
                Ok(dense) => {
                    prop_assert!(dense.address.checked_add(dense.bytes).is_some());
                    prop_assert_eq!(byte_count(dtype, &dense.shape), Some(dense.bytes));
                }
                Err(reason) => prop_assert!(!reason.is_empty()),
            }
        }
    }

    #[test]
    fn a_transposed_tensor_is_refused_with_its_strides_and_the_way_out() {
        let strides = Strides { steps: &[1, 3], unit_bytes: 4 };
        let reason = Dense::check(DType::F32, &[3, 2], Some(strides), 4096, 0).unwrap_err();
        assert!(reason.contains("[1, 3]") && reason.contains(".contiguous()"), "{reason}");
    }

    #[test]
    fn an_empty_tensor_needs_no_memory_and_an_offset_counts() {
        assert_eq!(Dense::check(DType::F32, &[0, i64::MAX], None, 0, 0).unwrap().bytes, 0);
        assert_eq!(Dense::check(DType::I16, &[], None, 4096, 6).unwrap().address, 4102);
        assert!(Dense::check(DType::I16, &[1], None, 0, 6).unwrap_err().contains("null"));
        assert!(Dense::check(DType::U8, &[2], None, u64::MAX - 1, 1).unwrap_err().contains("past the end"));
    }
}
