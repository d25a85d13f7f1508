//! `tidewire bench mixed`: readers on both transports, publishers beside them, and hostile readers:
//! do the healthy ones notice?

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::sync_channel,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use clap::Args;

use super::{
    clock::{self, SECOND},
    door::{Template, Transport},
    drive::{self, Pacing},
    fanout::seconds,
    load::{Load, Shape, Way},
    phase::Phase,
    picture,
    report::{Report, Row, number, plain, row},
    run::{self, OutputArgs},
    side::{Side, TargetArgs, own_door},
    writers::{self, Plan, Written},
};

const EXAMPLES: &str = "Examples:
  tidewire bench mixed
  tidewire bench mixed --subscribers 5000 --rate 10 --seconds 20 --picture mixed.svg";

/// Publishers with a request and an answer, beside the fan-out.
const WRITERS: u32 = 4;
/// Each of them publishes so often.
const WRITER_INTERVAL: u64 = SECOND / 20;
/// One WebSocket reader for so many on event streams.
const SOCKETS_PER: u32 = 10;
/// A number that no sequence of a run reaches.
const NO_END: u64 = 1 << 39;

/// Everything at once, and hostile readers: do the healthy ones notice?
///
/// A paced fan-out to readers on event streams and WebSockets, with publishers beside them; first
/// without hostile readers, then with: 1 % that never read and 1 % that read a byte a second. Only for the bench's own server.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct MixedArgs {
    /// Healthy readers on event streams; a tenth as many on WebSockets come on top
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) subscribers: u32,
    /// Size of a payload, in bytes. Large ones fill the hostile readers' buffers sooner
    #[arg(long, value_name = "B", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    pub(crate) bytes: u32,
    /// Messages a second
    #[arg(long, value_name = "R", default_value_t = 20.0, value_parser = seconds)]
    pub(crate) rate: f64,
    /// How long to publish, without and then with the hostile readers
    #[arg(long, value_name = "S", default_value_t = 8.0, value_parser = seconds)]
    pub(crate) seconds: f64,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

const ROWS: [Row; 9] = [
    row("p50_ms", "healthy readers, latency p50 (ms)", 2),
    row("p99_ms", "healthy readers, latency p99 (ms)", 2),
    plain("max_ms", "healthy readers, latency max (ms)", 2),
    row("writers_p99_ms", "publishers answered after, p99 (ms)", 2),
    plain("kept_up", "kept up with the rate (1 = yes)", 0),
    plain("cpu_share", "processors that the server used", 2),
    plain("hostile", "hostile readers", 0),
    plain("growth_mib", "memory growth while publishing (MiB)", 2),
    plain("deliveries", "deliveries on event streams", 0),
];

/// Runs the command.
///
/// # Errors
/// When the server cannot be loaded.
pub(crate) fn run(args: &MixedArgs) -> anyhow::Result<ExitCode> {
    let report = measure(args)?;
    report.print(args.output.json);
    picture::draw(&report, args.output.picture.as_deref())?;
    Ok(report.exit())
}

/// Measures, and prints nothing.
///
/// # Errors
/// When the server cannot be loaded.
pub(crate) fn measure(args: &MixedArgs) -> anyhow::Result<Report> {
    if args.target.subscribe.is_some() {
        bail!("mixed loads the bench's own server only: it needs both transports");
    }
    let sockets = args.subscribers / SOCKETS_PER + 1;
    run::check(args.subscribers + sockets + hostile(args), 1, u32::MAX)?;
    let subscribers = number(f64::from(args.subscribers), 0);
    let setup = format!(
        "{subscribers} on event streams, {sockets} on WebSockets, {WRITERS} publishers, {} bytes, {} messages a second, {} s each",
        args.bytes, args.rate, args.seconds
    );
    let mut report = Report::new("mixed", setup, &ROWS);
    report.columns = ["healthy", "hostile"];
    report
        .notes
        .push("The ratio is that of the healthy readers with and without hostile ones.".to_owned());
    for round in 0..args.output.rounds {
        let [without, with] = round_of(args, round)?;
        report.phases.extend([without, with]);
    }
    Ok(report)
}

fn hostile(args: &MixedArgs) -> u32 {
    (args.subscribers / 50).max(2)
}

/// The same server and the same readers, without and then with hostile ones.
fn round_of(args: &MixedArgs, round: u32) -> anyhow::Result<[Phase; 2]> {
    let bytes = args.bytes as usize;
    let side = Side::target(&args.target, Transport::Sse)?;
    let mut load = run::load(&side, 1, bytes, round, u32::MAX)?;
    load.connect(args.subscribers, "now")?;
    let sockets = Sockets::start(&side, args, round)?;
    load.add_publisher(side.way.clone())?;
    drive::warm_up(&mut load)?;
    // The first phase stands in the floor's column: the same run, without what is measured.
    let mut without = stretch(args, &side, &mut load, "floor", round)?;
    load.connect_hostile(true);
    load.connect(hostile(args), "now")?;
    let mut with = stretch(args, &side, &mut load, "target", round)?;
    with.set("hostile", f64::from(hostile(args)));
    clock::rest(Duration::from_millis(200));
    let sockets = sockets.stop(load.tally.published())?;
    without.set_latencies();
    drive::close(&mut load, &mut with)?;
    with.faults.add(&sockets.faults);
    with.gone += sockets.gone;
    with.trouble += &sockets.trouble;
    Ok([without, with])
}

fn stretch(
    args: &MixedArgs,
    side: &Side,
    load: &mut Load,
    name: &str,
    round: u32,
) -> anyhow::Result<Phase> {
    let mut phase = Phase::new(name, round);
    let writers = Writers::start(side, args)?;
    let before = side.probe.memory().resident as f64;
    drive::measure(load, &side.probe, Pacing::Rate(args.rate), args.seconds, &mut phase)?;
    phase.set("growth_mib", (side.probe.memory().resident as f64 - before) / f64::from(1 << 20));
    let written = writers.stop()?;
    phase.set("writers_p99_ms", super::phase::milliseconds(written.latency.quantile(0.99)));
    Ok(phase)
}

/// A thread that ends when it is told to.
struct Background<T> {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<T>>,
}

impl<T: Send + 'static> Background<T> {
    fn start(work: impl FnOnce(&AtomicBool) -> anyhow::Result<T> + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        Self { stop, thread: thread::spawn(move || work(&told)) }
    }

    fn stop(self) -> anyhow::Result<T> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("a thread of the load has failed"))?
    }
}

/// Readers on WebSockets, on a thread of their own.
struct Sockets {
    background: Background<Phase>,
    published: Arc<AtomicU64>,
}

impl Sockets {
    /// Returns when all of them stand.
    fn start(side: &Side, args: &MixedArgs, round: u32) -> anyhow::Result<Self> {
        let base = side.url.as_deref().context("only the bench's own server")?;
        let shape = Shape {
            door: own_door(base, Transport::Ws)?,
            feature: side.feature.clone(),
            topics: 1,
            bytes: args.bytes as usize,
            base: u64::from(round + 1) << 40,
            first: args.subscribers + hostile(args),
            per_process: u32::MAX,
        };
        let count = args.subscribers / SOCKETS_PER + 1;
        let published = Arc::new(AtomicU64::new(NO_END));
        let (told, (ready, stand)) = (Arc::clone(&published), sync_channel(1));
        let background = Background::start(move |stop| {
            let mut load = Load::new(shape)?;
            load.tally.set_published(NO_END);
            load.connect(count, "now")?;
            let _nobody_waits = ready.send(());
            while !stop.load(Ordering::Relaxed) {
                load.turn(None)?;
            }
            load.tally.set_published(told.load(Ordering::Relaxed));
            let mut phase = Phase::default();
            drive::close(&mut load, &mut phase)?;
            Ok(phase)
        });
        match stand.recv() {
            Ok(()) => Ok(Self { background, published }),
            // The thread has ended without a word: with an error.
            Err(_) => Err(background.stop().err().unwrap_or_else(|| anyhow!("no readers"))),
        }
    }

    /// The books, closed at this many messages.
    fn stop(self, published: u64) -> anyhow::Result<Phase> {
        self.published.store(published, Ordering::Relaxed);
        self.background.stop()
    }
}

/// Publishers of other topics, on a thread of their own.
struct Writers(Background<Written>);

impl Writers {
    fn start(side: &Side, args: &MixedArgs) -> anyhow::Result<Self> {
        let base = side.url.as_deref().context("only the bench's own server")?;
        let url = Template::parse(&format!("{base}/v1/topics/{{topic}}"), false)?;
        let plan = Plan {
            way: Way::Each { url, headers: Vec::new() },
            feature: format!("{}/writers", side.feature),
            writers: WRITERS,
            batch: 1,
            bytes: args.bytes as usize,
            base: 1,
            interval_ns: WRITER_INTERVAL,
        };
        Ok(Self(Background::start(move |stop| writers::write(&plan, u64::MAX, stop))))
    }

    fn stop(self) -> anyhow::Result<Written> {
        self.0.stop()
    }
}
