//! The Rust client of Tidewire: name topics, get entries, publish. Never a transport.
//!
//! | Room | What lives there |
//! |---|---|
//! | [`Client`], [`ClientOptions`] | where the server is, and every wait and bound |
//! | [`Subscription`], [`Item`] | what a subscriber holds and hears |
//! | [`publish`](Client::publish) | one message or a batch, safe to retry |
//! | [`plan`](Client::plan) | which transport the server chose for which feature |
//! | [`TokenSource`] | where tokens come from |
//! | [`Backoff`], [`Jitter`] | when to come back, with time and chance injected |
//!
//! Inside, a rung (`sse`, `ws`, `poll`) is one function: open from where the walk
//! stands, yield deliveries, say why it ended. `resume` calls it for ever and decides what comes
//! next; `backoff`, `ladder`, `loss`, `path`, `walk` and `weave` are pure.
//!
//! Whoever leaves the rung to the plan ([`Rung::Auto`]) has its path watched: beside an event stream
//! a canary and a probe (`witness`) find out whether something holds it back, by the rules of `path`.
//! Then the next rung of the `ladder` goes on with the cursor, and `recall` looks for a better one.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use tidewire_client::{Client, ClientOptions, Data, Item, Options, Publish, Topic};
//!
//! let client = Client::new("https://rt.example.com", ClientOptions::default())?;
//! let topic = Topic::parse("chat/general")?;
//! let mut live = client.subscribe([topic.clone()], Options::default());
//! client.publish(Publish::new(topic, Data::json(r#"{"text":"hi"}"#)?)).await?;
//! while let Ok(item) = live.next().await {
//!     if let Item::Entry(entry) = item {
//!         println!("{} {:?}", entry.topic, entry.data);
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod attempt;
mod backoff;
mod client;
mod error;
mod http;
mod item;
mod jitter;
mod ladder;
mod loss;
mod path;
mod plan;
mod poll;
mod publish;
mod recall;
mod resume;
mod retry_after;
mod sse;
mod subscription;
mod token;
mod walk;
mod weave;
mod wire;
mod witness;
mod ws;

pub use backoff::{Backoff, BackoffPolicy, Told};
pub use client::{Client, ClientOptions, Timeouts};
pub use error::{ClientError, Disorder, PublishError, Refusal, SetupError};
pub use item::{Continuity, Delivery, Item, Rung, Status};
pub use jitter::{Jitter, SeededJitter, SystemJitter};
pub use plan::{Plan, PlannedFeature};
pub use poll::Page;
pub use publish::{Publish, Published};
pub use subscription::{Options, Subscription};
pub use tidewire_proto::{After, Cursor, Data, EventType, Gap, GapReason, Key, Next, Topic};
pub use token::{TokenError, TokenSource};
