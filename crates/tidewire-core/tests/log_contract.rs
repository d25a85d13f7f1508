//! The memory log passes the contract suite.

use std::sync::Arc;

use tidewire_core::{
    MemoryLog,
    clock::{Clock, SeededRandom},
    log::{
        Filter, Log, PageLimit,
        contract::{Harness, Setup},
        memory::MemoryBounds,
    },
    log_contract,
};
use tidewire_proto::{Sequence, Topic};

#[derive(Default)]
struct Memory;

impl Harness for Memory {
    type Log = MemoryLog;

    async fn fresh(&self, setup: &Setup) -> MemoryLog {
        let clock: Arc<dyn Clock> = setup.clock.clone();
        let features = setup.features.clone();
        let bounds = MemoryBounds::default();
        MemoryLog::new(features, &setup.limits, bounds, clock, &SeededRandom::new(7))
    }

    async fn reopen(&self, _: MemoryLog, _: &Setup) -> Option<MemoryLog> {
        None
    }

    async fn retain(&self, log: &MemoryLog) {
        // It drops when it is read.
        let filter = Filter::from(Topic::parse("chat/a").unwrap());
        let none = PageLimit { entries: 0, bytes: 0 };
        log.read(&filter, Sequence::ZERO, none).await.unwrap();
    }
}

log_contract!(Memory);
