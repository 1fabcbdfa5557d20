//! How a tensor is cut into chunks. Chunks are runs of consecutive elements, so any reader can find them.

/// Elements of a grain chunk: 256 KiB of `f32`, which stays in a second-level cache while it is worked on.
pub(crate) const GRAIN_CHUNK_ELEMENTS: usize = 1 << 16;

/// Bytes of an exact chunk.
pub(crate) const EXACT_CHUNK_BYTES: usize = 1 << 19;

/// Most elements of a soft chunk, which profits from long runs along every dimension.
pub(crate) const SOFT_CHUNK_ELEMENTS: usize = 1 << 20;

/// Elements of a soft chunk of this shape: as many whole slabs along one dimension as fit.
pub(crate) fn soft_chunk_elements(shape: &[usize]) -> usize {
    let mut inner = 1;
    for &dimension in shape.iter().rev() {
        if inner * dimension > SOFT_CHUNK_ELEMENTS {
            break;
        }
        inner *= dimension;
    }
    inner * (SOFT_CHUNK_ELEMENTS / inner).max(1)
}

/// Dimensions, outermost first, of a chunk of so many elements: a slab of the tensor where the elements divide
/// so, else a flat run. Dimensions of one are left out.
pub(crate) fn chunk_dims(shape: &[usize], elements: usize) -> Vec<usize> {
    let mut dims = Vec::new();
    let mut inner = 1usize;
    for &dimension in shape.iter().rev() {
        match inner.checked_mul(dimension) {
            Some(product) if product <= elements => inner = product,
            _ => break,
        }
        if dimension != 1 {
            dims.push(dimension);
        }
    }
    if inner == 0 || !elements.is_multiple_of(inner) {
        return vec![elements];
    }
    if elements / inner != 1 || dims.is_empty() {
        dims.push(elements / inner);
    }
    dims.reverse();
    dims
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_of_whole_slabs_keeps_the_inner_dimensions() {
        assert_eq!(soft_chunk_elements(&[200, 256, 256]), 16 * 65536);
        assert_eq!(chunk_dims(&[200, 256, 256], 16 * 65536), [16, 256, 256]);
        assert_eq!(chunk_dims(&[200, 256, 256], 8 * 65536), [8, 256, 256]);
        assert_eq!(chunk_dims(&[200, 256, 256], 65536), [256, 256]);
        assert_eq!(chunk_dims(&[200, 256, 256], 100), [100]);
        assert_eq!(chunk_dims(&[3, 1, 5], 15), [3, 5]);
        assert_eq!(chunk_dims(&[], 1), [1]);
        assert_eq!(chunk_dims(&[7, 0], 0), [0]);
    }

    #[test]
    fn dims_multiply_to_the_elements_for_any_shape() {
        for shape in [&[5usize, 7, 11][..], &[1, 1], &[64, 1, 3], &[2; 10]] {
            for elements in 1..=shape.iter().product() {
                assert_eq!(chunk_dims(shape, elements).iter().product::<usize>(), elements);
            }
        }
    }
}
