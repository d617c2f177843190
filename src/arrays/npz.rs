//! The members of an `.npz` archive, each read whole or not at all.

use std::io::{Cursor, Read};
use std::sync::Arc;

use zip::ZipArchive;
use zip::read::ZipFile;

use super::bytes::Bytes;

/// An archive that several readers look at.
#[derive(Clone, Debug)]
pub(super) struct Members {
    zip: ZipArchive<Cursor<Shared>>,
}

/// A file that several readers look at.
#[derive(Clone, Debug)]
struct Shared(Arc<Bytes>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// No deflate stream holds more than this for each of its bytes.
const DEFLATE: u64 = 1032;

/// A member that is larger than this must not be a bomb: [`LIKELY`].
const LARGE: u64 = 256 << 20;

/// Arrays of numbers deflate to a half, constant ones to a thousandth. Nobody records large constant arrays.
const LIKELY: u64 = 100;

/// One member: its place in the archive, its name, and the bytes that it inflates to, as it claims.
pub(super) struct Member {
    pub index: usize,
    pub name: String,
    pub size: usize,
}

impl Members {
    /// Opens the archive.
    ///
    /// # Errors
    /// In words: it is not a zip file, or has a name twice.
    pub(super) fn open(bytes: Bytes) -> Result<Self, String> {
        let zip = ZipArchive::new(Cursor::new(Shared(Arc::new(bytes)))).map_err(|e| e.to_string())?;
        if zip.has_duplicate_names() { Err("a name is there twice".into()) } else { Ok(Self { zip }) }
    }

    /// Every member. What each claims to hold can be true.
    ///
    /// # Errors
    /// In words: a member that cannot be read, or claims more than it can hold.
    pub(super) fn all(&mut self) -> Result<Vec<Member>, String> {
        let whole = self.zip.clone().into_inner().get_ref().as_ref().len() as u64;
        (0..self.zip.len())
            .map(|index| {
                let member = self.zip.by_index(index).map_err(|e| e.to_string())?;
                let name = member.name().map_err(|e| e.to_string())?.into_owned();
                let (packed, size) = (member.compressed_size(), member.size());
                if packed > whole || size > packed.saturating_mul(DEFLATE) {
                    return Err(format!("{name:?} claims more than the file can hold"));
                }
                if size > LARGE && size > packed.saturating_mul(LIKELY) {
                    let times = size / packed.max(1);
                    return Err(format!(
                        "{name:?} inflates to {times} times its size: write it uncompressed"
                    ));
                }
                let size = usize::try_from(size).map_err(|e| e.to_string())?;
                Ok(Member { index, name, size })
            })
            .collect()
    }

    /// The first bytes of a member, no more than `most`.
    ///
    /// # Errors
    /// In words: a damaged stream.
    pub(super) fn beginning(&mut self, index: usize, most: usize) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        let member = self.zip.by_index(index).map_err(|e| e.to_string())?;
        member.take(most as u64).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
        Ok(bytes)
    }

    /// All bytes of a member. They are read to their end, where their checksum is compared.
    ///
    /// # Errors
    /// In words: a damaged stream, another checksum, more or fewer bytes than it claims.
    pub(super) fn whole(&self, index: usize) -> Result<Vec<u8>, String> {
        let mut zip = self.zip.clone();
        let member: ZipFile<'_, _> = zip.by_index(index).map_err(|e| e.to_string())?;
        let claimed = member.size();
        let mut bytes = Vec::new();
        // Memory grows with what comes, and stops one byte behind what is claimed.
        member.take(claimed.saturating_add(1)).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
        if bytes.len() as u64 == claimed {
            Ok(bytes)
        } else {
            Err("a member holds more or fewer bytes than it claims".into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrays::Npz;

    /// An archive of one member that holds more than both of its headers say.
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
    fn a_member_that_holds_what_it_claims_is_read() {
        let members = Members::open(with_a_false_size(b"0123456789", 10)).unwrap();
        assert_eq!(members.whole(0).unwrap(), b"0123456789");
    }

    /// Whoever reads no further than what is claimed never compares the checksum.
    #[test]
    fn a_member_that_holds_more_than_it_claims_is_refused() {
        let members = Members::open(with_a_false_size(b"0123456789", 6)).unwrap();
        assert!(members.whole(0).is_err());
    }

    #[test]
    fn a_member_that_holds_less_than_it_claims_is_refused() {
        let members = Members::open(with_a_false_size(b"0123456789", 12)).unwrap();
        assert!(members.whole(0).is_err());
    }
}
