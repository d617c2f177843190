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

/// An archive with `bytes` at an offset in each entry of its directory, and at another in the header before each
/// member's data.
pub fn patched(archive: Vec<u8>, directory: usize, local: Option<usize>, bytes: &[u8]) -> Vec<u8> {
    let mut changed = archive;
    for (mark, at) in [(b"PK\x01\x02", Some(directory)), (b"PK\x03\x04", local)] {
        let starts: Vec<usize> =
            changed.windows(4).enumerate().filter(|(_, four)| four == mark).map(|(at, _)| at).collect();
        for start in starts.into_iter().take_while(|_| at.is_some()) {
            changed[start + at.unwrap_or(0)..][..bytes.len()].copy_from_slice(bytes);
        }
    }
    changed
}

/// An archive with `bytes` at an offset in the record at its end.
pub fn with_end(archive: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut changed = archive;
    let end = changed.windows(4).rposition(|four| four == b"PK\x05\x06").unwrap();
    changed[end + at..][..bytes.len()].copy_from_slice(bytes);
    changed
}

/// An archive whose end says, in the form for more than 4 GB, that it has so many members.
pub fn with_wide_end(archive: &[u8], members: u64) -> Vec<u8> {
    let end = archive.windows(4).rposition(|four| four == b"PK\x05\x06").unwrap();
    let wide = [44u64, (45 << 16) | 45, 0, members, members, 1 << 62, 1 << 62];
    // The version is one word of two halves; the numbers of disks are two words.
    let mut record = b"PK\x06\x06".to_vec();
    record.extend(wide[0].to_le_bytes());
    record.extend((wide[1] as u32).to_le_bytes());
    wide[2..].iter().for_each(|number| record.extend(number.to_le_bytes()));
    let locator =
        [b"PK\x06\x07".as_slice(), &0u32.to_le_bytes(), &(end as u64).to_le_bytes(), &1u32.to_le_bytes()];
    [&archive[..end], &record, &locator.concat(), b"PK\x05\x06\0\0\0\0", &[0xff; 12], &[0; 2]].concat()
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
