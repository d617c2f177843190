//! Reads and writes named arrays in files: safetensors, npz archives, directories of npy files; reads files of
//! `torch.save`.
//!
//! All recordings, references and bundles are read and written here. All input is untrusted: a header is
//! checked against the size of the file before anything is allocated; only regular files are opened; an array
//! is read to its end so that its checksum is verified; and an archive that inflates to many times its size
//! is refused.

mod bytes;
mod entry;
mod npy;
mod npz;
mod pickle;
mod read;
mod safetensors;
mod strided;
mod torch;
mod write;

pub(crate) use self::bytes::Bytes;
pub(crate) use self::entry::Entry;
pub(crate) use self::read::Arrays;
pub(crate) use self::safetensors::{header as safetensors_header, write as safetensors};
pub(crate) use self::write::Npz;
