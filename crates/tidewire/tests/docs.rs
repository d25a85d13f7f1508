//! Holds the docs to the code: every block of TOML in them is a config without problems or warnings,
//! and the tables of keys and limits name what there is, with its default.

use std::{fs, path::Path};

use tidewire::{
    Limits,
    config::{Environment, limits::show_limits, parse},
};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn pages() -> Vec<(String, String)> {
    let root = Path::new(ROOT);
    let guide = fs::read_dir(root.join("docs/guide")).expect("the guide is there");
    let mut files: Vec<_> = guide.map(|page| page.expect("a page").path()).collect();
    files.extend(["README.md", "docs/protocol.md"].map(|name| root.join(name)));
    files.sort();
    let read = |file: &Path| {
        let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{file:?}: {error}"));
        (file.file_name().expect("a name").to_string_lossy().into_owned(), text)
    };
    files.iter().map(|file| read(file)).collect()
}

/// The blocks of a page in this language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().expect("a block ends")).collect()
}

#[test]
fn every_config_in_the_docs_is_a_good_one() {
    let folder = tempfile::tempdir().expect("a folder");
    for (file, content) in [
        ("secret", "s".repeat(32)),
        ("backend.key", "k".repeat(32)),
        ("authorize.secret", "a".repeat(32)),
        ("webhook.secret", "w".repeat(32)),
        ("prometheus.key", "p".repeat(32)),
    ] {
        fs::write(folder.path().join(file), content).expect("a file");
    }
    let mut found = 0;
    for (page, text) in pages() {
        for block in blocks(&text, "toml") {
            let loaded = parse(block, &folder.path().join("tidewire.toml"), &Environment::none());
            let loaded = loaded.unwrap_or_else(|error| panic!("{page}:\n{block}\n{error}"));
            // A block about limits or keys alone has no feature, which is a warning.
            let warnings = loaded.warnings.iter().filter(|warning| warning.key != "feature");
            assert_eq!(warnings.count(), 0, "{page}:\n{block}\n{:?}", loaded.warnings);
            found += 1;
        }
    }
    assert!(found >= 5, "found {found} blocks only");
}

/// `256KiB` in the config is `256 KiB` on the page, `10000` is `10,000` and `10m` is `10 min`.
fn as_on_the_page(value: &str) -> String {
    let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let (number, unit) = value.split_at(digits);
    let mut grouped = String::new();
    for (index, digit) in number.chars().enumerate() {
        if index > 0 && (number.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let unit = match unit {
        "" => return grouped,
        "m" => "min",
        other => other,
    };
    format!("{grouped} {unit}")
}

/// `2m` and `120s` are the same time; the page says the one that people say.
fn in_seconds(value: &str) -> Option<String> {
    let minutes: u64 = value.strip_suffix('m')?.parse().ok()?;
    Some(format!("{} s", minutes * 60))
}

#[test]
fn every_limit_has_its_row_with_its_default() {
    let (_, page) = pages().into_iter().find(|(name, _)| name == "limits.md").expect("limits.md");
    for (name, value) in show_limits(&Limits::default()) {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        let row = row.unwrap_or_else(|| panic!("limits.md has no row for `{name}`"));
        let default = row.split('|').nth(2).expect("a second column").trim();
        let good = [Some(as_on_the_page(&value)), in_seconds(&value)];
        assert!(
            good.iter().flatten().any(|good| good == default),
            "{name}: {default}, not {value}"
        );
    }
}
