//! Embeds the built pages of Workboard: every file of `packages/demo/dist` but source maps.
//!
//! Knows nothing of what is in them. Invariant: a build needs no Node; the folder is checked in.

use std::{env, fmt::Write as _, fs, io, path::Path};

fn main() -> io::Result<()> {
    let crate_folder = env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?;
    let dist = Path::new(&crate_folder).join("../../packages/demo/dist");
    println!("cargo::rerun-if-changed={}", dist.display());
    let mut names = Vec::new();
    collect(&dist, "", &mut names)?;
    names.sort();
    let mut table = String::from("&[\n");
    for name in names {
        let path = dist.join(&name).canonicalize()?;
        let path = path.display().to_string();
        let _ = writeln!(table, "    ({name:?}, include_bytes!({path:?})),");
    }
    table.push_str("]\n");
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    fs::write(Path::new(&out).join("pages.rs"), table)
}

fn collect(folder: &Path, prefix: &str, names: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &format!("{name}/"), names)?;
        } else if !name.ends_with(".map") {
            names.push(name);
        }
    }
    Ok(())
}
