//! Arrays whose values are not in C order: views of a larger storage, and arrays in Fortran order.

/// Where the entries of an array are. All are inside its values.
#[derive(Debug)]
pub(super) struct Strided {
    /// The number of entries before the first one.
    pub offset: usize,
    /// The number of entries between neighbours along each axis.
    pub strides: Vec<usize>,
}

impl Strided {
    /// The first axis is the innermost one, as in Fortran.
    pub fn first_axis_innermost(shape: &[usize]) -> Self {
        let strides = (0..shape.len())
            .map(|axis| shape[..axis].iter().fold(1, |stride: usize, &n| stride.saturating_mul(n)));
        let strides = strides.collect();
        Self { offset: 0, strides }
    }

    /// The bytes of the entries, in C order, each of `width` bytes.
    pub fn gather(&self, bytes: &[u8], shape: &[usize], width: usize) -> Vec<u8> {
        let count: usize = shape.iter().product();
        let mut gathered = Vec::with_capacity(count * width);
        let mut index = vec![0; shape.len()];
        for _ in 0..count {
            let steps = index.iter().zip(&self.strides).map(|(&n, stride): (&usize, &usize)| n * stride);
            let at = (self.offset + steps.sum::<usize>()) * width;
            gathered.extend_from_slice(bytes.get(at..at + width).unwrap_or_default());
            for (n, &size) in index.iter_mut().zip(shape).rev() {
                *n += 1;
                if *n < size {
                    break;
                }
                *n = 0;
            }
        }
        gathered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_in_fortran_order_is_read_in_c_order() {
        let strided = Strided::first_axis_innermost(&[2, 3]);
        assert_eq!(strided.gather(&[0, 1, 2, 3, 4, 5], &[2, 3], 1), [0, 2, 4, 1, 3, 5]);
    }

    #[test]
    fn a_transposed_tensor_is_read_in_its_own_order() {
        let strided = Strided { offset: 1, strides: vec![1, 3] };
        let bytes: Vec<u8> = (0..20).collect();
        assert_eq!(strided.gather(&bytes, &[2, 3], 2), [2, 3, 8, 9, 14, 15, 4, 5, 10, 11, 16, 17]);
    }
}
