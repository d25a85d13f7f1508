//! A server in a process of its own takes up its config while it runs: on SIGHUP, and in `dev` when
//! the file changes.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Stdio,
    sync::mpsc::Receiver,
};

use rustix::process::Signal;
use serde_json::Value;
use support::{PATIENCE, Process, tidewire};
use tempfile::TempDir;

mod support;

const KEY: &str = "the key of a program, long enough to be one";

/// A server with a config of its own.
struct Server {
    process: Process,
    errors: Receiver<String>,
    config: PathBuf,
    folder: TempDir,
}

impl Server {
    fn start(command: &str, config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("tidewire.toml");
        fs::write(&file, config).expect("a config");
        let mut process = Process::start(
            tidewire()
                .args([command, "--listen", "127.0.0.1:0", "--config"])
                .arg(&file)
                .arg("--data")
                .arg(folder.path().join("log"))
                .stdin(Stdio::null())
                .stderr(Stdio::piped()),
        );
        let errors = process.errors();
        Self { process, errors, config: file, folder }
    }

    /// Writes the config in place.
    fn write(&self, config: &str) {
        fs::write(&self.config, config).expect("the config is written");
    }

    /// Puts another file in the config's place, as many editors do.
    fn replace(&self, config: &str) {
        let other = self.folder.path().join("other.toml");
        fs::write(&other, config).expect("another file");
        fs::rename(other, &self.config).expect("it takes its place");
    }

    fn hang_up(&self) {
        self.process.signal(Signal::HUP);
    }

    /// What it says, up to a line with this in it.
    fn said(&self, end: &str) -> String {
        let mut said = String::new();
        while !said.contains(end) {
            let line = self.errors.recv_timeout(PATIENCE);
            said += &line.unwrap_or_else(|_| panic!("it never said {end:?}: {said}"));
            said.push('\n');
        }
        said
    }

    fn connect(&self, path: &str, headers: &str) -> BufReader<TcpStream> {
        let address = self.process.url.trim_start_matches("http://").trim_end_matches('/');
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
             Authorization: Bearer {KEY}\r\n{headers}\r\n"
        );
        stream.write_all(request.as_bytes()).expect("it takes a request");
        BufReader::new(stream)
    }

    /// The transport of a feature, as the plan says it.
    fn planned(&self, feature: &str) -> String {
        let mut answer = String::new();
        self.connect("/v1/plan", "").read_to_string(&mut answer).expect("an answer");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
        let plan: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}"));
        let rows = plan["features"].as_array().expect("features");
        let row = rows.iter().find(|row| row["feature"] == feature);
        row.map_or("unknown", |row| row["transport"].as_str().expect("a word")).to_owned()
    }
}

/// Reads an event stream up to a line that begins so.
fn heard(stream: &mut BufReader<TcpStream>, begins: &str) {
    let mut line = String::new();
    while !line.starts_with(begins) {
        line.clear();
        assert!(stream.read_line(&mut line).expect("a line") > 0, "it ended before {begins:?}");
    }
}

fn closed(origin: &str, chat: &str) -> String {
    format!(
        "[server]\norigins = [\"{origin}\"]\n[auth]\nsecret = \"{KEY}\"\n\
         [[auth.key]]\nname = \"test\"\nkey = \"{KEY}\"\nsubscribe = [\"**\"]\n\
         [feature.chat]\n{chat}\n"
    )
}

#[test]
fn serve_reloads_when_it_is_hung_up_on() {
    const ORIGIN: &str = "https://a.example";
    let good = closed(ORIGIN, "client_sends = true");
    let mut server = Server::start("serve", &good);
    assert_eq!(server.planned("chat"), "ws");
    let mut stream = server.connect("/v1/sse?topic=chat/a", "");
    heard(&mut stream, "event: tidewire.hello");

    server.write(&closed(ORIGIN, "client_sends = false\nhistory = \"1h\""));
    server.hang_up();
    let said = server.said("history: 7d → 1h");
    assert!(said.contains("tidewire.toml: 2 changes; clients are told"), "{said}");
    assert!(said.contains("  feature.chat.client_sends: true → false\n"), "{said}");
    assert!(!said.contains(KEY), "{said}");
    heard(&mut stream, "event: tidewire.plan");
    assert_eq!(server.planned("chat"), "sse");

    // Broken in two places: both are said, and nothing is another.
    server.write(&closed(ORIGIN, "histery = \"1h\"\nstored = \"paper\""));
    server.hang_up();
    let said = server.said("not reloaded");
    assert!(said.contains("tidewire.toml:10:1: feature.chat.histery"), "{said}");
    assert!(said.contains("did you mean `history`?"), "{said}");
    assert!(said.contains("tidewire.toml:11:") && said.contains("\"os\""), "{said}");
    assert_eq!(server.planned("chat"), "sse");

    // Good by itself, and not for a server that runs, or not for `serve`.
    server.write(&(closed(ORIGIN, "client_sends = true") + "[limits]\nwait_max = \"3s\"\n"));
    server.hang_up();
    let said = server.said("not reloaded");
    assert!(said.contains("limits.wait_max: a change from 1m to 3s needs a restart"), "{said}");
    server.write("[feature.chat]\nclient_sends = true\n");
    server.hang_up();
    let said = server.said("not reloaded");
    assert!(said.contains("auth.secret") && said.contains("server.origins"), "{said}");
    assert_eq!(server.planned("chat"), "sse");

    // Mended.
    server.write(&good);
    server.hang_up();
    server.said("feature.chat.history: 1h → 7d");
    heard(&mut stream, "event: tidewire.plan");
    assert_eq!(server.planned("chat"), "ws");
    server.hang_up();
    server.said("nothing has changed");

    server.process.signal(Signal::TERM);
    heard(&mut stream, "event: tidewire.bye");
    assert_eq!(server.process.ended(), Some(0));
}

#[test]
fn dev_takes_its_file_up_when_it_changes() {
    let server = Server::start("dev", "[feature.chat]\nclient_sends = true\n");
    let mut stream = server.connect("/v1/sse?topic=chat/a", "");
    heard(&mut stream, "event: tidewire.hello");
    server.replace("[feature.chat]\n[feature.feed]\n");
    let said = server.said("feature.feed: not declared → sse, history 7d");
    assert!(said.contains("chat.client_sends: true → false"), "{said}");
    heard(&mut stream, "event: tidewire.plan");
    assert_eq!((server.planned("chat"), server.planned("feed")), ("sse".into(), "sse".into()));

    server.replace("[feature.chat\n");
    let said = server.said("not reloaded");
    assert!(said.contains("tidewire.toml:1:"), "{said}");
    assert_eq!(server.planned("feed"), "sse");

    // Mended in place, and then by the signal too.
    server.write("[feature.chat]\ntransport = \"poll\"\n");
    server.said("chat.transport: by the plan → poll");
    heard(&mut stream, "event: tidewire.plan");
    assert_eq!((server.planned("chat"), server.planned("feed")), ("poll".into(), "unknown".into()));
    server.hang_up();
    server.said("nothing has changed");

    fs::remove_file(&server.config).expect("it is there");
    let said = server.said("not reloaded");
    assert!(said.contains("cannot be read"), "{said}");
    server.replace("[feature.chat]\n");
    server.said("chat.transport: poll → by the plan");
}

/// There is nothing to reload: who hangs up means the end, in order.
#[test]
fn dev_without_a_file_ends_when_it_is_hung_up_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = Process::dev(folder.path());
    server.signal(Signal::HUP);
    assert_eq!(server.ended(), Some(0));
    assert!(Path::new(&folder.path().join("lock")).exists(), "it had opened its log");
}
