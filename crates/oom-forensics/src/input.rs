//! Logs as they lie on disk: plain, or packed by gzip or zstd, told apart by their first bytes.

use std::io::{self, BufReader, Cursor, Read};

use flate2::read::MultiGzDecoder;

use crate::report::Format;

/// A zstd frame may look back so far, as a power of two: 8 MiB, as much as `zstd -19` does. More would cost more memory than
/// this crate promises to take.
const ZSTD_WINDOW_LOG: u32 = 23;

/// The unpacked log, and how it was packed.
pub(crate) fn open<'r>(mut log: impl Read + 'r) -> io::Result<(Box<dyn Read + 'r>, Format)> {
    let mut magic = [0; 4];
    let mut len = 0;
    while len < magic.len() {
        match log.read(&mut magic[len..]) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let whole = Cursor::new(magic).take(len as u64).chain(log);
    Ok(match &magic[..len] {
        [0x1f, 0x8b, ..] => {
            (Box::new(MultiGzDecoder::new(BufReader::with_capacity(64 << 10, whole))), Format::Gzip)
        }
        [0x28, 0xb5, 0x2f, 0xfd] => {
            let mut decoder = zstd::stream::read::Decoder::new(whole)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            (Box::new(decoder), Format::Zstd)
        }
        _ => (Box::new(whole), Format::Plain),
    })
}
