//! The `.npz` format: a zip archive of `.npy` files, stored or deflated. What is stored is read where it lies; what
//! is deflated is unpacked first, never beyond the size that the archive claims and deflate can reach.

use std::io::{self, Cursor, Read, Write};

use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use super::error::Fault;
use super::map::Bytes;
use super::{Place, Tensor, npy};

/// Deflate cannot expand by more than this (RFC 1951: 258 bytes from two bits); a larger claim is a lie.
const MAX_DEFLATE_RATIO: u64 = 1032;
/// Larger members are unpacked into a file without a name and mapped, so that they take no memory that counts.
const MAX_UNPACKED_IN_MEMORY: u64 = 8 << 20;

/// The arrays of a whole archive, in its order.
pub(super) fn tensors(file: &[u8]) -> Result<Vec<Tensor>, Fault> {
    let mut archive = ZipArchive::new(Cursor::new(file)).map_err(explain)?;
    (0..archive.len()).map(|index| member(&mut archive, index, file)).collect()
}

struct Member {
    name: String,
    method: CompressionMethod,
    start: Option<u64>,
    packed: u64,
    unpacked: u64,
    crc32: u32,
}

fn member(archive: &mut ZipArchive<Cursor<&[u8]>>, index: usize, file: &[u8]) -> Result<Tensor, Fault> {
    let about = about(archive, index)?;
    let name = about.name.clone();
    let tensor = match about.method {
        CompressionMethod::Stored => stored(&about, file),
        CompressionMethod::Deflated => deflated(&about, archive, index),
        method => Err(Fault::Unsupported {
            reason: format!("is packed as {method}"),
            next: "write it with np.savez or np.savez_compressed",
        }),
    };
    tensor.map_err(|fault| fault.in_member(&name))
}

fn about(archive: &mut ZipArchive<Cursor<&[u8]>>, index: usize) -> Result<Member, Fault> {
    let entry = archive.by_index_raw(index).map_err(explain)?;
    let name = std::str::from_utf8(entry.name_raw())
        .map_err(|_| Fault::Damaged(format!("the name of member {index} is not UTF-8")))?;
    let Some(array) = name.strip_suffix(".npy").filter(|array| !array.is_empty()) else {
        // What torch.save writes is a zip archive, too.
        let next = if name.ends_with("data.pkl") || name.contains("/data/") {
            "this is a PyTorch checkpoint, which runs code when it is loaded: write it with safetensors.torch.save_file"
        } else {
            "write the archive with np.savez"
        };
        return Err(Fault::Unsupported { reason: format!("member {name:?} is no .npy array"), next });
    };
    if entry.encrypted() {
        return Err(Fault::Unsupported {
            reason: format!("member {name:?} is encrypted"),
            next: "decrypt it first",
        });
    }
    Ok(Member {
        name: array.to_owned(),
        method: entry.compression(),
        start: entry.data_start(),
        packed: entry.compressed_size(),
        unpacked: entry.size(),
        crc32: entry.crc32(),
    })
}

/// Read in place: the map of the file is the array.
fn stored(about: &Member, file: &[u8]) -> Result<Tensor, Fault> {
    let beyond = || Fault::Damaged("lies beyond the end of the file".into());
    let start = about.start.and_then(|start| usize::try_from(start).ok()).ok_or_else(beyond)?;
    let bytes = usize::try_from(about.packed).ok().ok_or_else(beyond)?;
    let end = start.checked_add(bytes).ok_or_else(beyond)?;
    let array = file.get(start..end).ok_or_else(beyond)?;
    if about.packed != about.unpacked || crc32fast::hash(array) != about.crc32 {
        return Err(Fault::Damaged("its bytes do not match its checksum".into()));
    }
    let mut tensor = npy::tensor(&about.name, array)?;
    if let Place::File(range) = &mut tensor.place {
        *range = start + range.start..start + range.end;
    }
    Ok(tensor)
}

fn deflated(about: &Member, archive: &mut ZipArchive<Cursor<&[u8]>>, index: usize) -> Result<Tensor, Fault> {
    if about.unpacked > about.packed.saturating_mul(MAX_DEFLATE_RATIO) {
        return Err(Fault::Damaged(format!(
            "claims that {} bytes unpack to {}, which deflate cannot do",
            about.packed, about.unpacked
        )));
    }
    // One byte more than claimed, so that a longer stream shows; its checksum is compared at the end.
    let mut packed = archive.by_index(index).map_err(explain)?.take(about.unpacked + 1);
    let bytes = if about.unpacked <= MAX_UNPACKED_IN_MEMORY {
        let mut bytes = Vec::with_capacity(about.unpacked as usize);
        packed.read_to_end(&mut bytes).map_err(unpacking)?;
        Bytes::Owned(bytes)
    } else {
        let mut spool = io::BufWriter::with_capacity(1 << 20, tempfile::tempfile().map_err(Fault::Io)?);
        io::copy(&mut packed, &mut spool).map_err(unpacking)?;
        spool.flush().map_err(Fault::Io)?;
        Bytes::map(spool.get_ref()).map_err(Fault::Io)?
    };
    if bytes.len() as u64 != about.unpacked {
        return Err(Fault::Damaged(format!(
            "does not unpack to the {} bytes that it claims",
            about.unpacked
        )));
    }
    let mut tensor = npy::tensor(&about.name, &bytes)?;
    if let Place::File(range) = tensor.place {
        tensor.place = Place::Unpacked { bytes, range };
    }
    Ok(tensor)
}

fn unpacking(error: io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => {
            Fault::Damaged(format!("cannot be unpacked: {error}"))
        }
        // The spool file: a full disk, for example.
        _ if error.raw_os_error().is_some() => Fault::Io(error),
        _ => Fault::Damaged(format!("cannot be unpacked: {error}")),
    }
}

fn explain(error: ZipError) -> Fault {
    match error {
        ZipError::Io(source) if source.raw_os_error().is_some() => Fault::Io(source),
        other => Fault::Damaged(format!("the archive cannot be read: {other}")),
    }
}
