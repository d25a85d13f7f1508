//! The commands as a person or a script uses them: output, exit codes, and what errors say to do.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Output, Stdio},
};

use serde_json::Value;
use support::{Process, tidewire};

mod support;

fn run(arguments: &[&str]) -> Output {
    tidewire().args(arguments).stdin(Stdio::null()).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("an exit code")
}

/// `tidewire tail … --json`, and its lines.
struct Tail {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Tail {
    fn start(url: &str, transport: &str, count: &str) -> Self {
        let mut child = tidewire()
            .args(["tail", "chat/a", "board/b", "--json", "--url", url])
            .args(["--transport", transport, "--count", count])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("tail starts");
        let stdout = child.stdout.take().expect("its output is piped");
        Self { child, lines: BufReader::new(stdout).lines() }
    }

    /// The next line that has this key, as JSON; others are passed over.
    fn next_with(&mut self, key: &str) -> Value {
        loop {
            let line = self.lines.next().expect("a line, not the end").expect("UTF-8");
            let value: Value = serde_json::from_str(&line).expect("JSON");
            if !value[key].is_null() {
                return value;
            }
        }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn publish(url: &str, topic: &str, data: &str) -> Value {
    let output = run(&["publish", topic, data, "--url", url]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("the answer is JSON")
}

/// Three transports follow two topics through a `kill -9`: nothing missing, nothing twice.
#[test]
fn tail_resumes_by_itself_on_every_transport() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Process::dev(folder.path());
    let url = server.url.clone();
    let mut tails: Vec<_> =
        ["sse", "ws", "poll"].map(|transport| Tail::start(&url, transport, "4")).into();
    for tail in &mut tails {
        // Nobody is late: each has said that it has caught up.
        while tail.next_with("tidewire")["tidewire"] != "live" {}
    }
    let mut ids = vec![publish(&url, "chat/a", "1"), publish(&url, "board/b", "2")];
    for tail in &mut tails {
        for answer in &ids {
            assert_eq!(tail.next_with("topic")["id"], answer["id"]);
        }
    }
    let port = url.trim_end_matches('/').rsplit(':').next().expect("a port").to_owned();
    server.kill();
    let server = Process::dev_at(folder.path(), &format!("127.0.0.1:{port}"));
    ids.truncate(0);
    ids.extend([publish(&server.url, "chat/a", "3"), publish(&server.url, "board/b", "4")]);
    for tail in &mut tails {
        for answer in &ids {
            assert_eq!(tail.next_with("topic")["id"], answer["id"]);
        }
        let ended = tail.child.wait().expect("it ends by itself after four");
        assert_eq!(ended.code(), Some(0));
    }
}

#[test]
fn publish_says_what_went_wrong_and_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Process::dev(folder.path());
    let keyed = |data| run(&["publish", "chat/a", data, "--key", "k", "--url", &server.url]);
    assert_eq!(code(&keyed("1")), 0);
    let again = keyed("1");
    let answer: Value = serde_json::from_slice(&again.stdout).expect("JSON");
    assert_eq!((code(&again), &answer["duplicate"]), (0, &Value::Bool(true)));
    let conflict = keyed("2");
    assert_eq!(code(&conflict), 1);
    assert!(text(&conflict.stderr).contains("key_conflict"), "{}", text(&conflict.stderr));
    let usage = run(&["publish", "not a topic", "1", "--url", &server.url]);
    assert_eq!(code(&usage), 2);
    assert!(text(&usage.stderr).contains("percent-encode"));
    // Nobody listens on port 1.
    let nobody = run(&["publish", "chat/a", "1", "--url", "http://127.0.0.1:1"]);
    assert_eq!(code(&nobody), 3);
    assert!(text(&nobody.stderr).contains("tidewire dev"), "{}", text(&nobody.stderr));
}

#[test]
fn serve_does_not_start_without_a_secret_and_origins() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("tidewire.toml");
    std::fs::write(&config, "[feature.chat]\nclient_sends = true\n").expect("a config");
    let refused = run(&["serve", "--config", path(&config)]);
    let said = text(&refused.stderr);
    assert_eq!(code(&refused), 1);
    assert!(said.contains("auth.secret") && said.contains("secret_file"), "{said}");
    assert!(said.contains("server.origins") && said.contains("origins = ["), "{said}");
    let missing = run(&["serve", "--config", path(&folder.path().join("none.toml"))]);
    assert_eq!(code(&missing), 1);
    assert!(text(&missing.stderr).contains("--config"));
}

#[test]
fn a_closed_server_lets_in_who_has_a_token_that_the_command_minted() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("tidewire.toml");
    let data = folder.path().join("log");
    let toml = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\ndata = {data:?}\norigins = [\"https://a.example\"]\n\
         [auth]\nsecret = \"0123456789012345678901234567890123456789\"\n\
         [feature.chat]\nclient_sends = true\n"
    );
    std::fs::write(&config, toml).expect("a config");
    let minted = run(&[
        "token",
        "--config",
        path(&config),
        "--sub",
        "alice",
        "--publish",
        "chat/*",
        "--ttl",
        "1h",
    ]);
    assert_eq!(code(&minted), 0, "{}", text(&minted.stderr));
    let token = text(&minted.stdout).trim().to_owned();
    let server = Process::start(tidewire().args(["serve", "--config", path(&config)]));
    let anybody = run(&["publish", "chat/a", "1", "--url", &server.url]);
    assert_eq!(code(&anybody), 1);
    assert!(text(&anybody.stderr).contains("token_missing"), "{}", text(&anybody.stderr));
    let with = ["--url", &server.url, "--token", &token];
    let alice = run(&[&["publish", "chat/a", "1"][..], &with].concat());
    assert_eq!(code(&alice), 0, "{}", text(&alice.stderr));
    let elsewhere = run(&[&["publish", "other/a", "1"][..], &with].concat());
    assert_eq!(code(&elsewhere), 1);
}

#[test]
fn dev_listens_on_this_machine_only_and_one_process_has_the_folder() {
    let elsewhere = run(&["dev", "--listen", "0.0.0.0:0"]);
    assert_eq!(code(&elsewhere), 1);
    assert!(text(&elsewhere.stderr).contains("tidewire serve"), "{}", text(&elsewhere.stderr));
    let folder = tempfile::tempdir().expect("a folder");
    let _server = Process::dev(folder.path());
    let second = run(&["dev", "--listen", "127.0.0.1:0", "--data", path(folder.path())]);
    assert_eq!(code(&second), 1);
    let said = text(&second.stderr);
    assert!(said.contains(path(folder.path())), "{said}");
}

#[test]
fn plan_answers_for_programs_and_for_people() {
    let planned = run(&["plan", "--client-sends", "yes", "--json"]);
    let plan: Value = serde_json::from_slice(&planned.stdout).expect("JSON");
    assert_eq!((code(&planned), &plan["transport"]), (0, &Value::from("ws")));
    let mut asked = tidewire()
        .arg("plan")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("plan starts");
    let mut input = asked.stdin.take().expect("its input is piped");
    std::io::Write::write_all(&mut input, b"no\nno\ndetect\n").expect("it listens");
    drop(input);
    let mut said = String::new();
    asked.stdout.take().expect("piped").read_to_string(&mut said).expect("UTF-8");
    assert!(asked.wait().expect("it ends").success());
    assert!(said.contains("Server-Sent Events") || said.contains("sse"), "{said}");
}

#[test]
fn check_tells_every_problem_at_once_with_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("bad.toml");
    std::fs::write(&config, "[server]\nlisen = \"x\"\n[feature.chat]\nhistory = \"30 parsecs\"\n")
        .expect("a config");
    let checked = run(&["check", path(&config)]);
    let said = text(&checked.stdout) + &text(&checked.stderr);
    assert_eq!(code(&checked), 1);
    assert!(said.contains("bad.toml:2:1") && said.contains("listen"), "{said}");
    assert!(said.contains("bad.toml:4:") && said.contains("history"), "{said}");
}

#[test]
fn help_and_version_are_there_for_every_command() {
    assert!(text(&run(&["version"]).stdout).starts_with("tidewire 0."));
    for command in ["dev", "serve", "plan", "check", "publish", "tail", "token"] {
        let help = run(&[command, "--help"]);
        assert_eq!(code(&help), 0, "{command}");
        assert!(text(&help.stdout).contains("Usage: tidewire"), "{command}");
    }
    assert_eq!(code(&run(&["dance"])), 2);
}

fn path(path: &Path) -> &str {
    path.to_str().expect("the path is UTF-8")
}
