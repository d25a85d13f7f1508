//! Reads the newest entries of some topics, from the back: memory first, then unsorted files, then
//! sorted ones, newest file first, until there are enough.
//!
//! The cost is that of the entries returned and of about as many beside them, not of the topic's age.

use std::sync::Arc;

use tidewire_core::{PageBack, PageLimit, ReadError};
use tidewire_proto::{Entry, Sequence};

use crate::{
    disk::Disk,
    error::StoreError,
    reader::ATTEMPTS,
    shared::Shared,
    state::{InWal, PlacesBack, Wanted},
};

/// Reads the newest entries of topics, those before a place if there is one.
pub(crate) async fn read(
    shared: &Arc<Shared>,
    wanted: Vec<Wanted>,
    before: Option<Sequence>,
    limit: PageLimit,
) -> Result<PageBack, ReadError> {
    let before = before.unwrap_or(Sequence(u64::MAX));
    // One more than wanted, to know whether there are others.
    let most = limit.entries.saturating_add(1);
    for _ in 0..ATTEMPTS {
        let (newest, places) = shared.lock().plan_back(&wanted, before, most);
        let found = if places.iter().all(|places| places.is_in_memory(most)) {
            Ok(places.into_iter().flat_map(|places| places.recent).collect())
        } else {
            let permit = Arc::clone(&shared.file_reads).acquire_owned().await;
            let disk = Arc::clone(&shared.disk);
            let read = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                all_of(&*disk, places, before, most)
            });
            read.await.map_err(|error| ReadError::Failed(error.to_string()))?
        };
        match found {
            Err(error) if error.is_gone() => {}
            found => return Ok(PageBack::of(found?, limit, newest)),
        }
    }
    Err(ReadError::Failed("retention removes files faster than they are read".to_owned()))
}

fn all_of(
    disk: &dyn Disk,
    places: Vec<PlacesBack>,
    before: Sequence,
    most: usize,
) -> Result<Vec<Arc<Entry>>, StoreError> {
    let mut all = Vec::new();
    for places in places {
        all.extend(of_topic(disk, places, before, most)?);
    }
    Ok(all)
}

/// The newest entries of one topic, at most so many, in any order.
fn of_topic(
    disk: &dyn Disk,
    places: PlacesBack,
    before: Sequence,
    most: usize,
) -> Result<Vec<Arc<Entry>>, StoreError> {
    let PlacesBack { wanted, recent: mut found, wals, mut segments, floor } = places;
    for InWal { wal, found: positions } in wals {
        for (sequence, offset) in positions {
            if found.len() >= most {
                return Ok(found);
            }
            let like = found.last().map(AsRef::as_ref);
            let entry = wal.entry_at(sequence, offset, like)?;
            // Two topics may share a hash.
            if entry.topic == wanted.topic {
                found.push(Arc::new(entry));
            }
        }
    }
    // What memory has is not looked for again.
    let before = before.min(Sequence(floor.0.saturating_add(1)));
    segments.sort_by_key(|segment| segment.footer.first);
    for segment in segments.into_iter().rev() {
        if found.len() >= most {
            break;
        }
        if segment.footer.oldest < before
            && let Some(run) = segment.run(wanted.hash)
        {
            let topic = wanted.topic.as_str();
            let here = segment.read_run_back(disk, run, (topic, before), most - found.len())?;
            found.extend(here.into_iter().map(Arc::new));
        }
    }
    Ok(found)
}
