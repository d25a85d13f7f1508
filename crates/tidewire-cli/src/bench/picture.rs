//! The run as one picture.

use std::path::Path;

use super::report::Report;

/// Draws, if a file is named.
pub(crate) fn draw(_report: &Report, file: Option<&Path>) -> anyhow::Result<()> {
    if file.is_some() {
        anyhow::bail!("not yet");
    }
    Ok(())
}
