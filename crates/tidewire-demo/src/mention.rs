//! Who is called by `@name` in a text. Pure.

use crate::model::Person;

/// The people whose id stands behind an `@` in the text, each once, in the text's order. An `@` inside
/// a word is an address, not a call.
pub(crate) fn mentioned<'a>(text: &str, people: &'a [Person]) -> Vec<&'a Person> {
    let mut found: Vec<&Person> = Vec::new();
    let mut before = ' ';
    let mut rest = text;
    while let Some(at) = rest.find('@') {
        let (ahead, behind) = rest.split_at(at);
        before = ahead.chars().next_back().unwrap_or(before);
        let behind = behind.get(1..).unwrap_or_default();
        let end = behind.find(|c: char| !c.is_alphanumeric()).unwrap_or(behind.len());
        let name = behind.get(..end).unwrap_or_default().to_lowercase();
        let person = people.iter().find(|person| person.id == name && !before.is_alphanumeric());
        found.extend(person.filter(|person| !found.contains(person)));
        before = '@';
        rest = behind;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_an_at_sign_and_a_name() {
        let person = |id: &str| Person {
            id: id.into(),
            name: id.into(),
            initials: String::new(),
            color: String::new(),
            role: String::new(),
        };
        let people = [person("ann"), person("ben")];
        for (text, expected) in [
            ("hi @ann", &["ann"][..]),
            ("@Ben, @ann: look; @ben!", &["ben", "ann"]),
            ("ann@ben.example", &[]),
            ("@annabel @ @@", &[]),
            ("(@ann)@ben", &["ann", "ben"]),
            ("é@ann", &[]),
            ("", &[]),
        ] {
            let found: Vec<_> = mentioned(text, &people).iter().map(|p| p.id.as_str()).collect();
            assert_eq!(found, expected, "{text}");
        }
    }
}
