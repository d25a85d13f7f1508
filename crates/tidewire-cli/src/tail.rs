//! `tidewire tail`: follows topics and prints what comes, for people or for programs.
//!
//! Entries go to stdout, what happens to the connection to stderr; with `--json` both go to stdout,
//! told apart by the key `tidewire`. Knows nothing of transports: the client does.

use std::{
    fmt,
    io::{self, ErrorKind, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use tidewire_client::{
    After, Client, ClientError, ClientOptions, Continuity, Cursor, Data, Delivery, GapReason, Item,
    Options, Rung, Status, TokenSource, Topic,
};

/// Where the server is, and who asks. Shared by the commands that talk to a server.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServerArgs {
    /// The server's base URL
    #[arg(long, value_name = "URL", env = "TIDEWIRE_URL", default_value = "http://127.0.0.1:4000")]
    pub(crate) url: String,
    /// The server's path prefix
    #[arg(long, value_name = "PATH", default_value = "/v1")]
    pub(crate) prefix: String,
    /// The token to show; without it and --token-file, the variable TIDEWIRE_TOKEN
    #[arg(long, value_name = "TOKEN", conflicts_with = "token_file")]
    pub(crate) token: Option<String>,
    /// A file with the token; read again whenever the server asks for a fresh one
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

impl ServerArgs {
    /// A client of this server.
    ///
    /// # Errors
    /// When the URL is not one.
    pub(crate) fn client(&self, options: ClientOptions) -> anyhow::Result<Client> {
        let options =
            ClientOptions { token: self.token_source(), prefix: self.prefix.clone(), ..options };
        Ok(Client::new(&self.url, options)?)
    }

    fn token_source(&self) -> Option<TokenSource> {
        if let Some(file) = &self.token_file {
            let file = file.clone();
            return Some(TokenSource::fetched(move || {
                let read = std::fs::read_to_string(&file)
                    .with_context(|| format!("{} cannot be read", file.display()));
                async move { Ok(read?) }
            }));
        }
        let token = self.token.clone().or_else(|| std::env::var("TIDEWIRE_TOKEN").ok());
        token.filter(|token| !token.trim().is_empty()).map(|token| TokenSource::fixed(&token))
    }

    /// What to do when nobody answers there.
    pub(crate) fn unreachable_hint(&self) -> String {
        format!("is the server running at {}? start one with `tidewire dev`", self.url)
    }
}

/// What to do when the token is missing or not good.
pub(crate) const TOKEN_HINT: &str = "get a token (`tidewire token --help`) and give it with \
                                     --token, --token-file or TIDEWIRE_TOKEN";

/// Follows topics and prints one line for each entry.
///
/// It connects again by itself and loses nothing; what happens to the connection goes to stderr.
/// Ends with Ctrl-C, with --count or with --until-live.
#[derive(Debug, Args)]
pub(crate) struct TailArgs {
    /// Topics to follow: `chat/general`; several come as one stream in one order
    #[arg(value_name = "TOPIC", required = true, value_parser = topic)]
    topics: Vec<Topic>,
    #[command(flatten)]
    server: ServerArgs,
    /// Where to begin: an id (what comes after it), `start` (all that is kept) or `now`
    #[arg(long, value_name = "PLACE", default_value = "now", value_parser = after)]
    after: After,
    /// How to connect: `auto` follows the server's plan
    #[arg(long, value_name = "auto|sse|ws|poll", default_value = "auto", value_parser = rung)]
    transport: Rung,
    /// Print JSON, one object a line; those about the connection have the key `tidewire`
    #[arg(long)]
    json: bool,
    /// End after so many entries
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End when everything that was there is printed; `auto` then reads pages, which say so at once
    #[arg(long)]
    until_live: bool,
}

/// Reads a topic from the command line.
pub(crate) fn topic(text: &str) -> Result<Topic, String> {
    Topic::parse(text).map_err(|error| error.to_string())
}

fn after(text: &str) -> Result<After, String> {
    After::parse(text).map_err(|error| format!("{error}, or write `start` or `now`"))
}

fn rung(text: &str) -> Result<Rung, String> {
    let rungs = [Rung::Auto, Rung::Sse, Rung::Ws, Rung::Poll];
    let found = rungs.into_iter().find(|rung| rung.as_str() == text);
    found.ok_or_else(|| "a transport is auto, sse, ws or poll".to_owned())
}

/// Runs the command.
///
/// # Errors
/// When the URL is not one or the output cannot be written.
pub(crate) async fn run(args: TailArgs) -> anyhow::Result<ExitCode> {
    let client = args.server.client(ClientOptions::default())?;
    let rung = match args.transport {
        Rung::Auto if args.until_live => Rung::Poll,
        rung => rung,
    };
    let options = Options { after: args.after, rung };
    let mut live = client.subscribe(args.topics.iter().cloned(), options);
    let mut printer = Printer::new(&args);
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    let end = loop {
        let item = tokio::select! {
            _ = &mut interrupted => break None,
            item = live.next() => item,
        };
        let printed = match item {
            Ok(item) => printer.item(item),
            Err(error) => break Some(error),
        };
        match printed {
            Ok(true) => {}
            Ok(false) => break None,
            // Whoever read our output has seen enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
            Err(error) => return Err(error).context("the output cannot be written"),
        }
    };
    Ok(finish(&args, live.cursor(), end))
}

/// The last words, and the exit code.
fn finish(args: &TailArgs, cursor: Option<Cursor>, end: Option<ClientError>) -> ExitCode {
    if let Some(cursor) = cursor.filter(|_| !args.json) {
        eprintln!("to go on from here: --after {cursor}");
    }
    let Some(error) = end else { return ExitCode::SUCCESS };
    eprintln!("error: {error}");
    match error {
        ClientError::Unauthorized(_) => eprintln!("  {TOKEN_HINT}"),
        ClientError::Foreign(_) | ClientError::Unreachable(_) => {
            eprintln!("  {}", args.server.unreachable_hint());
            return ExitCode::from(3);
        }
        _ => {}
    }
    ExitCode::FAILURE
}

struct Printer<'a> {
    args: &'a TailArgs,
    left: Option<u64>,
    hinted: bool,
}

impl<'a> Printer<'a> {
    fn new(args: &'a TailArgs) -> Self {
        Self { args, left: args.count, hinted: false }
    }

    /// Prints an item. Says whether to go on.
    fn item(&mut self, item: Item) -> io::Result<bool> {
        match item {
            Item::Entry(entry) => {
                let line = if self.args.json { json_line(&entry) } else { human_line(&entry) };
                writeln!(io::stdout().lock(), "{line}")?;
                self.left = self.left.map(|left| left - 1);
                Ok(self.left != Some(0))
            }
            Item::Live => {
                self.say(
                    &json!({"tidewire": "live"}),
                    "live: everything that was there is printed",
                )?;
                Ok(!self.args.until_live)
            }
            Item::Continuity(continuity) => {
                let (object, sentence) = of_continuity(&continuity);
                self.say(&object, &sentence)?;
                Ok(true)
            }
            Item::Status(status) => {
                let (object, sentence) = of_status(&status);
                self.say(&object, &sentence)?;
                self.hint(&status);
                Ok(true)
            }
        }
    }

    fn say(&self, object: &Value, sentence: &str) -> io::Result<()> {
        if self.args.json {
            writeln!(io::stdout().lock(), "{object}")
        } else {
            eprintln!("# {sentence}");
            Ok(())
        }
    }

    /// Once: what to do when nobody is there.
    fn hint(&mut self, status: &Status) {
        let Status::Waiting { why, .. } = status else { return };
        if why.starts_with("cannot reach") && !std::mem::replace(&mut self.hinted, true) {
            eprintln!("# {}; trying on, Ctrl-C to stop", self.args.server.unreachable_hint());
        }
    }
}

/// Id, topic, event and data in one line, with nothing that would move a terminal's cursor.
fn human_line(entry: &Delivery) -> String {
    let id = entry.id.map_or_else(|| "-".to_owned(), |id| id.to_string());
    let data = match (&entry.data, entry.data.as_text()) {
        (Data::Binary(bytes), _) => format!("({} bytes)", bytes.len()),
        (_, text) => Harmless(text.unwrap_or_default()).to_string(),
    };
    format!("{id}  {}  {}  {data}", entry.topic, entry.event)
}

/// Text without control characters.
struct Harmless<'a>(&'a str);

impl fmt::Display for Harmless<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            if character.is_control() {
                write!(f, "{}", character.escape_default())?;
            } else {
                write!(f, "{character}")?;
            }
        }
        Ok(())
    }
}

/// `{"topic","event","item"?,"id","data","encoding"?}` in one line; JSON data stays as it was published,
/// but for its line ends, which can only stand between tokens.
fn json_line(entry: &Delivery) -> String {
    let text = |text: &str| Value::from(text).to_string();
    let id = entry.id.map_or_else(|| "null".to_owned(), |id| text(&id.to_string()));
    let data = match (&entry.data, entry.data.as_text()) {
        (Data::Json(_), Some(json)) => format!("\"data\":{}", json.replace(['\n', '\r'], " ")),
        (Data::Binary(bytes), _) => {
            use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
            format!("\"encoding\":\"base64\",\"data\":\"{}\"", BASE64.encode(bytes))
        }
        (_, plain) => format!("\"encoding\":\"text\",\"data\":{}", text(plain.unwrap_or_default())),
    };
    let (topic, event) = (text(entry.topic.as_str()), text(entry.event.as_str()));
    let item = entry.item.as_ref().map(|item| format!("\"item\":{},", text(item.as_str())));
    let item = item.unwrap_or_default();
    format!("{{\"topic\":{topic},\"event\":{event},{item}\"id\":{id},{data}}}")
}

fn of_continuity(continuity: &Continuity) -> (Value, String) {
    let word = |word: &str| json!({"tidewire": "continuity", "continuity": word});
    match continuity {
        Continuity::New => (word("new"), "it begins here".to_owned()),
        Continuity::Resumed => (word("resumed"), "resumed: nothing was missed".to_owned()),
        Continuity::Gap { gap, topic } => {
            let mut object = word("gap");
            object["gap"] = json!({
                "reason": gap.reason.as_str(),
                "oldest": gap.oldest.to_string(),
                "newest": gap.newest.to_string(),
                "topic": topic.as_ref().map(Topic::as_str),
            });
            let of = topic.as_ref().map(|topic| format!(" of {topic}")).unwrap_or_default();
            let reason = gap.reason.as_str();
            let why = why(gap.reason);
            (object, format!("GAP{of} ({reason}): {why}; it goes on after {}", gap.oldest))
        }
    }
}

fn why(reason: GapReason) -> &'static str {
    match reason {
        GapReason::Trimmed => "retention dropped entries after that place",
        GapReason::Foreign => "that place is of another log, or of one that was wiped",
        GapReason::Diverged => "entries that were seen here are lost at the server",
        GapReason::Ahead => "the log has not come as far as that place",
    }
}

fn of_status(status: &Status) -> (Value, String) {
    match status {
        Status::Connecting { rung } => (
            json!({"tidewire": "connecting", "transport": rung.as_str()}),
            format!("connecting ({rung})"),
        ),
        Status::Connected { rung, connection } => {
            let name = connection.as_ref().map(|name| format!(", {name}")).unwrap_or_default();
            let object = json!({
                "tidewire": "connected", "transport": rung.as_str(), "connection": connection,
            });
            (object, format!("connected ({rung}{name})"))
        }
        Status::Moved { from, to, why } => (
            json!({"tidewire": "moved", "from": from.as_str(), "to": to.as_str(), "why": why}),
            format!("moved from {from} to {to}: {}", Harmless(why)),
        ),
        Status::Waiting { why, wait } => {
            let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            let object = json!({"tidewire": "waiting", "why": why, "wait_ms": wait_ms});
            (object, format!("{}; next attempt in {:.1} s", Harmless(why), wait.as_secs_f64()))
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use tidewire_client::EventType;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        tail: TailArgs,
    }

    fn read(words: &[&str]) -> Result<TailArgs, clap::Error> {
        Line::try_parse_from([&["tail"], words].concat()).map(|line| line.tail)
    }

    fn entry(data: Data) -> Delivery {
        Delivery {
            item: None,
            topic: Topic::parse("chat/a").unwrap(),
            event: EventType::parse("said").unwrap(),
            id: Cursor::parse("e.7").ok(),
            data,
        }
    }

    #[test]
    fn the_command_line_is_checked() {
        let args = read(&["chat/a", "b", "--after", "k3f9.1", "--transport", "ws"]).unwrap();
        assert_eq!((args.topics.len(), args.transport), (2, Rung::Ws));
        assert!(matches!(args.after, After::Cursor(_)));
        assert_eq!(read(&["a"]).unwrap().after, After::Now);
        for words in [
            &[][..],
            &["a b"],
            &["a", "--after", "yesterday"],
            &["a", "--transport", "carrier-pigeon"],
            &["a", "--count", "0"],
            &["a", "--token", "t", "--token-file", "f"],
        ] {
            assert!(read(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn a_move_is_said_with_its_reason() {
        let why = "something holds event streams back\n".to_owned();
        let (object, sentence) = of_status(&Status::Moved { from: Rung::Sse, to: Rung::Ws, why });
        assert_eq!(sentence, "moved from sse to ws: something holds event streams back\\n");
        assert_eq!((&object["from"], &object["to"]), (&json!("sse"), &json!("ws")));
    }

    #[test]
    fn a_line_for_people_is_one_line() {
        let text = Data::text("two\nlines\u{1b}[2J\u{9b}").unwrap();
        assert_eq!(human_line(&entry(text)), "e.7  chat/a  said  two\\nlines\\u{1b}[2J\\u{9b}");
        assert!(human_line(&entry(Data::binary(vec![1, 2]))).ends_with("(2 bytes)"));
    }

    #[test]
    fn a_line_for_programs_is_one_json_object() {
        for (data, expected) in [
            (Data::json(&b"{\n\"a\": 1.0e2}"[..]).unwrap(), r#""data":{ "a": 1.0e2}"#),
            (Data::text("a\n\"b\"").unwrap(), r#""encoding":"text","data":"a\n\"b\"""#),
            (Data::binary(vec![0, 255]), r#""encoding":"base64","data":"AP8=""#),
        ] {
            let line = json_line(&entry(data));
            let head = r#"{"topic":"chat/a","event":"said","id":"e.7","#;
            assert_eq!(line, format!("{head}{expected}}}"));
            assert!(serde_json::from_str::<Value>(&line).is_ok());
        }
    }
}
