//! The lives of the log on disk: the file `lineage`. Every opening begins a life and makes it
//! durable before anything of that life is acknowledged.

use tidewire_core::clock::Random;
use tidewire_proto::{Epoch, Life, Lineage, Sequence};

use crate::{
    bytes::Walk,
    disk::{Disk, read_whole, replace},
    error::StoreError,
};

/// The file's name.
pub(crate) const FILE: &str = "lineage";
const MAGIC: &[u8; 8] = b"TWIRELIN";
const VERSION: u32 = 1;

/// The lineage as it was left, if there is one.
pub(crate) fn read(disk: &dyn Disk) -> Result<Option<Lineage>, StoreError> {
    read_whole(disk, FILE)?.map(|bytes| decode(&bytes)).transpose()
}

/// Begins a life after `newest`, durably.
pub(crate) fn begin(
    disk: &dyn Disk,
    before: Option<Lineage>,
    newest: Sequence,
    lives_max: usize,
    random: &dyn Random,
) -> Result<Lineage, StoreError> {
    let lineage = match before {
        None => Lineage::new(Epoch(random.next_u64())),
        Some(mut lineage) => {
            let epoch = fresh(&lineage, random);
            lineage.begin(epoch, newest);
            lineage.forget_oldest(lives_max);
            lineage
        }
    };
    replace(disk, FILE, &encode(&lineage))?;
    Ok(lineage)
}

/// An epoch that the lineage does not have. Randomness alone is nearly enough; a test's seed is not.
fn fresh(lineage: &Lineage, random: &dyn Random) -> Epoch {
    let mut epoch = Epoch(random.next_u64());
    while lineage.lives().iter().any(|life| life.epoch == epoch) {
        epoch = Epoch(random.next_u64() ^ epoch.0.wrapping_add(1));
    }
    epoch
}

fn encode(lineage: &Lineage) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&VERSION.to_le_bytes());
    for life in lineage.lives() {
        out.extend_from_slice(&life.epoch.0.to_le_bytes());
        out.extend_from_slice(&life.began.0.to_le_bytes());
    }
    out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
    out
}

fn decode(bytes: &[u8]) -> Result<Lineage, StoreError> {
    let damaged = |problem: &str| StoreError::corrupt(FILE, 0, problem);
    let covered = bytes.len().checked_sub(4).and_then(|at| bytes.split_at_checked(at));
    let (covered, checksum) = covered.ok_or_else(|| damaged("the file is too short"))?;
    let mut walk = Walk(covered);
    if Walk(checksum).u32() != Some(crc32c::crc32c(covered)) || walk.take(8) != Some(MAGIC) {
        return Err(damaged("the checksum is wrong"));
    }
    match walk.u32() {
        Some(VERSION) => {}
        found => {
            let (file, found) = (FILE.to_owned(), found.unwrap_or_default());
            return Err(StoreError::Version { file, found, known: VERSION });
        }
    }
    let mut lives = Vec::new();
    while let Some((epoch, began)) = walk.u64().zip(walk.u64()) {
        lives.push(Life { epoch: Epoch(epoch), began: Sequence(began) });
    }
    Lineage::from_lives(lives).map_err(|error| damaged(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lineage_survives_its_file_and_a_flipped_bit_is_noticed() {
        let mut lineage = Lineage::new(Epoch(3));
        lineage.begin(Epoch(9), Sequence(40));
        let bytes = encode(&lineage);
        assert_eq!(decode(&bytes).unwrap(), lineage);
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 4;
            assert!(decode(&flipped).is_err(), "byte {at}");
            assert!(decode(&bytes[..at]).is_err(), "cut at {at}");
        }
    }
}
