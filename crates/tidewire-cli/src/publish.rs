//! `tidewire publish`: one message, or one for each line, and the log's answer.
//!
//! Every message goes out with an idempotency key, so a retry is safe; what is printed on failure
//! says whether the message may be stored, and what to do.

use std::{
    io::{self, BufRead, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use clap::Args;
use serde_json::json;
use tidewire_client::{
    Client, ClientOptions, Data, EventType, Key, Publish, PublishError, Published, Refusal,
    Timeouts, Topic,
};
use tokio::sync::mpsc;

use crate::tail::{ServerArgs, TOKEN_HINT, topic};

/// Lines that may wait to be published.
const LINES_MAX: usize = 500;
/// Bytes after which a batch is sent, below what a server takes in one piece.
const BATCH_BYTES: usize = 1024 * 1024;

/// Publishes a message and prints the log's answer.
///
/// DATA that parses as JSON is sent as JSON, anything else as text; --json and --text insist.
/// Exit codes: 0 stored, 1 refused, 2 wrong usage, 3 the server cannot be reached.
#[derive(Debug, Args)]
pub(crate) struct PublishArgs {
    /// Where it goes: `chat/general`
    #[arg(value_name = "TOPIC", value_parser = topic)]
    topic: Topic,
    /// The data; `-` reads it from stdin
    #[arg(value_name = "DATA", required_unless_present_any = ["binary_file", "ndjson"], allow_hyphen_values = true)]
    data: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
    /// What happened: the event type [default: message]
    #[arg(long, value_name = "TYPE", value_parser = event)]
    event: Option<EventType>,
    /// Idempotency key: the same key again stores nothing twice [default: a random one]
    #[arg(long, value_name = "KEY", value_parser = key, conflicts_with = "ndjson")]
    key: Option<Key>,
    /// The data is JSON, or the command is refused
    #[arg(long, conflicts_with_all = ["text", "binary_file"])]
    json: bool,
    /// The data is text, even if it looks like JSON
    #[arg(long, conflicts_with = "binary_file")]
    text: bool,
    /// The data is this file, as bytes; `-` is stdin
    #[arg(long, value_name = "FILE", conflicts_with_all = ["data", "ndjson"])]
    binary_file: Option<PathBuf>,
    /// Each line of stdin is the data of one message, published as it comes, in order
    #[arg(long)]
    ndjson: bool,
    /// How long to insist, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    timeout: u64,
}

fn event(text: &str) -> Result<EventType, String> {
    EventType::parse(text).map_err(|error| error.to_string())
}

fn key(text: &str) -> Result<Key, String> {
    Key::parse(text).map_err(|error| error.to_string())
}

/// Runs the command.
///
/// # Errors
/// When the URL is not one or the input cannot be read.
pub(crate) async fn run(args: PublishArgs) -> anyhow::Result<ExitCode> {
    let publish = Duration::from_secs(args.timeout);
    let timeouts = Timeouts { publish, ..Timeouts::default() };
    let client = args.server.client(ClientOptions { timeouts, ..ClientOptions::default() })?;
    if args.ndjson {
        if args.data.as_deref().is_some_and(|data| data != "-") {
            return Ok(usage("with --ndjson the messages come from stdin: leave DATA out"));
        }
        return publish_lines(&args, &client).await;
    }
    let data = match input(&args)? {
        Ok(data) => data,
        Err(wrong) => return Ok(usage(&wrong)),
    };
    Ok(match client.publish(message(&args, data)).await {
        Ok(published) => {
            show(&published);
            ExitCode::SUCCESS
        }
        Err(error) => failed(&args, &error),
    })
}

fn usage(wrong: &str) -> ExitCode {
    eprintln!("error: {wrong}");
    ExitCode::from(2)
}

fn message(args: &PublishArgs, data: Data) -> Publish {
    Publish {
        topic: args.topic.clone(),
        event: args.event.clone().unwrap_or_else(EventType::message),
        data,
        key: args.key.clone(),
    }
}

/// The data that the command line names. The inner error is a wrong usage.
fn input(args: &PublishArgs) -> anyhow::Result<Result<Data, String>> {
    if let Some(file) = &args.binary_file {
        let bytes = if file == Path::new("-") { stdin()? } else { read(file)? };
        return Ok(Ok(Data::binary(bytes)));
    }
    let bytes = match args.data.as_deref() {
        Some("-") => stdin()?,
        data => data.unwrap_or_default().as_bytes().to_vec(),
    };
    Ok(data_of(args, bytes))
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))
}

fn stdin() -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes).context("stdin cannot be read")?;
    Ok(bytes)
}

/// JSON if it is JSON, else text, unless the command line insists.
fn data_of(args: &PublishArgs, bytes: Vec<u8>) -> Result<Data, String> {
    if !args.text {
        match Data::json(bytes.clone()) {
            Ok(data) => return Ok(data),
            Err(error) if args.json => return Err(error.to_string()),
            Err(_) => {}
        }
    }
    Data::text(bytes).map_err(|error| format!("{error}: send bytes with --binary-file"))
}

/// Prints the answer. When nobody reads it any more, the message is stored all the same.
fn show(published: &Published) {
    let _unread = writeln!(io::stdout().lock(), "{}", answer(published));
}

fn answer(published: &Published) -> serde_json::Value {
    let id = published.id.map(|id| id.to_string());
    let mut answer = json!({"id": id, "stored": published.stored});
    if published.duplicate {
        answer["duplicate"] = true.into();
    }
    answer
}

/// Publishes the lines of stdin in batches: as many as wait, so one at a time when they come slowly.
async fn publish_lines(args: &PublishArgs, client: &Client) -> anyhow::Result<ExitCode> {
    let (sender, mut lines) = mpsc::channel(LINES_MAX);
    // Reading blocks, and nothing can interrupt it: the thread ends with the process.
    std::thread::spawn(move || {
        for line in io::stdin().lock().split(b'\n') {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    let mut number = 0;
    while let Some(line) = lines.recv().await {
        let (mut batch, mut bytes, mut next, mut wrong) = (Vec::new(), 0, Some(line), None);
        while let Some(line) = next.take() {
            number += 1;
            let line = line.context("stdin cannot be read")?;
            if !line.trim_ascii().is_empty() {
                bytes += line.len();
                match data_of(args, line.trim_ascii_end().to_vec()) {
                    Ok(data) => batch.push(message(args, data)),
                    Err(what) => wrong = Some(what),
                }
            }
            if wrong.is_none() && batch.len() < LINES_MAX && bytes < BATCH_BYTES {
                next = lines.try_recv().ok();
            }
        }
        match client.publish_batch(batch).await {
            Ok(answers) => answers.iter().for_each(show),
            Err(error) => {
                eprintln!("at line {number} of stdin, or shortly before it:");
                return Ok(failed(args, &error));
            }
        }
        if let Some(wrong) = wrong {
            return Ok(usage(&format!(
                "line {number}: {wrong}; the lines before it are published"
            )));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Says what happened and what to do, and gives the exit code.
fn failed(args: &PublishArgs, error: &PublishError) -> ExitCode {
    eprintln!("error: {error}");
    let (code, hint) = match error {
        PublishError::Refused(refusal) => (1, refused_hint(refusal)),
        PublishError::Unauthorized(_) => (1, TOKEN_HINT.to_owned()),
        PublishError::Busy(_) => {
            (1, "nothing is stored: try again in a moment, or insist longer with --timeout".into())
        }
        PublishError::Token(_) => (1, TOKEN_HINT.to_owned()),
        PublishError::Unreachable(_) | PublishError::Foreign(_) => {
            (3, args.server.unreachable_hint())
        }
        PublishError::Unknown { .. } if args.ndjson => {
            (3, "see what arrived with `tidewire tail` before you publish the rest".to_owned())
        }
        PublishError::Unknown { key, .. } => {
            (3, format!("the same command with `--key {key}` stores it once, whatever happened"))
        }
    };
    eprintln!("  {hint}");
    ExitCode::from(code)
}

fn refused_hint(refusal: &Refusal) -> String {
    match refusal.code.as_str() {
        "forbidden" => "the token does not allow publishing there: get one with \
                        `tidewire token --publish PATTERN`"
            .to_owned(),
        "unknown_feature" => "the first segment of a topic names its feature: declare it in the \
                              config, or see what there is with GET /v1/plan"
            .to_owned(),
        "key_conflict" => "that key belongs to another message: use another --key".to_owned(),
        _ => "the same again would be refused again: change the message".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        publish: PublishArgs,
    }

    fn read(words: &[&str]) -> Result<PublishArgs, clap::Error> {
        Line::try_parse_from([&["publish"], words].concat()).map(|line| line.publish)
    }

    fn data(words: &[&str]) -> Result<Data, String> {
        input(&read(words).unwrap()).unwrap()
    }

    #[test]
    fn data_is_json_if_it_can_be() {
        assert_eq!(data(&["a", "{\"x\": 1}"]), Ok(Data::Json("{\"x\": 1}".into())));
        assert_eq!(data(&["a", "-5"]), Ok(Data::Json("-5".into())));
        assert_eq!(data(&["a", "hello"]), Ok(Data::Text("hello".into())));
        assert_eq!(data(&["a", "5", "--text"]), Ok(Data::Text("5".into())));
        assert!(data(&["a", "hello", "--json"]).unwrap_err().contains("JSON"));
    }

    #[test]
    fn a_file_is_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("picture");
        std::fs::write(&file, [0, 255]).unwrap();
        let words = ["a", "--binary-file", file.to_str().unwrap()];
        assert_eq!(data(&words), Ok(Data::binary(vec![0, 255])));
    }

    #[test]
    fn the_command_line_is_checked() {
        for words in [
            &[][..],
            &["a"],
            &["a b", "1"],
            &["a", "1", "--event", "x y"],
            &["a", "1", "--key", "x y"],
            &["a", "1", "--json", "--text"],
            &["a", "1", "--binary-file", "f"],
            &["a", "--ndjson", "--key", "k"],
            &["a", "1", "--timeout", "0"],
        ] {
            assert!(read(words).is_err(), "{words:?}");
        }
        assert!(read(&["a", "--ndjson"]).is_ok());
    }

    #[test]
    fn the_answer_is_the_servers() {
        let published = Published { id: None, stored: "memory".to_owned(), duplicate: true };
        let text = answer(&published).to_string();
        assert_eq!(text, r#"{"duplicate":true,"id":null,"stored":"memory"}"#);
    }
}
