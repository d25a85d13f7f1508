//! Reads a page: the entries of some topics after a place, merged in log order.
//!
//! It looks into memory first, and at files only for what memory does not hold. Files are read away
//! from the runtime's threads. The cost is that of the entries returned and of one search in each
//! file in between, not of the log's size.

use std::{collections::VecDeque, sync::Arc};

use tidewire_core::{Page, PageLimit, ReadError};
use tidewire_proto::{Entry, Sequence};

use crate::{
    disk::Disk,
    error::StoreError,
    segment::{Run, RunReader, Segment},
    shared::Shared,
    state::{InMemory, InWal, Places, Plan, Wanted},
};

/// How many files' tables are searched on the caller's thread.
const TABLES_AT_ONCE: usize = 256;
/// How often a read begins again because retention took a file away under it.
pub(crate) const ATTEMPTS: usize = 16;

/// Reads a page of topics, which come sorted.
pub(crate) async fn read(
    shared: &Arc<Shared>,
    wanted: Vec<Wanted>,
    after: Sequence,
    limit: PageLimit,
) -> Result<Page, ReadError> {
    let held = shared.lock().in_memory(&wanted, after, cut(limit));
    if let Some(page) = held.and_then(|held| page_in_memory(held, &wanted, after, limit)) {
        return Ok(page);
    }
    for _ in 0..ATTEMPTS {
        let plan = shared.lock().plan(wanted.clone(), after, limit.entries.saturating_add(1));
        let page = if is_quick(&plan, limit) {
            page(&*shared.disk, plan, limit)
        } else {
            let permit = Arc::clone(&shared.file_reads).acquire_owned().await;
            let disk = Arc::clone(&shared.disk);
            let read = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                page(&*disk, plan, limit)
            });
            read.await.map_err(|error| ReadError::Failed(error.to_string()))?
        };
        match page {
            Err(error) if error.is_gone() => {}
            page => return Ok(page?),
        }
    }
    Err(ReadError::Failed("retention removes files faster than they are read".to_owned()))
}

/// How many entries of each topic are looked for: one more than wanted, to know whether the page was
/// cut short.
fn cut(limit: PageLimit) -> usize {
    if limit.entries == 0 { 0 } else { limit.entries.saturating_add(1) }
}

/// The page, when all of it is in memory. Nothing if two topics share a hash: then others look closer.
fn page_in_memory(
    held: InMemory,
    wanted: &[Wanted],
    after: Sequence,
    limit: PageLimit,
) -> Option<Page> {
    let InMemory { newest, lost, any, mut entries } = held;
    let is_wanted = |entry: &Arc<Entry>| {
        wanted.binary_search_by(|wanted| wanted.topic.cmp(&entry.topic)).is_ok()
    };
    if !entries.iter().all(is_wanted) {
        return None;
    }
    entries.sort_unstable_by_key(|entry| entry.sequence);
    if !entries.is_sorted_by(|before, entry| before.sequence < entry.sequence) {
        return None;
    }
    let (mut count, mut bytes) = (0, 0_usize);
    for entry in entries.iter().take(limit.entries) {
        bytes = bytes.saturating_add(entry.data.bytes().len());
        if count > 0 && bytes > limit.bytes {
            break;
        }
        count += 1;
    }
    let whole = if limit.entries == 0 { !any } else { count == entries.len() };
    entries.truncate(count);
    let last = entries.last().map_or(after, |entry| entry.sequence);
    Some(Page { entries, through: if whole { newest.max(after) } else { last }, lost })
}

/// Can this be answered from memory, and soon?
fn is_quick(plan: &Plan, limit: PageLimit) -> bool {
    let tables = plan.topics.iter().flat_map(|places| &places.segments);
    let few = tables.map(|segments| segments.len()).sum::<usize>() <= TABLES_AT_ONCE;
    let reads_file =
        |places: &Places| !places.wals.is_empty() || Runs::new(places, plan).next().is_some();
    few && (limit.entries == 0 || !plan.topics.iter().any(reads_file))
}

/// The runs of one topic that may hold something between a place and memory, oldest first.
struct Runs {
    segments: VecDeque<Arc<Segment>>,
    hash: u64,
    after: Sequence,
    floor: Sequence,
}

impl Runs {
    fn new(places: &Places, plan: &Plan) -> Self {
        let mut segments: Vec<Arc<Segment>> = Vec::new();
        for held in &places.segments {
            let from = held.partition_point(|segment| segment.footer.newest <= plan.after);
            segments.extend(held.iter().skip(from).cloned());
        }
        segments.sort_by_key(|segment| segment.footer.first);
        let hash = places.wanted.hash;
        Self { segments: segments.into(), hash, after: plan.after, floor: plan.floor }
    }
}

impl Iterator for Runs {
    type Item = (Arc<Segment>, Run);

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(segment) = self.segments.pop_front() {
            if segment.footer.oldest > self.floor {
                continue;
            }
            if let Some(run) = segment.run(self.hash).filter(|run| run.last > self.after) {
                return Some((segment, run));
            }
        }
        None
    }
}

/// Walks one topic from files to memory.
struct Walker {
    wanted: Wanted,
    after: Sequence,
    floor: Sequence,
    runs: Runs,
    run: Option<RunReader>,
    wals: VecDeque<InWal>,
    /// How many of the first one's are read.
    read_in_wal: usize,
    recent: VecDeque<Arc<Entry>>,
    last: Option<Arc<Entry>>,
}

impl Walker {
    fn new(places: Places, plan: (Sequence, Sequence), runs: Runs) -> Self {
        Self {
            wanted: places.wanted,
            after: plan.0,
            floor: plan.1,
            runs,
            run: None,
            wals: places.wals.into(),
            read_in_wal: 0,
            recent: places.recent.into(),
            last: None,
        }
    }

    /// The next entry of the topic.
    fn next(&mut self, disk: &dyn Disk) -> Result<Option<Arc<Entry>>, StoreError> {
        if let Some(entry) = self.next_sorted(disk)? {
            return Ok(Some(Arc::new(entry)));
        }
        while let Some(InWal { wal, found }) = self.wals.front() {
            let Some(&(sequence, offset)) = found.get(self.read_in_wal) else {
                self.wals.pop_front();
                self.read_in_wal = 0;
                continue;
            };
            self.read_in_wal += 1;
            let entry = Arc::new(wal.entry_at(sequence, offset, self.last.as_deref())?);
            if entry.topic == self.wanted.topic {
                self.last = Some(Arc::clone(&entry));
                return Ok(Some(entry));
            }
        }
        Ok(self.recent.pop_front())
    }

    fn next_sorted(&mut self, disk: &dyn Disk) -> Result<Option<Entry>, StoreError> {
        loop {
            if let Some(run) = &mut self.run {
                match run.next(self.wanted.topic.as_str())? {
                    // From here on memory has it.
                    Some(entry) if entry.sequence > self.floor => {}
                    Some(entry) => return Ok(Some(entry)),
                    None => {}
                }
                self.run = None;
            }
            let Some((segment, run)) = self.runs.next() else { return Ok(None) };
            self.run = Some(segment.read_run(disk, run, self.after)?);
        }
    }

    /// Is there anything at all? Asks the tables only.
    fn has_any(&mut self) -> bool {
        !self.recent.is_empty() || !self.wals.is_empty() || self.runs.next().is_some()
    }
}

/// Merges the topics until the limit or the end.
fn page(disk: &dyn Disk, plan: Plan, limit: PageLimit) -> Result<Page, StoreError> {
    let Plan { after, newest, floor, lost, .. } = plan;
    let runs: Vec<_> = plan.topics.iter().map(|places| Runs::new(places, &plan)).collect();
    let topics = plan.topics.into_iter().zip(runs);
    let mut walkers: Vec<_> =
        topics.map(|(places, runs)| Walker::new(places, (after, floor), runs)).collect();
    let mut entries: Vec<Arc<Entry>> = Vec::new();
    let mut whole = true;
    if limit.entries == 0 {
        whole = !walkers.iter_mut().any(Walker::has_any);
    } else {
        let mut bytes = 0_usize;
        let mut heads = Vec::with_capacity(walkers.len());
        for walker in &mut walkers {
            heads.push(walker.next(disk)?);
        }
        while let Some((walker, head)) = earliest(&mut walkers, &mut heads) {
            let Some(entry) = head else { break };
            bytes = bytes.saturating_add(entry.data.bytes().len());
            if entries.len() >= limit.entries || (!entries.is_empty() && bytes > limit.bytes) {
                whole = false;
                break;
            }
            entries.push(Arc::clone(entry));
            *head = walker.next(disk)?;
        }
    }
    let last = entries.last().map_or(after, |entry| entry.sequence);
    Ok(Page { entries, through: if whole { newest.max(after) } else { last }, lost })
}

fn earliest<'a>(
    walkers: &'a mut [Walker],
    heads: &'a mut [Option<Arc<Entry>>],
) -> Option<(&'a mut Walker, &'a mut Option<Arc<Entry>>)> {
    let place = |head: &Option<Arc<Entry>>| head.as_ref().map(|entry| entry.sequence);
    let all = walkers.iter_mut().zip(heads);
    all.filter(|(_, head)| head.is_some()).min_by_key(|(_, head)| place(head))
}
