//! Named arrays in files: safetensors, npz archives, directories of npy files.
//!
//! Recordings, references and bundles are read and written here and nowhere else. Everything read is untrusted: a
//! header is a claim, which is held against the size of the file before anything is allocated. Only regular files
//! are opened, an array is read to its end so that its checksum counts, and an archive cannot inflate to many
//! times its size.

mod bytes;
mod npy;
mod npz;
mod read;
mod safetensors;
mod write;

pub(crate) use self::bytes::Bytes;
pub(crate) use self::read::{Arrays, Entry};
pub(crate) use self::safetensors::{header as safetensors_header, write as safetensors};
pub(crate) use self::write::Npz;
