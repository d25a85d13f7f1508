//! Opens the directory: checks what is there, cuts off what a crash tore, makes the rest durable,
//! and only then says what the newest place is.
//!
//! Invariant: damage that a crash cannot have caused is an error. What a crash can cause is cut off
//! at the end of the active file and nowhere else.

use std::{collections::BTreeMap, sync::Arc};

use tidewire_core::log::idempotency::{KeyWindow, Remembered};
use tidewire_proto::Sequence;

use crate::{
    disk::{Disk, Opening, TEMPORARY, read_exact},
    error::{Context, StoreError},
    group::{HEAD_BYTES, Head},
    keys,
    losses::Losses,
    recent::Recent,
    record,
    retention::UNDECLARED,
    scan::{Scanned, begins_whole, later_witness, scan},
    segment::{KeyAt, Segment},
    settings::DiskSettings,
    sorter,
    state::{Classes, Segments, State},
    wal::{self, Noted, SealedWal, WalFile, WalIndex},
};

/// What opening found.
pub(crate) struct Recovered {
    pub(crate) state: State,
    pub(crate) keys: KeyWindow,
    /// The length of the active file, all of it durable.
    pub(crate) written: u64,
}

/// Reads the directory.
pub(crate) fn recover(
    disk: &dyn Disk,
    settings: &DiskSettings,
    classes: &Classes,
    salt: u64,
) -> Result<Recovered, StoreError> {
    let names = clean(disk)?;
    let losses = Losses::read(disk)?;
    let mut found = read_wals(disk, &names, classes, salt)?;
    let bases: Vec<_> = found.wals.iter().map(|(sealed, _)| sealed.wal.head.base).collect();
    let (segments, losses) = read_segments(disk, &names, &bases, losses)?;
    let sorted = segments.values().flat_map(|segments| segments.last());
    let sorted = sorted.map(|segment| segment.footer.last).max().unwrap_or_default();
    let losses = check_seam(disk, sorted, bases.first().copied(), losses)?;
    if found.wals.is_empty() {
        let base = sorted.max(losses.dropped_newest()).next();
        found.wals.push(empty_wal(disk, base, salt)?);
    }
    let keys = restore_keys(disk, settings, &segments, found.keys, &found.wals)?;
    let mut sealed: Vec<_> =
        found.wals.into_iter().map(|(sealed, end)| (Arc::new(sealed), end)).collect();
    let Some((active, written)) = sealed.pop() else {
        return Err(StoreError::corrupt("the data directory", 0, "there is no active file"));
    };
    let Some(SealedWal { wal, index }) = Arc::into_inner(active) else {
        return Err(StoreError::corrupt("the data directory", 0, "the active file is shared"));
    };
    let recent = newest_in(&wal, &index, written, settings.limits.recent_bytes_max)?;
    let state = State {
        newest: index.last(),
        recent,
        wal,
        index,
        sealed: sealed.into_iter().map(|(sealed, _)| sealed).collect(),
        classes: segments,
        losses: Arc::new(losses),
    };
    Ok(Recovered { state, keys, written })
}

/// Removes unfinished files; the names of the others, sorted.
fn clean(disk: &dyn Disk) -> Result<Vec<String>, StoreError> {
    let (unfinished, mut names): (Vec<_>, Vec<_>) = disk
        .list()
        .on("list", "the data directory")?
        .into_iter()
        .partition(|name| name.ends_with(TEMPORARY));
    for name in unfinished {
        disk.remove(&name).on("remove", &name)?;
    }
    names.sort();
    Ok(names)
}

/// Makes an empty append-only file, durably.
pub(crate) fn create_wal(
    disk: &dyn Disk,
    base: Sequence,
    salt: u64,
) -> Result<(WalFile, u64), StoreError> {
    let (name, head) = (wal::file_name(base), Head { base, salt });
    let file = disk.open(&name, Opening::Create).on("create", &name)?;
    file.write_at(&head.encode(), 0).on("write", &name)?;
    file.sync().on("sync", &name)?;
    disk.sync().on("sync the directory of", &name)?;
    Ok((WalFile { name, file, head }, HEAD_BYTES as u64))
}

#[derive(Default)]
struct Wals {
    /// Oldest first; each with its whole length.
    wals: Vec<(SealedWal, u64)>,
    keys: Vec<KeyAt>,
}

/// Reads all append-only files. The last one is the active one, and only it may be torn.
fn read_wals(
    disk: &dyn Disk,
    names: &[String],
    classes: &Classes,
    salt: u64,
) -> Result<Wals, StoreError> {
    let mut bases: Vec<_> = names.iter().filter_map(|name| wal::base_in(name)).collect();
    // A crash may leave a successor without an entry; then the file before it is the active one.
    if let [.., _, last] = *bases
        && !has_entries(disk, last)?
    {
        let name = wal::file_name(last);
        disk.remove(&name).on("remove", &name)?;
        disk.sync().on("sync the directory of", &name)?;
        bases.pop();
    }
    let mut found = Wals::default();
    for (at, &base) in bases.iter().enumerate() {
        let next = bases.get(at + 1).copied();
        let (sealed, end) = match open_wal(disk, base, next.is_none())? {
            Some(wal) => read_wal(wal, next.is_none(), classes, &mut found.keys)?,
            None => empty_wal(disk, base, salt)?,
        };
        let last = sealed.index.last();
        if next.is_some_and(|next| last.next() != next) {
            let problem = format!("it ends at {last}, which is not where the next file begins");
            return Err(StoreError::corrupt(&sealed.wal.name, end, problem));
        }
        found.wals.push((sealed, end));
    }
    Ok(found)
}

fn empty_wal(disk: &dyn Disk, base: Sequence, salt: u64) -> Result<(SealedWal, u64), StoreError> {
    let (wal, length) = create_wal(disk, base, salt)?;
    Ok((SealedWal { wal: Arc::new(wal), index: WalIndex::new(base) }, length))
}

/// Opens a file and reads its head; nothing if the file is the last and has none yet.
fn open_wal(disk: &dyn Disk, base: Sequence, is_last: bool) -> Result<Option<WalFile>, StoreError> {
    let name = wal::file_name(base);
    let file = disk.open(&name, Opening::Write).on("open", &name)?;
    let length = file.len().on("measure", &name)?;
    if is_last && length < HEAD_BYTES as u64 {
        return Ok(None);
    }
    let head = Head::decode(&name, &read_exact(&*file, &name, HEAD_BYTES, 0)?)?;
    match head {
        Some(head) if head.base == base => Ok(Some(WalFile { name, file, head })),
        // The head was made durable before anything came after it.
        None if is_last && length == HEAD_BYTES as u64 => Ok(None),
        _ => Err(StoreError::corrupt(&name, 0, "the file's head is not one of this log")),
    }
}

/// Does the file begin with a whole group?
fn has_entries(disk: &dyn Disk, base: Sequence) -> Result<bool, StoreError> {
    let Some(wal) = open_wal(disk, base, true)? else { return Ok(false) };
    let length = wal.file.len().on("measure", &wal.name)?;
    let begins = begins_whole(&wal, length)?;
    if !begins {
        check_torn(&wal, length, HEAD_BYTES as u64)?;
    }
    Ok(begins)
}

/// Reads one file; cuts a torn tail off the active one and makes the rest of it durable.
fn read_wal(
    wal: WalFile,
    is_active: bool,
    classes: &Classes,
    keys: &mut Vec<KeyAt>,
) -> Result<(SealedWal, u64), StoreError> {
    let length = wal.file.len().on("measure", &wal.name)?;
    let mut index = WalIndex::new(wal.head.base);
    let scanned = scan(&wal, length, |record, offset| {
        let class = classes.of(record::feature(record.topic));
        index.push(class, record::topic_hash(record.topic), offset, &Noted::from(&record));
        let (sequence, at_ms) = (record.sequence, record.at_ms);
        keys.extend(record.key.map(|key| KeyAt { sequence, at_ms, key }));
        Ok(())
    })?;
    if !scanned.whole && !is_active {
        return Err(StoreError::corrupt(&wal.name, scanned.end, "a sealed file has a bad group"));
    }
    if !scanned.whole {
        check_torn(&wal, length, scanned.end)?;
        tracing::warn!(file = wal.name, from = scanned.end, to = length, "a torn tail was cut off");
        wal.file.truncate(scanned.end).on("cut", &wal.name)?;
    }
    if is_active {
        settle(&wal, scanned)?;
    }
    Ok((SealedWal { wal: Arc::new(wal), index }, scanned.end))
}

/// A bad group that a later one knew as durable was not torn by a crash.
fn check_torn(wal: &WalFile, length: u64, bad: u64) -> Result<(), StoreError> {
    match later_witness(wal, length, bad)? {
        None => Ok(()),
        Some(at) => {
            let problem = format!("a bad group in front of good ones (the next is at byte {at})");
            Err(StoreError::corrupt(&wal.name, bad, problem))
        }
    }
}

/// Makes the tail durable. It is written again first: if an earlier sync failed, the system may
/// believe that these bytes are on the disk when they are only in its memory.
fn settle(wal: &WalFile, scanned: Scanned) -> Result<(), StoreError> {
    const PIECE: u64 = 1024 * 1024;
    let mut at = scanned.durable.max(HEAD_BYTES as u64).min(scanned.end);
    while at < scanned.end {
        let piece = usize::try_from(PIECE.min(scanned.end - at)).unwrap_or(1);
        let bytes = read_exact(&*wal.file, &wal.name, piece, at)?;
        wal.file.write_at(&bytes, at).on("write", &wal.name)?;
        at += piece as u64;
    }
    wal.file.sync().on("sync", &wal.name)
}

/// Reads the sorted files, by class, oldest first.
fn read_segments(
    disk: &dyn Disk,
    names: &[String],
    unsorted: &[Sequence],
    mut losses: Losses,
) -> Result<(BTreeMap<Arc<str>, Segments>, Losses), StoreError> {
    let mut by_class: BTreeMap<Arc<str>, Vec<Arc<Segment>>> = BTreeMap::new();
    for name in names {
        let Some(first) = sorter::first_in(name) else { continue };
        if unsorted.contains(&first) {
            // What it was made from is still there, so sorting had not ended.
            disk.remove(name).on("remove", name)?;
            continue;
        }
        let segment = Segment::open(disk, name)?;
        if segment.footer.last <= losses.dropped(&segment.class) {
            // Retention dropped it; the removal was lost.
            disk.remove(name).on("remove", name)?;
            continue;
        }
        by_class.entry(Arc::clone(&segment.class)).or_default().push(Arc::new(segment));
    }
    let mut missing = Vec::new();
    for (class, segments) in &mut by_class {
        segments.sort_by_key(|segment| segment.footer.first);
        let mut before = losses.dropped(class);
        for segment in segments.iter() {
            if segment.footer.previous > before {
                let known = losses.of(0, [class, class]) >= segment.footer.previous;
                missing.push((Arc::clone(class), segment.footer.previous, known));
            }
            before = segment.footer.last;
        }
    }
    let mut news = false;
    for (class, last, known) in missing {
        if !known {
            tracing::error!(class = &*class, %last, "a file of this class that ended there is missing");
            losses = losses.with_missing(&class, last);
            news = true;
        }
    }
    if news {
        losses.write(disk)?;
    }
    let by_class = by_class.into_iter().map(|(class, segments)| (class, Arc::new(segments)));
    Ok((by_class.collect(), losses))
}

/// Between the newest sorted file and the first unsorted one, nothing may be missing but what
/// retention dropped.
fn check_seam(
    disk: &dyn Disk,
    sorted: Sequence,
    first: Option<Sequence>,
    losses: Losses,
) -> Result<Losses, StoreError> {
    let known = sorted.max(losses.dropped_newest());
    let Some(first) = first else { return Ok(losses) };
    if sorted >= first {
        let name = wal::file_name(first);
        return Err(StoreError::corrupt(&name, 0, format!("sorted files reach to {sorted}")));
    }
    let last = Sequence(first.0.saturating_sub(1));
    if known >= last {
        return Ok(losses);
    }
    tracing::error!(from = known.0 + 1, to = last.0, "files of this stretch are missing");
    let losses = losses.with_missing(&EVERY_CLASS.into(), last);
    losses.write(disk)?;
    Ok(losses)
}

/// The class that every topic is also looked for in.
const EVERY_CLASS: &str = UNDECLARED;

/// Fills the window with the keys that may still be retried.
fn restore_keys(
    disk: &dyn Disk,
    settings: &DiskSettings,
    segments: &BTreeMap<Arc<str>, Segments>,
    mut found: Vec<KeyAt>,
    wals: &[(SealedWal, u64)],
) -> Result<KeyWindow, StoreError> {
    let limits = &settings.limits;
    let all = || segments.values().flat_map(|segments| segments.iter());
    let sorted = all().map(|segment| segment.footer.newest_at_ms);
    let newest_ms = sorted.chain(wals.iter().map(|(sealed, _)| sealed.index.newest_at_ms)).max();
    let newest_ms = newest_ms.unwrap_or_default();
    for segment in all() {
        if keys::may_matter(segment.footer.newest_at_ms, newest_ms, limits.idempotency_window) {
            found.extend(segment.keys(disk)?);
        }
    }
    let mut window = KeyWindow::new(limits.idempotency_window, limits.idempotency_keys_max);
    let chosen =
        keys::choose(found, newest_ms, limits.idempotency_window, limits.idempotency_keys_max);
    for KeyAt { sequence, key, .. } in chosen {
        let seen = Remembered { sequence, body: key.body };
        window.restore(key.name, seen, std::time::Duration::ZERO);
    }
    Ok(window)
}

/// The newest entries of the active file, for memory.
fn newest_in(
    wal: &WalFile,
    index: &WalIndex,
    written: u64,
    bytes_max: usize,
) -> Result<Recent, StoreError> {
    let from = written.saturating_sub(bytes_max as u64);
    let first = index.offsets.partition_point(|&offset| u64::from(offset) < from);
    let Some(&start) = index.offsets.get(first) else {
        return Ok(Recent::new(index.last(), bytes_max));
    };
    let start = u64::from(start);
    let mut recent = Recent::new(Sequence(index.before().0 + first as u64), bytes_max);
    let length = usize::try_from(written.saturating_sub(start)).unwrap_or_default();
    let bytes = read_exact(&*wal.file, &wal.name, length, start)?;
    let (mut last, mut gone) = (None::<Arc<tidewire_proto::Entry>>, Vec::new());
    for &offset in index.offsets.iter().skip(first) {
        let offset = u64::from(offset);
        let at = usize::try_from(offset - start).unwrap_or(usize::MAX);
        let entry = record::decode(bytes.get(at..).unwrap_or_default())
            .and_then(|record| record.to_entry(last.as_deref()))
            .map_err(|problem| StoreError::corrupt(&wal.name, offset, problem))?;
        let entry = Arc::new(entry);
        recent.push(record::topic_hash(entry.topic.as_str()), Arc::clone(&entry), &mut gone);
        gone.clear();
        last = Some(entry);
    }
    Ok(recent)
}
