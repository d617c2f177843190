//! Changes recordings.

use candle_core::{DType, Device, Tensor};

use crate::recorded::Arrays;

/// Every float array with its values replaced. `value` gets the site, the indices of the entry in the last two axes,
/// and the value.
pub fn values(mut arrays: Arrays, value: impl Fn(&str, usize, usize, f32) -> f32) -> Arrays {
    for (site, tensor) in arrays.iter_mut().filter(|(_, tensor)| tensor.dtype() == DType::F32) {
        let dims = tensor.dims().to_vec();
        let (rows, columns) = (dims[dims.len() - 2], dims[dims.len() - 1]);
        let old: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
        let entry = |(n, &old): (usize, &f32)| value(site, n / columns % rows, n % columns, old);
        let new: Vec<f32> = old.iter().enumerate().map(entry).collect();
        *tensor = Tensor::from_vec(new, dims, &Device::Cpu).unwrap();
    }
    arrays
}

/// The recording without the sites whose names end so.
pub fn without(mut arrays: Arrays, ends: &[&str]) -> Arrays {
    arrays.retain(|site, _| !ends.iter().any(|end| site.ends_with(end)));
    arrays
}

/// The recording with only the sites whose names end so, and the token ids.
pub fn only(mut arrays: Arrays, ends: &[&str]) -> Arrays {
    arrays.retain(|site, _| site.ends_with("_ids") || ends.iter().any(|end| site.ends_with(end)));
    arrays
}

/// The recording with the tensor of one site in each layer replaced by that of another.
pub fn copied(mut arrays: Arrays, from: &str, to: &str) -> Arrays {
    for layer in 0..4 {
        let tensor = arrays[&site(layer, from)].clone();
        arrays.insert(site(layer, to), tensor);
    }
    arrays
}

/// `model.layers.2.mlp.act`; without a name, the block.
pub fn site(layer: usize, name: &str) -> String {
    let dot = if name.is_empty() { "" } else { "." };
    format!("model.layers.{layer}{dot}{name}")
}
