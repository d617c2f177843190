//! What recordings consist of: zip archives, `.npy` arrays and the pickles of `torch.save`, made for these tests.

use std::io::{Cursor, Write};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// An archive with these members. Compressed members of zeros become a thousandth of their size.
pub fn archive(members: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        zip.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A stored archive with these members.
pub fn stored(members: &[(&str, &[u8])]) -> Vec<u8> {
    archive(members, CompressionMethod::Stored)
}

/// An archive of ids and a symbolic link.
pub fn link() -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("input_ids.npy", SimpleFileOptions::default()).unwrap();
    zip.write_all(&ids()).unwrap();
    zip.add_symlink("model.norm.npy", "/etc/passwd", SimpleFileOptions::default()).unwrap();
    zip.finish().unwrap().into_inner()
}

/// An `.npy` file with this header and this number of zero bytes.
pub fn npy(dict: &str, zeros: usize) -> Vec<u8> {
    let length = (dict.len() as u32).to_le_bytes();
    [b"\x93NUMPY\x02\x00", &length[..], dict.as_bytes(), &vec![0; zeros]].concat()
}

/// An `.npy` file of this type and shape, filled with zeros.
pub fn zeros(descr: &str, shape: &[usize]) -> Vec<u8> {
    let width: usize = descr[2..].parse().unwrap();
    let sizes: Vec<String> = shape.iter().map(|n| format!("{n},")).collect();
    let dict = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}\n", sizes.concat());
    npy(&dict, width * shape.iter().product::<usize>())
}

/// Ids of one text of two tokens.
pub fn ids() -> Vec<u8> {
    zeros("<i8", &[1, 2])
}

/// A file of `torch.save` with this pickle, and six numbers as the storage `0`.
pub fn torch(pickle: &[u8]) -> Vec<u8> {
    stored(&[("a/data.pkl", pickle), ("a/data/0", &[0; 24])])
}
