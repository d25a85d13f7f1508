//! The embedded log passes the contract suite, on files of the operating system's.

use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tidewire_core::{
    clock::{Clock, SystemRandom},
    log::contract::{Harness, Setup},
    log_contract,
};
use tidewire_disk::{DiskLog, DiskSettings};

#[derive(Default)]
struct OnDisk {
    dir: Mutex<Option<TempDir>>,
}

impl OnDisk {
    fn open(&self, setup: &Setup) -> DiskLog {
        let dir = self.dir.lock().unwrap().as_ref().unwrap().path().to_owned();
        let clock: Arc<dyn Clock> = setup.clock.clone();
        DiskLog::open(dir, settings(setup), clock, &SystemRandom).unwrap()
    }
}

fn settings(setup: &Setup) -> DiskSettings {
    DiskSettings {
        features: setup.features.clone(),
        limits: setup.limits.clone(),
        // So small that every test seals, sorts and reads sorted files.
        segment_bytes: 3_000,
        ..DiskSettings::default()
    }
}

impl Harness for OnDisk {
    type Log = DiskLog;

    async fn fresh(&self, setup: &Setup) -> DiskLog {
        *self.dir.lock().unwrap() = Some(TempDir::new().unwrap());
        self.open(setup)
    }

    async fn reopen(&self, log: DiskLog, setup: &Setup) -> Option<DiskLog> {
        log.close().await;
        Some(self.open(setup))
    }

    async fn retain(&self, log: &DiskLog) {
        log.seal_now().await;
    }
}

log_contract!(OnDisk);

/// The same with nearly nothing in memory, so that files answer.
mod without_memory {
    use super::*;

    #[derive(Default)]
    struct OnlyFiles(OnDisk);

    fn forgetful(setup: &Setup) -> Setup {
        let mut setup = setup.clone();
        setup.limits.recent_bytes_max = 0;
        setup
    }

    impl Harness for OnlyFiles {
        type Log = DiskLog;

        async fn fresh(&self, setup: &Setup) -> DiskLog {
            self.0.fresh(&forgetful(setup)).await
        }

        async fn reopen(&self, log: DiskLog, setup: &Setup) -> Option<DiskLog> {
            self.0.reopen(log, &forgetful(setup)).await
        }

        async fn retain(&self, log: &DiskLog) {
            self.0.retain(log).await;
        }
    }

    log_contract!(OnlyFiles);
}
