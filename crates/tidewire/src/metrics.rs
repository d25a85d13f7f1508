//! [`Metrics`]: what the server counts, and `GET /metrics`, where Prometheus reads it.
//!
//! In `tidewire dev` everybody on this machine may; in `tidewire serve`, whoever shows an API key of
//! the config. Format: Prometheus text, version 0.0.4. Label values are words of ours and of the
//! config alone, so there is nothing to escape, and never more series than there are words.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{body::Body, extract::State, response::Response};
use http::{HeaderMap, HeaderValue, header};
use tidewire_core::PresenceStats;
use tidewire_proto::{Code, plan::Transport};

use crate::{
    access,
    answer::Refused,
    app::{App, Counted, bearer},
    path::Verdict,
};

const CONTENT_TYPE: HeaderValue =
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// Counters, for as long as the process runs.
#[derive(Default)]
pub(crate) struct Metrics {
    open: [Arc<AtomicUsize>; Transport::ALL.len()],
    // Seldom touched, and as many as there are combinations of words at most.
    verdicts: Mutex<BTreeMap<[&'static str; 4], u64>>,
}

impl Metrics {
    /// How many streams, sockets or waiting polls are open.
    pub(crate) fn open(&self, transport: Transport) -> &Arc<AtomicUsize> {
        match (transport, &self.open) {
            (Transport::Sse, [open, _, _])
            | (Transport::Ws, [_, open, _])
            | (Transport::Poll, [_, _, open]) => open,
        }
    }

    /// Counts what a client says of its path.
    pub(crate) fn count(&self, verdict: &Verdict) {
        let mut verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        *verdicts.entry(verdict.words()).or_default() += 1;
    }

    fn text(&self, presence: PresenceStats, counted: &Counted, newest: u64) -> String {
        let mut out = String::new();
        let help = "Open event streams (sse), WebSockets (ws) and waiting long-polls (poll).";
        begin(&mut out, "tidewire_streams_open", "gauge", help);
        for transport in Transport::ALL {
            let (name, open) = (transport.as_str(), self.open(transport).load(Ordering::Relaxed));
            let _ = writeln!(out, "tidewire_streams_open{{transport=\"{name}\"}} {open}");
        }
        push_presence(&mut out, presence);
        let help = "What clients reported of their paths: the verdict, from which transport to which \
                    they moved, and what they judged by.";
        begin(&mut out, "tidewire_path_verdicts_total", "counter", help);
        let verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        for ([verdict, from, to, by], count) in &*verdicts {
            let _ = writeln!(
                out,
                "tidewire_path_verdicts_total\
                 {{verdict=\"{verdict}\",from=\"{from}\",to=\"{to}\",by=\"{by}\"}} {count}"
            );
        }
        drop(verdicts);
        questions(&mut out, counted);
        webhooks(&mut out, counted, newest);
        out
    }
}

/// What the app was asked about access. Nothing where it is never asked.
fn questions(out: &mut String, counted: &Counted) {
    let Some(asked) = &counted.asked else { return };
    let help = "Questions about access: the app said yes, said no, or failed; an answer was \
                remembered; nobody was asked, because too many waited or the app had failed.";
    begin(out, "tidewire_authorize_total", "counter", help);
    for (word, count) in access::Counts::WORDS.iter().zip(&asked.outcomes) {
        let count = count.load(Ordering::Relaxed);
        let _ = writeln!(out, "tidewire_authorize_total{{outcome=\"{word}\"}} {count}");
    }
}

/// How webhooks fare. Nothing where there are none.
fn webhooks(out: &mut String, counted: &Counted, newest: u64) {
    let read = counted.webhooks.read(newest);
    if read.is_empty() {
        return;
    }
    let metrics = [
        ("delivered_total", "counter", "Events that were told and taken."),
        ("failed_total", "counter", "Requests that were not answered with a 2xx."),
        ("behind", "gauge", "Places of the log between the newest and what was told."),
    ];
    for (index, (name, kind, help)) in metrics.into_iter().enumerate() {
        let name = format!("tidewire_webhook_{name}");
        begin(out, &name, kind, help);
        for (webhook, values) in &read {
            let value = values.get(index).copied().unwrap_or_default();
            let _ = writeln!(out, "{name}{{webhook=\"{webhook}\"}} {value}");
        }
    }
}

fn push_presence(out: &mut String, stats: PresenceStats) {
    let PresenceStats { members, joins, left, lost } = stats;
    begin(out, "tidewire_presence_members", "gauge", "Members that are in a topic now.");
    let _ = writeln!(out, "tidewire_presence_members {members}");
    begin(out, "tidewire_presence_joins_total", "counter", "Members that entered a topic.");
    let _ = writeln!(out, "tidewire_presence_joins_total {joins}");
    let help = "Members that said that they leave a topic (left), or were heard no more (lost).";
    begin(out, "tidewire_presence_leaves_total", "counter", help);
    for (why, count) in [("left", left), ("lost", lost)] {
        let _ = writeln!(out, "tidewire_presence_leaves_total{{why=\"{why}\"}} {count}");
    }
}

/// The two lines before a metric's own.
fn begin(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

/// The handler.
pub(crate) async fn metrics(
    State(app): State<App>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    if !app.dev {
        check(&app, &headers).await?;
    }
    let (presence, newest) = (app.hub.presence().stats(), app.hub.newest().sequence.0);
    let text = app.metrics.text(presence, &app.counted, newest);
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, CONTENT_TYPE);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Is this a program with an API key? A user's token is good, but not for this.
async fn check(app: &App, headers: &HeaderMap) -> Result<(), Refused> {
    if bearer(headers)?.is_some_and(|shown| app.keys.load().program(shown).is_some()) {
        return Ok(());
    }
    app.admit(headers, None).await?;
    let message = "metrics are for programs with an API key: \
                   send a key of `[[auth.key]]` as `Authorization: Bearer …`";
    Err(Refused::new(Code::Forbidden, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let metrics = Metrics::default();
        metrics.open(Transport::Sse).store(3, Ordering::Relaxed);
        metrics.open(Transport::Poll).store(1, Ordering::Relaxed);
        let parse = |text: &str| Verdict::parse(text.as_bytes()).unwrap();
        let clear = parse(r#"{"verdict":"clear","from":"ws","to":"sse","by":"retest"}"#);
        let buffered = parse(r#"{"verdict":"buffered","from":"sse","to":"ws","by":"canary"}"#);
        for verdict in [&clear, &buffered, &buffered] {
            metrics.count(verdict);
        }
        let expected = r#"# HELP tidewire_streams_open Open event streams (sse), WebSockets (ws) and waiting long-polls (poll).
# TYPE tidewire_streams_open gauge
tidewire_streams_open{transport="sse"} 3
tidewire_streams_open{transport="ws"} 0
tidewire_streams_open{transport="poll"} 1
# HELP tidewire_presence_members Members that are in a topic now.
# TYPE tidewire_presence_members gauge
tidewire_presence_members 2
# HELP tidewire_presence_joins_total Members that entered a topic.
# TYPE tidewire_presence_joins_total counter
tidewire_presence_joins_total 7
# HELP tidewire_presence_leaves_total Members that said that they leave a topic (left), or were heard no more (lost).
# TYPE tidewire_presence_leaves_total counter
tidewire_presence_leaves_total{why="left"} 4
tidewire_presence_leaves_total{why="lost"} 1
# HELP tidewire_path_verdicts_total What clients reported of their paths: the verdict, from which transport to which they moved, and what they judged by.
# TYPE tidewire_path_verdicts_total counter
tidewire_path_verdicts_total{verdict="buffered",from="sse",to="ws",by="canary"} 2
tidewire_path_verdicts_total{verdict="clear",from="ws",to="sse",by="retest"} 1
"#;
        let presence = PresenceStats { members: 2, joins: 7, left: 4, lost: 1 };
        assert_eq!(metrics.text(presence, &Counted::default(), 0), expected);
    }
}
