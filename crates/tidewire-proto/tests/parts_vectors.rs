//! `conformance/stream-parts.json`, cut at every byte.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use serde_json::Value;
use tidewire_proto::{
    Data, WireError,
    parts::{Form, Part, PartReader},
};

fn read(form: Form, bytes_max: usize, pieces: &[&[u8]]) -> (Vec<Part>, Result<(), WireError>) {
    let (mut reader, mut parts) = (PartReader::new(form, bytes_max), Vec::new());
    for piece in pieces {
        if let Err(error) = reader.feed(piece, &mut parts) {
            return (parts, Err(error));
        }
    }
    let finished = reader.finish(&mut parts);
    (parts, finished)
}

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn bytes_of(case: &Value, text: &str) -> Vec<u8> {
    case[text]
        .as_str()
        .map_or_else(|| unhex(case["hex"].as_str().unwrap()), |text| text.as_bytes().to_vec())
}

fn expected(part: &Value) -> (String, Option<String>, Data) {
    let data = match (part["json"].as_str(), part["text"].as_str()) {
        (Some(json), _) => Data::json(json.to_owned()).unwrap(),
        (None, Some(text)) => Data::text(text.to_owned()).unwrap(),
        (None, None) => Data::binary(unhex(part["hex"].as_str().unwrap())),
    };
    (part["event"].as_str().unwrap().to_owned(), part["item"].as_str().map(str::to_owned), data)
}

/// Pieces of plain text as one: how it was cut is nobody's business.
fn joined(form: Form, parts: Vec<Part>) -> Vec<(String, Option<String>, Data)> {
    let plain = parts.into_iter().map(|part| {
        (part.event.as_str().to_owned(), part.item.map(|item| item.as_str().to_owned()), part.data)
    });
    if form != Form::Text {
        return plain.collect();
    }
    let text: String = plain.map(|(_, _, data)| data.as_text().unwrap().to_owned()).collect();
    if text.is_empty() {
        vec![]
    } else {
        vec![("text".to_owned(), None, Data::text(text).unwrap())]
    }
}

#[test]
fn a_body_is_the_same_parts_wherever_it_is_cut() {
    let vectors: Value =
        serde_json::from_str(include_str!("../../../conformance/stream-parts.json")).unwrap();
    for case in vectors["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let form = match case["form"].as_str().unwrap() {
            "text" => Form::Text,
            "lines" => Form::Lines,
            _ => Form::Events,
        };
        let bytes_max =
            case["bytes_max"].as_u64().map_or(1_000, |max| usize::try_from(max).unwrap());
        let body = bytes_of(case, "body");
        let parts: Vec<_> = case["parts"].as_array().unwrap().iter().map(expected).collect();
        let error = case["error"].as_str();
        let check = |pieces: &[&[u8]], how: &str| {
            let (found, result) = read(form, bytes_max, pieces);
            assert_eq!(joined(form, found), parts, "{name}: {how}");
            let code = result.err().map(|error| error.code.as_str());
            assert_eq!(code, error, "{name}: {how}");
        };
        check(&[&body], "whole");
        check(&body.chunks(1).collect::<Vec<_>>(), "byte by byte");
        for at in 0..=body.len() {
            let (head, tail) = body.split_at(at);
            check(&[head, &[], tail], &format!("cut at {at}"));
        }
    }
}

#[test]
fn text_comes_at_once_and_in_pieces_of_the_size_of_a_message() {
    let (mut reader, mut parts) = (PartReader::new(Form::Text, 4), Vec::new());
    reader.feed("ab€".as_bytes().split_at(3).0, &mut parts).unwrap();
    assert_eq!(parts.pop().unwrap().data.as_text(), Some("ab"), "what is whole does not wait");
    reader.feed("ab€".as_bytes().split_at(3).1, &mut parts).unwrap();
    assert_eq!(parts.pop().unwrap().data.as_text(), Some("€"));
    reader.feed("12345€€".as_bytes(), &mut parts).unwrap();
    let pieces: Vec<_> = parts.iter().map(|part| part.data.as_text().unwrap()).collect();
    assert_eq!(pieces, ["1234", "5€", "€"]);
}

#[test]
fn an_error_says_which_line_it_was() {
    let (_, result) = read(Form::Lines, 100, &[b"\"a\"\n\n\"b\"\nnonsense\n"]);
    let error = result.unwrap_err();
    assert!(error.message.starts_with("line 2: "), "{error}");
}
