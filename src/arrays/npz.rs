//! Reads the members of an `.npz` archive and verifies their sizes and checksums.

use std::io::{Cursor, Read};
use std::sync::Arc;

use zip::ZipArchive;
use zip::read::ZipFile;

use super::bytes::Bytes;
use crate::files::short_name;

/// An archive that several readers share.
#[derive(Clone, Debug)]
pub(super) struct Members {
    zip: ZipArchive<Cursor<Shared>>,
}

/// A file that several readers share.
#[derive(Clone, Debug)]
struct Shared(Arc<Bytes>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// The largest ratio by which deflate can compress.
const DEFLATE: u64 = 1032;

/// All members together may have so many bytes, or [`LIKELY`] times the size of the archive, which excludes zip bombs.
const LARGE: u64 = 16 << 20;

/// The largest accepted ratio for large archives. Arrays of numbers deflate to a half, constant ones to a
/// thousandth; real recordings contain no large constant arrays.
const LIKELY: u64 = 100;

/// The most members. A recording of 100 layers has about 2,000.
const MOST: usize = 1 << 16;

/// One member: its index in the archive, its name, and its uncompressed size according to the archive.
pub(super) struct Member {
    pub index: usize,
    pub name: String,
    pub size: usize,
}

impl Members {
    /// Opens the archive.
    ///
    /// # Errors
    /// Says what is wrong: it is not a zip file, or two members have the same name.
    pub(super) fn open(bytes: Bytes) -> Result<Self, String> {
        let zip = ZipArchive::new(Cursor::new(Shared(Arc::new(bytes)))).map_err(|e| e.to_string())?;
        if zip.has_duplicate_names() {
            Err("two members have the same name".into())
        } else {
            Ok(Self { zip })
        }
    }

    /// Every member, with a plausible size.
    ///
    /// # Errors
    /// Says what is wrong: a member cannot be read, or its stated size is not possible.
    pub(super) fn all(&mut self) -> Result<Vec<Member>, String> {
        let whole = self.zip.clone().into_inner().get_ref().as_ref().len() as u64;
        if self.zip.len() > MOST {
            return Err(format!("it has {} members; at most {MOST} are allowed", self.zip.len()));
        }
        let mut left = LARGE.max(whole.saturating_mul(LIKELY));
        (0..self.zip.len())
            .map(|index| {
                let member = self.zip.by_index(index).map_err(|e| e.to_string())?;
                let name = member.name().map_err(|e| e.to_string())?.into_owned();
                // Nothing is unpacked to a disk, but a name or a link that leads elsewhere has no honest use.
                let leads_out = name.starts_with('/') || name.split(['/', '\\']).any(|part| part == "..");
                if leads_out || member.is_symlink() {
                    return Err(format!("`{}` leads out of the archive", short_name(&name)));
                }
                let (packed, size) = (member.compressed_size(), member.size());
                if packed > whole || size > packed.saturating_mul(DEFLATE) {
                    let name = short_name(&name);
                    return Err(format!("`{name}` states a size that is impossible for a file this small"));
                }
                left = left.checked_sub(size).ok_or_else(|| {
                    let (name, times) = (short_name(&name), size / packed.max(1));
                    format!("`{name}` inflates to {times} times its size: write it uncompressed")
                })?;
                let size = usize::try_from(size).map_err(|e| e.to_string())?;
                Ok(Member { index, name, size })
            })
            .collect()
    }

    /// The first bytes of a member, at most `most`.
    ///
    /// # Errors
    /// Says what is wrong: the stream is damaged.
    pub(super) fn beginning(&mut self, index: usize, most: usize) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        let member = self.zip.by_index(index).map_err(|e| e.to_string())?;
        member.take(most as u64).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
        Ok(bytes)
    }

    /// All bytes of a member. They are read to the end, where the checksum is compared.
    ///
    /// # Errors
    /// Says what is wrong: the stream is damaged, the checksum differs, or the member has more or fewer bytes
    /// than stated.
    pub(super) fn whole(&self, index: usize) -> Result<Vec<u8>, String> {
        let mut zip = self.zip.clone();
        let member: ZipFile<'_, _> = zip.by_index(index).map_err(|e| e.to_string())?;
        let claimed = member.size();
        let mut bytes = Vec::new();
        // Memory grows with the bytes that are read, at most to one byte more than stated.
        member.take(claimed.saturating_add(1)).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
        if bytes.len() as u64 == claimed {
            Ok(bytes)
        } else {
            Err("a member has more or fewer bytes than the archive states".into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrays::Npz;

    /// An archive with one member whose size in both headers is `claimed`.
    fn with_a_false_size(content: &[u8], claimed: usize) -> Bytes {
        let mut zip = Npz::new();
        zip.file("a", content).unwrap();
        let mut bytes = zip.finish().unwrap();
        let (size, claimed) = ((content.len() as u32).to_le_bytes(), (claimed as u32).to_le_bytes());
        // The uncompressed size is at byte 22 of a local header, and at byte 24 of one in the directory.
        for (signature, at) in [(b"PK\x03\x04", 22), (b"PK\x01\x02", 24)] {
            let header = bytes.windows(4).position(|four| four == signature).unwrap();
            assert_eq!(bytes[header + at..][..4], size);
            bytes[header + at..][..4].copy_from_slice(&claimed);
        }
        Bytes::Owned(bytes)
    }

    #[test]
    fn a_member_with_its_stated_size_is_read() {
        let members = Members::open(with_a_false_size(b"0123456789", 10)).unwrap();
        assert_eq!(members.whole(0).unwrap(), b"0123456789");
    }

    /// A reader that stops at the stated size would never compare the checksum.
    #[test]
    fn a_member_larger_than_stated_is_refused() {
        let members = Members::open(with_a_false_size(b"0123456789", 6)).unwrap();
        assert!(members.whole(0).is_err());
    }

    #[test]
    fn a_member_smaller_than_stated_is_refused() {
        let members = Members::open(with_a_false_size(b"0123456789", 12)).unwrap();
        assert!(members.whole(0).is_err());
    }
}
