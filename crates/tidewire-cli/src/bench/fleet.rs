//! More load processes, for more subscribers than one process may have descriptors.
//!
//! Each runs the same load over its share and says in lines of JSON how far it is; the first process
//! publishes. It must not know scenarios. Invariant: a message has reached everybody when every
//! process says so.

use std::{
    io::BufRead,
    os::fd::OwnedFd,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    },
    thread,
};

use anyhow::{Context, bail};
use rustix::event::{EventfdFlags, eventfd};
use serde_json::{Value, json};

use super::{
    child::{self, Worker},
    clock::{self, SECOND},
    door::{Door, Template, Transport},
    drive,
    histogram::Histogram,
    load::{Load, Shape},
    phase::Phase,
    tally::Faults,
};

/// Lines that may wait.
const LINES_MAX: usize = 64;
/// Least time between two reports of deliveries that finish no message.
const REPORT: u64 = SECOND / 50;
/// A number of messages that no run reaches.
const NO_END: u64 = 1 << 39;

/// One load process more.
#[derive(Debug)]
struct Remote {
    worker: Worker,
    done: Arc<AtomicU64>,
    delivered: Arc<AtomicU64>,
    answers: Receiver<Value>,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Fleet {
    remotes: Vec<Remote>,
    /// Written to whenever one of them has said something.
    wake: Arc<OwnedFd>,
}

impl Fleet {
    /// None yet.
    ///
    /// # Errors
    /// When the kernel has no descriptor left.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self { remotes: Vec::new(), wake: Arc::new(wake) })
    }

    pub(crate) fn wake(&self) -> &OwnedFd {
        &self.wake
    }

    /// Starts a process that begins to connect its share.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn begin(
        &mut self,
        shape: &Shape,
        subscribers: u32,
        after: &str,
    ) -> anyhow::Result<()> {
        let mut worker = Worker::start("load")?;
        let order =
            json!({"shape": shape_to_json(shape), "subscribers": subscribers, "after": after});
        worker.tell(&order)?;
        let (done, delivered) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (told, answers) = sync_channel(LINES_MAX);
        let output = worker.output().context("its output")?;
        let (wake, far, many) = (Arc::clone(&self.wake), Arc::clone(&done), Arc::clone(&delivered));
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let Ok(value) = serde_json::from_str::<Value>(&line) else { return };
                if let Some(count) = value["done"].as_u64() {
                    many.store(value["delivered"].as_u64().unwrap_or(0), Ordering::Release);
                    far.store(count, Ordering::Release);
                } else if told.send(value).is_err() {
                    return;
                }
                let _full_is_awake = rustix::io::write(&*wake, &1_u64.to_ne_bytes());
            }
        });
        self.remotes.push(Remote { worker, done, delivered, answers });
        Ok(())
    }

    /// Waits until all their subscribers stand.
    ///
    /// # Errors
    /// When they do not.
    pub(crate) fn connected(&self) -> anyhow::Result<()> {
        self.remotes.iter().try_for_each(|remote| remote.hear().map(drop))
    }

    /// Messages that have reached everybody here, if there is anybody.
    pub(crate) fn done(&self) -> Option<u64> {
        self.remotes.iter().map(|remote| remote.done.load(Ordering::Acquire)).min()
    }

    /// Deliveries here.
    pub(crate) fn delivered(&self) -> u64 {
        self.remotes.iter().map(|remote| remote.delivered.load(Ordering::Acquire)).sum()
    }

    /// What was measured so far was for warming up.
    ///
    /// # Errors
    /// When a process is gone.
    pub(crate) fn restart_clocks(&mut self) -> anyhow::Result<()> {
        self.ask(&json!({"restart": true}), |_| {})
    }

    /// Closes their books at this many messages, and adds them.
    ///
    /// # Errors
    /// When a process is gone.
    pub(crate) fn close(&mut self, published: u64, phase: &mut Phase) -> anyhow::Result<()> {
        self.ask(&json!({"close": published}), |books| {
            phase.latency.merge(&Histogram::from_json(&books["latency"]));
            let timeline = books["timeline"].as_array().into_iter().flatten();
            let counts: Vec<u64> = timeline.filter_map(Value::as_u64).collect();
            phase.add_timeline(&counts);
            phase.faults.add(&Faults::from_json(&books["faults"]));
            phase.gone += u32::try_from(books["gone"].as_u64().unwrap_or(0)).unwrap_or(u32::MAX);
            phase.trouble += books["trouble"].as_str().unwrap_or_default();
        })
    }

    /// Ends them.
    pub(crate) fn cut(&mut self) {
        self.remotes.clear();
    }

    fn ask(&mut self, order: &Value, mut take: impl FnMut(&Value)) -> anyhow::Result<()> {
        for remote in &mut self.remotes {
            remote.worker.tell(order)?;
        }
        for remote in &self.remotes {
            take(&remote.hear()?);
        }
        Ok(())
    }
}

impl Remote {
    fn hear(&self) -> anyhow::Result<Value> {
        let value = self.answers.recv().context("a load process is gone")?;
        match value["error"].as_str() {
            Some(error) => bail!("{error}"),
            None => Ok(value),
        }
    }
}

/// `tidewire bench load`: one share of the load, until its input ends.
///
/// # Errors
/// When its input is not what it should be.
pub(crate) fn work() -> anyhow::Result<ExitCode> {
    child::end_with_parent()?;
    child::raise_descriptors();
    let (sender, orders) = sync_channel(LINES_MAX);
    thread::spawn(move || read_orders(&sender));
    let first: Value = orders.recv().context("nothing to do")?;
    if let Err(error) = share(&first, &orders) {
        println!("{}", json!({"error": format!("{error:#}")}));
    }
    Ok(ExitCode::SUCCESS)
}

fn read_orders(sender: &SyncSender<Value>) {
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        if sender.send(serde_json::from_str(&line).unwrap_or_default()).is_err() {
            return;
        }
    }
}

fn share(first: &Value, orders: &Receiver<Value>) -> anyhow::Result<()> {
    let mut load = Load::new(shape_from_json(&first["shape"])?)?;
    load.tally.set_published(NO_END);
    let subscribers = u32::try_from(first["subscribers"].as_u64().unwrap_or(0))?;
    load.connect(subscribers, first["after"].as_str().unwrap_or_default())?;
    println!("{}", json!({"connected": true}));
    let (mut said, mut said_ns) = ((0, 0), 0);
    loop {
        load.turn(None)?;
        let (now, is) = (clock::now_ns(), (load.tally.done(), load.tally.delivered()));
        if is.0 != said.0 || is != said && now - said_ns > REPORT {
            println!("{}", json!({"done": is.0, "delivered": is.1}));
            (said, said_ns) = (is, now);
        }
        match orders.try_recv() {
            Ok(order) => println!("{}", obey(&mut load, &order)?),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return Ok(()),
        }
    }
}

fn obey(load: &mut Load, order: &Value) -> anyhow::Result<Value> {
    let Some(published) = order["close"].as_u64() else {
        load.restart_clocks()?;
        return Ok(json!({"restarted": true}));
    };
    load.tally.set_published(published);
    let mut phase = Phase::default();
    drive::close(load, &mut phase)?;
    Ok(json!({"latency": load.latency.to_json(), "timeline": load.timeline.counts(),
              "faults": phase.faults.to_json(), "gone": phase.gone, "trouble": phase.trouble}))
}

fn shape_to_json(shape: &Shape) -> Value {
    let door = &shape.door;
    json!({"url": door.template.url(), "ws": door.transport == Transport::Ws, "headers": door.headers,
           "subprotocol": door.subprotocol, "says": door.says, "wait_for": door.wait_for,
           "feature": shape.feature, "topics": shape.topics, "bytes": shape.bytes,
           "base": shape.base, "first": shape.first})
}

fn shape_from_json(value: &Value) -> anyhow::Result<Shape> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let list = |value: &Value| value.as_array().into_iter().flatten().filter_map(text).collect();
    let number = |name: &str| value[name].as_u64().unwrap_or(0);
    let ws = value["ws"] == true;
    Ok(Shape {
        door: Door {
            // The first process has asked whether this host may be loaded.
            template: Template::parse(value["url"].as_str().unwrap_or_default(), true)?,
            transport: if ws { Transport::Ws } else { Transport::Sse },
            headers: list(&value["headers"]),
            subprotocol: text(&value["subprotocol"]),
            says: list(&value["says"]),
            wait_for: text(&value["wait_for"]),
        },
        feature: text(&value["feature"]).unwrap_or_default(),
        topics: u32::try_from(number("topics"))?,
        bytes: usize::try_from(number("bytes"))?,
        base: number("base"),
        first: u32::try_from(number("first"))?,
        per_process: u32::MAX,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_travels_between_processes() {
        let shape = Shape {
            door: Door {
                template: Template::parse("ws://127.0.0.1:9/a?t={topic}", false).unwrap(),
                transport: Transport::Ws,
                headers: vec!["A: b".to_owned()],
                subprotocol: Some("p".to_owned()),
                says: vec!["{topic}".to_owned()],
                wait_for: None,
            },
            feature: "bench".to_owned(),
            topics: 3,
            bytes: 200,
            base: 7 << 40,
            first: 19_000,
            per_process: 4,
        };
        let again = shape_from_json(&shape_to_json(&shape)).unwrap();
        let wanted = format!("{:?}", Shape { per_process: u32::MAX, ..shape });
        assert_eq!(format!("{again:?}"), wanted);
    }
}
