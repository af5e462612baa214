//! Rows with readings end with a checksum: the file's own is looked at only when a crash is repaired, and a disk
//! that turns a bit over would go unnoticed until then.

use crate::tables::Corrupt;

const CHECKSUM_BYTES: usize = 8;

/// Appends the checksum.
pub fn seal(mut row: Vec<u8>) -> Vec<u8> {
    let checksum = checksum(&row);
    row.extend_from_slice(&checksum);
    row
}

/// The row without its checksum.
///
/// # Errors
/// If that does not fit; `what` it is.
pub fn open<'a>(sealed: &'a [u8], what: &'static str) -> Result<&'a [u8], Corrupt> {
    let (row, end) = sealed.split_last_chunk::<CHECKSUM_BYTES>().ok_or(Corrupt(what))?;
    if checksum(row) == *end { Ok(row) } else { Err(Corrupt(what)) }
}

fn checksum(row: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut checksum = [0; CHECKSUM_BYTES];
    checksum.copy_from_slice(&blake3::hash(row).as_bytes()[..CHECKSUM_BYTES]);
    checksum
}
