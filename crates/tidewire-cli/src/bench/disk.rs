//! What the disk can do: the floor for publishing.
//!
//! It must not know the log. Two figures: how often 4 KiB can be appended and made stable in a
//! second, one after the other; and how fast bytes can be written when they are made stable every
//! 4 MiB.

use std::{fs::File, io::Write, path::Path};

use anyhow::Context;

use super::clock::{self, SECOND};

const PAGE: usize = 4 << 10;
const PIECE: usize = 4 << 20;
/// Most that is written.
const BYTES_MAX: u64 = 256 << 20;

/// Appends of 4 KiB, each with `fdatasync`, in a second.
///
/// # Errors
/// When the folder takes no file.
pub(crate) fn commits_per_second(folder: &Path, seconds: f64) -> anyhow::Result<f64> {
    let count = append(folder, PAGE, seconds)?;
    Ok(count.0 as f64 / count.1)
}

/// Bytes a second, with `fdatasync` after every 4 MiB.
///
/// # Errors
/// When the folder takes no file.
pub(crate) fn bytes_per_second(folder: &Path, seconds: f64) -> anyhow::Result<f64> {
    let count = append(folder, PIECE, seconds)?;
    Ok(count.0 as f64 * PIECE as f64 / count.1)
}

/// How many pieces were appended, in how many seconds.
fn append(folder: &Path, bytes: usize, seconds: f64) -> anyhow::Result<(u64, f64)> {
    let mut file: File = tempfile::tempfile_in(folder)
        .with_context(|| format!("no file in {}", folder.display()))?;
    let piece = vec![b'x'; bytes];
    let began = clock::now_ns();
    let end = began + (seconds * SECOND as f64) as u64;
    let mut count = 0;
    while clock::now_ns() < end && count * (bytes as u64) < BYTES_MAX {
        file.write_all(&piece).and_then(|()| file.sync_data()).context("the disk")?;
        count += 1;
    }
    Ok((count, clock::seconds(clock::now_ns() - began)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_does_something() {
        let folder = tempfile::tempdir().unwrap();
        assert!(commits_per_second(folder.path(), 0.02).unwrap() > 0.0);
        assert!(bytes_per_second(folder.path(), 0.02).unwrap() > 0.0);
    }
}
