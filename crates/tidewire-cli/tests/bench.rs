//! `tidewire bench` from outside: what it prints, its exit codes, and that it catches a server that
//! loses, repeats or reorders. No figure is compared with a limit: a test machine is not measured.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    path::Path,
    process::{Command, Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::{PATIENCE, tidewire};

mod support;

fn bench(words: &[&str]) -> Output {
    tidewire().arg("bench").args(words).stdin(Stdio::null()).output().expect("the binary runs")
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs a scenario that must succeed, and gives its JSON.
fn report(words: &[&str]) -> Value {
    let output = bench(&[words, &["--json"]].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{words:?}: {text}{}", errors(&output));
    let report: Value = serde_json::from_str(&text).expect("one line of JSON");
    assert_eq!(report["ok"], true);
    assert_eq!(report["failures"], serde_json::json!([]));
    report
}

/// These figures were measured, on both sides where there are two.
fn measured(report: &Value, keys: &[&str], sides: &[&str]) {
    for key in keys {
        for side in sides {
            let value = report["figures"][key][side].as_f64();
            assert!(value.is_some_and(|value| value > 0.0), "{key} of the {side}: {report}");
        }
    }
}

const BOTH: [&str; 3] = ["floor", "target", "ratio"];

#[test]
fn a_fan_out_on_both_transports() {
    for transport in ["sse", "ws"] {
        let words = ["fanout", "--subscribers", "50", "--seconds", "0.3", "--transport", transport];
        let closed = report(&words);
        measured(&closed, &["deliveries_per_s", "cpu_us", "p99_ms", "connects_per_s"], &BOTH);
        let paced = report(&[&words[..], &["--rate", "50", "--topics", "5"]].concat());
        measured(&paced, &["p50_ms", "p99_ms", "max_ms"], &BOTH);
        assert_eq!(paced["figures"]["kept_up"]["target"], 1.0);
        // Three to warm up, then fifty a second for 0.3 s, each to a fifth of fifty subscribers.
        let deliveries = paced["figures"]["deliveries"]["target"].as_f64();
        assert!(deliveries.is_some_and(|count| (140.0..=160.0).contains(&count)), "{paced}");
    }
}

#[test]
fn a_backlog_and_a_picture() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("run.html");
    let words =
        ["fanout", "--subscribers", "50", "--seconds", "0.3", "--in-flight", "20", "--ephemeral"];
    let path = file.to_str().expect("a path");
    measured(&report(&[&words[..], &["--picture", path]].concat()), &["deliveries_per_s"], &BOTH);
    let html = std::fs::read_to_string(&file).expect("a picture");
    assert!(html.contains("<svg") && html.contains("<path"), "{html}");
}

#[test]
fn several_load_processes_count_as_one() {
    let words = ["--subscribers", "50", "--per-process", "20"];
    let run = report(&[&["fanout", "--seconds", "0.5", "--rate", "40"], &words[..]].concat());
    let deliveries = run["figures"]["deliveries"]["target"].as_f64();
    assert!(deliveries.is_some_and(|count| (950.0..=1_050.0).contains(&count)), "{run}");
    measured(&run, &["p99_ms", "connects_per_s"], &BOTH);
    measured(&report(&[&["fanout", "--seconds", "0.3"], &words[..]].concat()), &["cpu_us"], &BOTH);
    let storm = report(&[&["storm", "--behind", "40"], &words[..]].concat());
    assert_eq!(storm["figures"]["deliveries"]["target"], 2_000.0);
}

#[test]
fn idle_subscribers() {
    let plain = report(&["idle", "--subscribers", "50", "--seconds", "0.1"]);
    measured(&plain, &["connects_per_s"], &BOTH);
    measured(&plain, &["resident_bytes", "idle_resident_mib"], &["target"]);
    let words = ["idle", "--subscribers", "20", "--seconds", "0.1", "--tls", "--transport", "ws"];
    measured(&report(&words), &["connects_per_s", "resident_bytes"], &["target"]);
}

#[test]
fn a_storm_on_both_transports() {
    for transport in ["sse", "ws"] {
        let words = ["storm", "--subscribers", "50", "--behind", "40", "--transport", transport];
        let storm = report(&words);
        measured(&storm, &["caught_up_s", "connects_per_s"], &BOTH);
        assert_eq!(storm["figures"]["deliveries"]["target"], 2_000.0);
    }
}

#[test]
fn publishing_by_every_way() {
    for way in [&["--via", "http"][..], &["--via", "ws"], &["--batch", "50"]] {
        let words = [&["publish", "--publishers", "8", "--seconds", "0.3"], way].concat();
        let written = report(&words);
        measured(&written, &["entries_per_s", "p99_ms"], &BOTH);
        measured(&written, &["checked", "p50_ms", "requests_per_s"], &["target"]);
    }
}

#[test]
fn mixed_readers() {
    let words = ["mixed", "--subscribers", "50", "--seconds", "0.5", "--rate", "40"];
    let mixed = report(&words);
    measured(&mixed, &["p50_ms", "p99_ms", "writers_p99_ms"], &BOTH);
    measured(&mixed, &["hostile"], &["target"]);
}

#[test]
fn pointers_on_one_page() {
    let words = ["pointers", "--people", "6", "--seconds", "0.5"];
    let pointers = report(&words);
    measured(&pointers, &["chat_p50_ms", "chat_p99_ms"], &BOTH);
    measured(&pointers, &["p50_ms", "p99_ms", "moves", "seen_share"], &["target"]);
}

const OLD: [&str; 4] = ["--log-entries", "20000", "--log-topics", "2000"];

#[test]
fn an_aged_log_in_every_scenario_that_takes_one() {
    for words in [
        &["fanout", "--subscribers", "50", "--seconds", "0.2"][..],
        &["storm", "--subscribers", "50", "--behind", "40"],
        &["publish", "--publishers", "8", "--seconds", "0.2"],
    ] {
        let old = report(&[words, &OLD, &["--no-floor"]].concat());
        measured(&old, &["filled_per_s", "rested_s", "filled_mib"], &["target"]);
        assert!(old["setup"].to_string().contains("20,000 entries over 2,000 topics"), "{old}");
    }
}

#[test]
fn empty_and_aged_in_turn() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("a path");
    let size = ["--entries", "20000", "--topics", "2000", "--subscribers", "50"];
    let words = ["aged", "--seconds", "0.2", "--rounds", "2", "--data", path];
    let aged = report(&[&words[..], &size].concat());
    assert_eq!(aged["columns"], serde_json::json!(["empty", "aged"]));
    let keys = ["fan_cpu_us", "fan_per_s", "publish_per_s", "publish_p50_ms", "resume_s"];
    measured(&aged, &keys, &BOTH);
    measured(&aged, &["before_mib", "after_mib"], &["floor", "target"]);
    assert!(is_empty(folder.path()));
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).expect("a folder").next().is_none()
}

/// Is there anything beside the settings: has the server begun its log?
fn has_a_log(folder: &Path) -> bool {
    let runs = std::fs::read_dir(folder).expect("a folder").flatten();
    runs.map(|run| run.path().join("data")).any(|data| data.exists() && !is_empty(&data))
}

#[tokio::test]
async fn an_interrupted_run_leaves_nothing_behind() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command: Command = tidewire();
        command.args(["bench", "publish", "--seconds", "60", "--data"]).arg(folder.path());
        let mut bench =
            command.args(["--no-floor"]).stdout(Stdio::null()).spawn().expect("the binary runs");
        let begun = async {
            while !has_a_log(folder.path()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, begun).await.expect("the server has begun its log");
        let pid = i32::try_from(bench.id()).ok().and_then(Pid::from_raw).expect("a process");
        kill_process(pid, signal).expect("it can be told");
        let ended = tokio::task::spawn_blocking(move || bench.wait().expect("it ends"));
        let status = tokio::time::timeout(PATIENCE, ended).await.expect("it ends").expect("so");
        assert_eq!(status.code(), Some(code), "{signal:?}");
        assert!(is_empty(folder.path()), "{signal:?}");
    }
}

#[test]
fn budgets_are_a_report() {
    let output =
        bench(&["budgets", "--subscribers", "50", "--seconds", "0.2", "--json", "--only", "SSE"]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(
        lines.iter().all(|line| line["met"].is_boolean() && line["measured"].is_number()),
        "{text}"
    );
}

#[test]
fn what_cannot_be_measured_is_an_error() {
    let foreign =
        bench(&["fanout", "--subscribe", "http://192.0.2.7/", "--publish", "http://192.0.2.7/"]);
    assert_eq!(foreign.status.code(), Some(1));
    assert!(errors(&foreign).contains("--i-own-this-host"), "{}", errors(&foreign));
    let nobody = ["--subscribe", "http://127.0.0.1:1/", "--publish", "http://127.0.0.1:1/"];
    let refused = bench(&[&["fanout", "--subscribers", "5", "--no-floor"], &nobody[..]].concat());
    assert_eq!(refused.status.code(), Some(1));
    assert!(errors(&refused).contains("only 0 of 5 subscribers"), "{}", errors(&refused));
    for wrong in [&["fanout", "--seconds", "0"][..], &["storm", "--in-flight", "1"], &["nothing"]] {
        assert_eq!(bench(wrong).status.code(), Some(2), "{wrong:?}");
    }
    let old = bench(&[&["fanout"], &nobody[..], &OLD].concat());
    assert_eq!(old.status.code(), Some(2));
    assert!(errors(&old).contains("--log-entries"), "{}", errors(&old));
    let large = bench(&["aged", "--entries", "1000000000000", "--json"]);
    assert_eq!(large.status.code(), Some(1));
    assert!(errors(&large).contains("GiB free"), "{}", errors(&large));
}

/// What the server of this test does to its seventh message.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    Lose,
    Repeat,
    Swap,
    HangUp,
}

/// The smallest server that can be loaded: event streams, and a POST for each message.
#[derive(Debug)]
struct Fake {
    fault: Fault,
    messages: AtomicU64,
    held: Mutex<Vec<u8>>,
    readers: Mutex<Vec<TcpStream>>,
}

impl Fake {
    fn start(fault: Fault) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let fake = Arc::new(Self {
            fault,
            messages: AtomicU64::new(0),
            held: Mutex::default(),
            readers: Mutex::default(),
        });
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let fake = Arc::clone(&fake);
                thread::spawn(move || fake.serve(&stream));
            }
        });
        format!("http://{address}")
    }

    fn serve(&self, stream: &TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        loop {
            let (mut first, mut length) = (String::new(), 0);
            reader.read_line(&mut first).ok().filter(|read| *read > 0)?;
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).ok()?;
                if let Some(value) = line.strip_prefix("Content-Length: ") {
                    length = value.trim().parse().ok()?;
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            if first.starts_with("GET") {
                let mut out = stream.try_clone().ok()?;
                out.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
                    .ok()?;
                self.readers.lock().ok()?.push(out);
            } else {
                let mut body = vec![0; length];
                reader.read_exact(&mut body).ok()?;
                self.publish(&body);
                (&mut &*stream)
                    .write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
                    .ok()?;
            }
        }
    }

    fn publish(&self, body: &[u8]) {
        let frame = [b"data: ", body, b"\n\n"].concat();
        let number = self.messages.fetch_add(1, Ordering::Relaxed) + 1;
        let mut held = self.held.lock().expect("a lock");
        let now = match self.fault {
            Fault::Lose if number == 7 => Vec::new(),
            Fault::Repeat if number == 7 => [&frame[..], &frame].concat(),
            Fault::Swap if number == 7 => {
                *held = frame;
                Vec::new()
            }
            _ => [&frame[..], &std::mem::take(&mut *held)].concat(),
        };
        let mut readers = self.readers.lock().expect("a lock");
        if self.fault == Fault::HangUp && number == 7 {
            let last = readers.pop().expect("a reader");
            last.shutdown(Shutdown::Both).expect("it was open");
        }
        for reader in readers.iter_mut() {
            reader.write_all(&now).expect("a reader takes it");
        }
    }
}

#[test]
fn a_server_that_loses_repeats_or_reorders_is_caught() {
    for (fault, name, words) in [
        (Fault::None, "", ""),
        (Fault::Lose, "lost", "10 deliveries LOST"),
        (Fault::Repeat, "repeated", "10 deliveries REPEATED"),
        (Fault::Swap, "out_of_order", "10 deliveries OUT OF ORDER"),
    ] {
        let url = Fake::start(fault);
        let (subscribe, publish) = (format!("{url}/s/{{topic}}"), format!("{url}/p/{{topic}}"));
        let target = ["--subscribe", &subscribe, "--publish", &publish, "--no-floor", "--json"];
        let words_of_run = ["fanout", "--subscribers", "10", "--rate", "40", "--seconds", "0.5"];
        let output = bench(&[&words_of_run[..], &target].concat());
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let faults = &report["phases"][0]["faults"];
        let (code, count) = if fault == Fault::None { (0, 0) } else { (1, 10) };
        assert_eq!(output.status.code(), Some(code), "{fault:?} {report}");
        let found: u64 = ["lost", "repeated", "out_of_order", "strangers"]
            .iter()
            .map(|name| faults[name].as_u64().expect("a count"))
            .sum();
        assert_eq!(found, count, "{fault:?} {report}");
        if fault != Fault::None {
            assert_eq!(faults[name], 10, "{fault:?} {report}");
            assert!(report["failures"].to_string().contains(words), "{report}");
            assert_eq!(report["ok"], false);
        }
    }
}

#[test]
fn a_server_that_hangs_up_is_caught() {
    let url = Fake::start(Fault::HangUp);
    let (subscribe, publish) = (format!("{url}/s/{{topic}}"), format!("{url}/p/{{topic}}"));
    let target = ["--subscribe", &subscribe, "--publish", &publish, "--no-floor"];
    let words = ["fanout", "--subscribers", "10", "--rate", "40", "--seconds", "0.5"];
    let output = bench(&[&words[..], &target].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("CONNECTIONS ENDED") && text.contains("LOST"), "{text}");
}
