//! What a process costs, read from `/proc`: processor time, resident memory; and what everybody
//! else on the machine took at the same time.
//!
//! It must not know what the process does. Processor time is the scheduler's own count of
//! nanoseconds over all threads; the coarser count that includes ended threads is the cross-check,
//! and is used where it is clearly larger.

use std::{collections::BTreeMap, fs, process};

use super::clock::SECOND;

/// Processes that are measured together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Probe {
    pids: Vec<u32>,
}

/// Processor time up to one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cpu {
    threads: BTreeMap<u32, u64>,
    ticks_ns: u64,
}

/// Memory at one moment, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    pub(crate) resident: u64,
    /// Resident, with shared pages divided among those who share them; 0 if it cannot be read.
    pub(crate) proportional: u64,
}

impl Probe {
    /// A process, and its children if they are to count.
    pub(crate) fn new(pid: u32, with_children: bool) -> Self {
        let mut pids = vec![pid];
        if with_children {
            let parents = parents();
            let mut at = 0;
            while let Some(parent) = pids.get(at).copied() {
                pids.extend(parents.iter().filter(|(_, of)| **of == parent).map(|(pid, _)| pid));
                at += 1;
            }
        }
        Self { pids }
    }

    /// Is anything measured at all?
    pub(crate) fn is_empty(&self) -> bool {
        self.pids.is_empty()
    }

    /// Processor time until now.
    pub(crate) fn cpu(&self) -> Cpu {
        let mut cpu = Cpu::default();
        for pid in &self.pids {
            cpu.ticks_ns += ticks_ns(*pid);
            let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
            for task in tasks {
                let name = task.file_name();
                let Some(tid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
                cpu.threads.insert(tid, on_cpu_ns(&format!("/proc/{pid}/task/{tid}/schedstat")));
            }
        }
        cpu
    }

    /// Memory now.
    pub(crate) fn memory(&self) -> Memory {
        let mut memory = Memory::default();
        for pid in &self.pids {
            memory.resident += kilobytes(&format!("/proc/{pid}/status"), "VmRSS:");
            memory.proportional += kilobytes(&format!("/proc/{pid}/smaps_rollup"), "Pss:");
        }
        memory
    }

    /// The largest resident memory since [`forget_peak`](Self::forget_peak).
    pub(crate) fn peak(&self) -> u64 {
        self.pids.iter().map(|pid| kilobytes(&format!("/proc/{pid}/status"), "VmHWM:")).sum()
    }

    /// Lets the peak begin anew.
    pub(crate) fn forget_peak(&self) {
        for pid in &self.pids {
            let _not_ours = fs::write(format!("/proc/{pid}/clear_refs"), "5");
        }
    }
}

impl Cpu {
    /// Nanoseconds on a processor since an earlier moment.
    pub(crate) fn since(&self, earlier: &Self) -> u64 {
        let before = |tid| earlier.threads.get(tid).copied().unwrap_or(0);
        let exact =
            self.threads.iter().map(|(tid, ns)| ns.saturating_sub(before(tid))).sum::<u64>();
        let coarse = self.ticks_ns.saturating_sub(earlier.ticks_ns);
        // Threads that ended in between are missing from the exact count only.
        if coarse > exact + exact / 20 + SECOND / 20 { coarse } else { exact }
    }
}

/// Processor time of the whole machine, ours, and of the kernel's network threads.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    busy_ns: u64,
    ours: Cpu,
    network: Cpu,
}

impl Machine {
    /// Until now; `with` are processes that belong to the run.
    pub(crate) fn now(with: &Probe) -> Self {
        let mut pids = with.pids.clone();
        pids.extend(Probe::new(process::id(), true).pids);
        pids.sort_unstable();
        pids.dedup();
        Self { busy_ns: busy_ns(), ours: Probe { pids }.cpu(), network: network_threads().cpu() }
    }

    /// Processors that others kept busy since an earlier moment, on average. A part of a processor:
    /// 0.5 is half of one.
    #[expect(clippy::cast_precision_loss, reason = "a run lasts less than 2^53 ns")]
    pub(crate) fn others_since(&self, earlier: &Self, wall_ns: u64) -> f64 {
        let busy = self.busy_ns.saturating_sub(earlier.busy_ns);
        let ours = self.ours.since(&earlier.ours) + self.network.since(&earlier.network);
        busy.saturating_sub(ours) as f64 / wall_ns.max(1) as f64
    }
}

fn busy_ns() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let mut fields = text.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let mut field = || fields.next().and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    let (user, nice, system, _idle, _wait) = (field(), field(), field(), field(), field());
    let (interrupts, soft, stolen) = (field(), field(), field());
    (user + nice + system + interrupts + soft + stolen) * tick_ns()
}

fn tick_ns() -> u64 {
    SECOND / rustix::param::clock_ticks_per_second().max(1)
}

/// `utime` and `stime` of all threads, ended ones included.
fn ticks_ns(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = text.rsplit(')').next().unwrap_or_default();
    let mut fields = after_name.split_whitespace().skip(11);
    let mut field = || fields.next().and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    (field() + field()) * tick_ns()
}

fn on_cpu_ns(path: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().next().and_then(|field| field.parse().ok()).unwrap_or(0)
}

fn kilobytes(path: &str, name: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().next().and_then(|field| field.parse::<u64>().ok()).unwrap_or(0) * 1_024
}

/// The kernel's threads that carry packets when the sender does not.
fn network_threads() -> Probe {
    let is_one = |pid: &u32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name.starts_with("ksoftirqd/")
    };
    Probe { pids: processes().into_iter().filter(is_one).collect() }
}

/// The parent of every process.
fn parents() -> BTreeMap<u32, u32> {
    let parent = |pid: &u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        text.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
    };
    processes().into_iter().filter_map(|pid| Some((pid, parent(&pid)?))).collect()
}

fn processes() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_and_time() {
        let probe = Probe::new(process::id(), true);
        assert!(probe.memory().resident > 100 << 10);
        assert!(probe.peak() >= probe.memory().resident / 2);
        assert!(probe.cpu().since(&Cpu::default()) > 0);
        assert!(!probe.is_empty() && Probe::default().is_empty());
    }

    #[test]
    fn threads_that_ended_count_by_the_coarse_clock() {
        let cpu = |ns, ticks_ns| Cpu { threads: [(1, ns)].into(), ticks_ns };
        assert_eq!(cpu(900, 0).since(&cpu(400, 0)), 500);
        assert_eq!(cpu(900, 10 * SECOND).since(&cpu(400, 0)), 10 * SECOND);
        assert_eq!(cpu(10 * SECOND, 10 * SECOND + SECOND / 100).since(&cpu(0, 0)), 10 * SECOND);
    }
}
