//! Holds `docs/protocol.md` to the code: its table of errors has a row for every [`Code`], in the
//! code's order and with the code's values, and no row more.

use tidewire_proto::Code;

const PAGE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/protocol.md"));
const HEAD: &str = "| Code | HTTP | Close | Next | What it means |";

fn row(code: Code) -> String {
    let (status, close, next) = (code.status(), code.close_code(), code.next().as_str());
    format!("| `{code}` | {status} | {close} | `{next}` | {} |", code.meaning())
}

#[test]
fn the_table_of_errors_is_the_codes_table() {
    let lines = PAGE.lines().skip_while(|line| *line != HEAD).skip(2);
    let found: Vec<&str> = lines.take_while(|line| line.starts_with('|')).collect();
    let wanted: Vec<String> = Code::ALL.iter().map(|code| row(*code)).collect();
    assert_eq!(found, wanted, "docs/protocol.md must read:\n{}", wanted.join("\n"));
}
