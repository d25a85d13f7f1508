//! stub
use futures_util::stream::BoxStream;
use std::{path::Path, sync::Arc};
use tidewire_core::{clock::*, log::memory::MemoryBounds, *};
use tidewire_proto::*;
pub struct DiskLog(MemoryLog);
pub struct DiskSettings(Arc<Features>, Limits);
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct OpenError;
impl DiskSettings {
    pub fn new(f: Arc<Features>, l: Limits) -> Self {
        Self(f, l)
    }
}
impl DiskLog {
    pub fn open(
        _: &Path,
        s: DiskSettings,
        c: Arc<dyn Clock>,
        r: &dyn Random,
    ) -> Result<Self, OpenError> {
        Ok(Self(MemoryLog::new(s.0, &s.1, MemoryBounds::default(), c, r)))
    }
    pub async fn close(&self) {}
}
#[async_trait::async_trait]
impl Log for DiskLog {
    async fn append(&self, b: Vec<Message>) -> Result<Vec<Receipt>, AppendError> {
        self.0.append(b).await
    }
    async fn read(&self, f: &Filter, a: Sequence, l: PageLimit) -> Result<Page, ReadError> {
        self.0.read(f, a, l).await
    }
    fn follow(&self, a: Sequence) -> BoxStream<'static, Batch> {
        self.0.follow(a)
    }
    fn bounds(&self) -> Bounds {
        self.0.bounds()
    }
}
