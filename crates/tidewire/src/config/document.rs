//! A config as a tree of values that know where they were written: TOML text in, [`Table`] out.
//!
//! Knows TOML, and no key. Invariant: every node has the place a person would look at.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use toml_edit::{Document, Item, TableLike};

use super::problem::{Place, Problem};

/// A value and where it stands.
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// What a config can say.
pub(super) enum Value {
    Flag(bool),
    Integer(i64),
    Text(String),
    List(Vec<Node>),
    Table(Table),
    /// The text of an environment variable: it becomes whatever its key asks for.
    Variable(String),
    /// Valid TOML that no key takes.
    Other(&'static str),
}

/// Named values, with the place of each name.
#[derive(Default)]
pub(super) struct Table(pub(super) BTreeMap<String, Entry>);

/// A name's place, and its value.
pub(super) struct Entry {
    pub(super) key_place: Place,
    pub(super) node: Node,
}

impl Value {
    /// What it is, for a sentence such as "expected a text, found …".
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Flag(_) => "true or false",
            Self::Integer(_) => "a number",
            Self::Text(_) | Self::Variable(_) => "a text",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(kind) => kind,
        }
    }
}

/// Reads TOML text. `file` is the name that problems give.
///
/// A syntax error is one problem, since what follows it cannot be trusted.
pub(super) fn parse(text: &str, file: &Arc<str>) -> Result<Table, Box<Problem>> {
    let source = Source { text, file };
    match Document::parse(text) {
        Ok(document) => Ok(source.table(document.as_table(), &source.place(Some(0..0)))),
        Err(error) => {
            let what = format!("this is not TOML: {}", error.message().replace('\n', " "));
            let problem = Problem::new(source.place(error.span()), "", what)
                .fix("put right the text at this place; nothing after it was read");
            Err(Box::new(problem))
        }
    }
}

struct Source<'a> {
    text: &'a str,
    file: &'a Arc<str>,
}

impl Source<'_> {
    fn place(&self, span: Option<Range<usize>>) -> Place {
        let Some(span) = span else { return Place::File(self.file.clone()) };
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Place::Text {
            file: self.file.clone(),
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
        }
    }

    fn table(&self, table: &dyn TableLike, around: &Place) -> Table {
        let entries = table.iter().map(|(name, item)| {
            let span = table.key(name).and_then(|key| key.span());
            let key_place = span.map_or_else(|| around.clone(), |span| self.place(Some(span)));
            let node = self.node(item, &key_place);
            (name.to_owned(), Entry { key_place, node })
        });
        Table(entries.collect())
    }

    fn node(&self, item: &Item, key_place: &Place) -> Node {
        if let Some(tables) = item.as_array_of_tables() {
            let nodes = tables.iter().map(|table| {
                let place = table.span().map_or_else(|| key_place.clone(), |s| self.place(Some(s)));
                let value = Value::Table(self.table(table, &place));
                Node { place, value }
            });
            return Node { place: key_place.clone(), value: Value::List(nodes.collect()) };
        }
        if let Some(table) = item.as_table_like() {
            let value = Value::Table(self.table(table, key_place));
            return Node { place: key_place.clone(), value };
        }
        item.as_value().map_or_else(
            || Node { place: key_place.clone(), value: Value::Other("nothing") },
            |value| self.value(value, key_place),
        )
    }

    fn value(&self, value: &toml_edit::Value, key_place: &Place) -> Node {
        let place = value.span().map_or_else(|| key_place.clone(), |span| self.place(Some(span)));
        let value = match value {
            toml_edit::Value::String(text) => Value::Text(text.value().clone()),
            toml_edit::Value::Integer(number) => Value::Integer(*number.value()),
            toml_edit::Value::Boolean(flag) => Value::Flag(*flag.value()),
            toml_edit::Value::Float(_) => Value::Other("a fraction"),
            toml_edit::Value::Datetime(_) => Value::Other("a date"),
            toml_edit::Value::Array(items) => {
                Value::List(items.iter().map(|item| self.value(item, &place)).collect())
            }
            toml_edit::Value::InlineTable(table) => Value::Table(self.table(table, &place)),
        };
        Node { place, value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(table: &Table, name: &str) -> String {
        table.0[name].key_place.to_string()
    }

    #[test]
    fn keys_and_values_know_their_place() {
        let file = Arc::from("a.toml");
        let text = "[server]\nlisten = \"é\" \n  data = 5\n[[auth.key]]\nname = \"x\"\n";
        let root = parse(text, &file).ok().unwrap();
        assert_eq!(at(&root, "server"), "a.toml:1:2");
        let Value::Table(server) = &root.0["server"].node.value else { panic!("a table") };
        assert_eq!(at(server, "listen"), "a.toml:2:1");
        assert_eq!(server.0["data"].node.place.to_string(), "a.toml:3:10");
        let Value::Table(auth) = &root.0["auth"].node.value else { panic!("a table") };
        let Value::List(keys) = &auth.0["key"].node.value else { panic!("a list") };
        assert_eq!(keys[0].place.to_string(), "a.toml:4:1");
    }

    #[test]
    fn a_syntax_error_has_a_place() {
        let problem = parse("[server]\nlisten = \n", &Arc::from("a.toml")).err().unwrap();
        assert!(problem.to_string().starts_with("a.toml:2:"), "{problem}");
    }
}
