//! `tidewire bench pointers`: people on one page, each moving a pointer that all others see, and a
//! chat beside it that is stored. Is there a lag, and does the chat notice?

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use bytes::BytesMut;
use clap::Args;
use tidewire::tidewire_proto::frame::{DecodeLimits, Decoder, Event, Role};

use super::{
    clock::{self, SECOND},
    door::Transport,
    fanout::seconds,
    frames,
    histogram::Histogram,
    phase::{Phase, milliseconds},
    picture,
    report::{Report, Row, plain, row},
    run::OutputArgs,
    side::{Side, TargetArgs},
};

const EXAMPLES: &str = "Examples:
  tidewire bench pointers
  tidewire bench pointers --people 100 --rate 30";

/// Of the page's pointers: nothing is kept.
const MOVES: &str = "benchmem/page";
/// Of the chat beside it: stored before anybody hears it.
const CHAT: &str = "bench/page";
/// Chat messages a second.
const CHAT_RATE: u64 = 20;
/// A reader looks up from its socket so often.
const LOOK_UP: Duration = Duration::from_millis(50);
/// Until then everything that was stored has arrived, or is lost.
const PATIENCE_NS: u64 = 5 * SECOND;

/// People who move a pointer on one page, and a chat beside it: is there a lag?
///
/// Each moves its pointer so often and sees those of all, over one WebSocket each. The chat is stored
/// as safely as can be. First the chat alone, then with the pointers. A slow reader is sent where each
/// pointer is now, not where it was, so fewer movements may arrive than were made; of the chat, all.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PointersArgs {
    /// People on the page
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(2..=1_000))]
    pub(crate) people: u32,
    /// Movements of each, a second
    #[arg(long, value_name = "R", default_value_t = 60.0, value_parser = seconds)]
    pub(crate) rate: f64,
    /// How long each phase lasts
    #[arg(long, value_name = "S", default_value_t = 8.0, value_parser = seconds)]
    pub(crate) seconds: f64,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

const ROWS: [Row; 7] = [
    row("chat_p50_ms", "chat, latency p50 (ms)", 2),
    row("chat_p99_ms", "chat, latency p99 (ms)", 2),
    plain("p50_ms", "pointers, latency p50 (ms)", 2),
    plain("p99_ms", "pointers, latency p99 (ms)", 2),
    plain("moves", "movements made", 0),
    plain("seen_share", "of what others moved, seen (1 = all)", 3),
    plain("cpu_share", "processors that the server used", 2),
];

/// Runs the command.
///
/// # Errors
/// When the server cannot be loaded.
pub(crate) fn run(args: &PointersArgs) -> anyhow::Result<ExitCode> {
    let report = measure(args)?;
    report.print(args.output.json);
    picture::draw(&report, args.output.picture.as_deref())?;
    Ok(report.exit())
}

fn measure(args: &PointersArgs) -> anyhow::Result<Report> {
    let setup = format!(
        "{} people, {} movements a second each, {CHAT_RATE} chat messages a second, {} s each",
        args.people, args.rate, args.seconds
    );
    let mut report = Report::new("pointers", setup, &ROWS);
    report.columns = ["alone", "pointers"];
    let note =
        "The load's readers have a thread each on this machine: their share of the lag is in it.";
    report.notes.push(note.to_owned());
    for round in 0..args.output.rounds {
        let side = Side::target(&TargetArgs::own(), Transport::Ws)?;
        for (name, moves) in [("floor", false), ("target", true)] {
            report.phases.push(stretch(args, &side, name, moves, round)?);
        }
    }
    Ok(report)
}

fn stretch(
    args: &PointersArgs,
    side: &Side,
    name: &str,
    moves: bool,
    round: u32,
) -> anyhow::Result<Phase> {
    let base = side.url.as_deref().context("only the bench's own server")?;
    let told = Arc::new(Told::default());
    let mut people = Vec::new();
    let mut readers = Vec::new();
    for _ in 0..args.people {
        let (line, decoder) = join(base)?;
        let (mut reader, told) = (Reader::new(line.try_clone()?, decoder)?, Arc::clone(&told));
        readers.push(thread::spawn(move || reader.read(&told)));
        people.push(line);
    }
    let (mut chat, _) = open(base)?;
    let cpu = side.probe.cpu();
    let begun = clock::now_ns();
    let sent = publish(args, &mut people, &mut chat, moves)?;
    let wall = clock::now_ns() - begun;
    let busy = side.probe.cpu().since(&cpu);
    told.chat.store(sent.chat, Ordering::Relaxed);
    told.deadline.store(clock::now_ns() + PATIENCE_NS, Ordering::Relaxed);
    told.is_over.store(true, Ordering::Relaxed);
    let mut phase = Phase::new(name, round);
    let (mut chat, mut seen) = (Histogram::default(), 0);
    for reader in readers {
        let heard = reader.join().map_err(|_| anyhow!("a reader of the load has failed"))??;
        phase.latency.merge(&heard.moves);
        chat.merge(&heard.chat);
        seen += heard.moves.count();
        phase.faults.lost += sent.chat.saturating_sub(heard.chat.count());
        phase.faults.out_of_order += heard.out_of_order;
    }
    phase.set("chat_p50_ms", milliseconds(chat.quantile(0.5)));
    phase.set("chat_p99_ms", milliseconds(chat.quantile(0.99)));
    phase.set("cpu_share", busy as f64 / wall as f64);
    if moves {
        phase.set_latencies();
        phase.set("moves", sent.moves as f64);
        phase.set("seen_share", seen as f64 / (sent.moves * u64::from(args.people)) as f64);
    }
    Ok(phase)
}

/// What readers are told.
#[derive(Default)]
struct Told {
    is_over: AtomicBool,
    /// So many chat messages there were.
    chat: AtomicU64,
    deadline: AtomicU64,
}

struct Sent {
    moves: u64,
    chat: u64,
}

/// Moves every pointer and writes the chat, in time, one after another.
fn publish(
    args: &PointersArgs,
    people: &mut [TcpStream],
    chat: &mut TcpStream,
    moves: bool,
) -> anyhow::Result<Sent> {
    let begin = clock::now_ns();
    let end = begin + (args.seconds * SECOND as f64) as u64;
    let between_moves = (SECOND as f64 / args.rate / people.len() as f64) as u64;
    let mut sent = Sent { moves: 0, chat: 0 };
    loop {
        let now = clock::now_ns();
        if now >= end {
            return Ok(sent);
        }
        let due_chat = (now - begin) / (SECOND / CHAT_RATE) + 1;
        while sent.chat < due_chat {
            sent.chat += 1;
            let text = format!(
                r#"{{"do":"publish","topic":"{CHAT}","data":{{"t":{},"n":{}}}}}"#,
                clock::now_ns(),
                sent.chat
            );
            chat.write_all(&frames::text(&text))?;
        }
        let due_moves = if moves { (now - begin) / between_moves.max(1) + 1 } else { 0 };
        while sent.moves < due_moves {
            let who = sent.moves as usize % people.len();
            let text = format!(
                r#"{{"do":"publish","topic":"{MOVES}","event":"move","item":"p{who}","data":{{"t":{},"x":{},"y":{}}}}}"#,
                clock::now_ns(),
                sent.moves % 1_920,
                sent.moves % 1_080
            );
            let line = people.get_mut(who).context("a person")?;
            line.write_all(&frames::text(&text))?;
            sent.moves += 1;
        }
        clock::rest(Duration::from_micros(500));
    }
}

/// Opens a socket; what came with its head is in the decoder already.
fn open(base: &str) -> anyhow::Result<(TcpStream, Lines)> {
    let host = base.strip_prefix("http://").context("a plain address")?;
    let mut line = TcpStream::connect(host)?;
    line.set_nodelay(true)?;
    line.set_read_timeout(Some(LOOK_UP))?;
    let head = format!(
        "GET /v1/socket HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    line.write_all(head.as_bytes())?;
    let mut lines = Lines::new();
    let end = loop {
        let end = lines.input.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = end {
            break end + 4;
        }
        lines.fill(&mut line)?;
    };
    let answer = lines.input.split_to(end);
    if !answer.starts_with(b"HTTP/1.1 101") {
        bail!("no WebSocket: {}", String::from_utf8_lossy(&answer));
    }
    Ok((line, lines))
}

/// Opens a socket that reads the page, and waits until it does.
fn join(base: &str) -> anyhow::Result<(TcpStream, Lines)> {
    let (mut line, mut lines) = open(base)?;
    for (reference, topic) in [(1, MOVES), (2, CHAT)] {
        let text = format!(r#"{{"do":"subscribe","ref":{reference},"topic":"{topic}"}}"#);
        line.write_all(&frames::text(&text))?;
    }
    let mut granted = 0;
    while granted < 2 {
        match lines.next(&mut line)? {
            Some(text) if text.contains("\"ok\"") => granted += 1,
            Some(text) if text.contains("\"error\"") => bail!("refused: {text}"),
            _ => {}
        }
    }
    Ok((line, lines))
}

/// A socket's input as messages.
struct Lines {
    input: BytesMut,
    decoder: Decoder,
    buffer: Box<[u8]>,
}

impl Lines {
    fn new() -> Self {
        let limits = DecodeLimits { message_bytes_max: 1 << 20, fragments_max: 1 };
        let decoder = Decoder::new(Role::Client, limits);
        Self { input: BytesMut::new(), decoder, buffer: vec![0; 64 * 1024].into() }
    }

    /// Waits for bytes, for a moment.
    fn fill(&mut self, line: &mut TcpStream) -> anyhow::Result<()> {
        match line.read(&mut self.buffer) {
            Ok(0) => bail!("the server has closed a socket"),
            Ok(count) => self.input.extend_from_slice(&self.buffer[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// The next text; nothing if none came for a moment.
    fn next(&mut self, line: &mut TcpStream) -> anyhow::Result<Option<String>> {
        for has_filled in [false, true] {
            while !self.input.is_empty() {
                match self.decoder.feed(&mut self.input)? {
                    Some(Event::Text(text)) => return Ok(Some(String::from_utf8(text.to_vec())?)),
                    Some(Event::Ping(payload)) => line.write_all(&frames::pong(&payload))?,
                    Some(Event::Close(_)) => bail!("the server closes a socket"),
                    Some(_) => {}
                    None => break,
                }
            }
            if !has_filled {
                self.fill(line)?;
            }
        }
        Ok(None)
    }
}

/// One person's eyes.
struct Reader {
    line: TcpStream,
    lines: Lines,
    heard: Heard,
}

#[derive(Default)]
struct Heard {
    moves: Histogram,
    chat: Histogram,
    last: u64,
    out_of_order: u64,
}

impl Reader {
    fn new(line: TcpStream, lines: Lines) -> anyhow::Result<Self> {
        Ok(Self { line, lines, heard: Heard::default() })
    }

    fn read(&mut self, told: &Told) -> anyhow::Result<Heard> {
        loop {
            if let Some(text) = self.lines.next(&mut self.line)? {
                self.heard.note(&text, clock::now_ns());
            }
            let is_over = told.is_over.load(Ordering::Relaxed);
            let has_all = self.heard.chat.count() >= told.chat.load(Ordering::Relaxed);
            if is_over && (has_all || clock::now_ns() > told.deadline.load(Ordering::Relaxed)) {
                return Ok(std::mem::take(&mut self.heard));
            }
        }
    }
}

impl Heard {
    fn note(&mut self, text: &str, now: u64) {
        let Some(sent) = number(text, "\"t\":") else { return };
        match number(text, "\"n\":") {
            Some(number) => {
                self.chat.record(now.saturating_sub(sent));
                self.out_of_order += u64::from(number != self.last + 1);
                self.last = number;
            }
            None => self.moves.record(now.saturating_sub(sent)),
        }
    }
}

/// The number behind a name.
fn number(text: &str, name: &str) -> Option<u64> {
    let rest = text.get(text.find(name)? + name.len()..)?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest.get(..end)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chat_message_that_is_missing_or_comes_twice_is_noticed() {
        let mut heard = Heard::default();
        for number in [1, 2, 4, 4] {
            heard.note(&format!(r#"{{"id":"a.7","data":{{"t":10,"n":{number}}}}}"#), 30);
        }
        heard.note(r#"{"data":{"t":25,"x":1}}"#, 30);
        heard.note(r#"{"beat":{}}"#, 30);
        assert_eq!((heard.chat.count(), heard.out_of_order), (4, 2));
        assert_eq!((heard.moves.count(), heard.moves.max()), (1, 5));
    }
}
