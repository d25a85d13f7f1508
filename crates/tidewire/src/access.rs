//! Who may: what stands around the gate that knows tokens and API keys.
//!
//! | Room | What |
//! |---|---|
//! | `gate` | [`StandardGate`]: tokens and keys, and the app where it is asked; [`Guarded`]: any gate, and what was taken back |
//! | `app` | asking the app: one request for one question, remembered, bounded |
//! | `answer` | what an app's answer means |
//! | `memo` | answers that are still good |
//! | `breaker` | leaving an app alone that does not answer |
//! | `revoked` | whose access was taken back |
//! | `revoke` | the door that takes access back, and the walk that hears of it |
//!
//! Knows no door but that one. Invariant: whatever cannot be decided is refused.

mod answer;
mod app;
mod breaker;
mod gate;
mod memo;
mod revoke;
mod revoked;

pub(crate) use app::Counts;
pub(crate) use gate::{Guarded, StandardGate};
pub(crate) use revoke::{Following, revoke};
pub(crate) use revoked::{Ended, Revocations};
