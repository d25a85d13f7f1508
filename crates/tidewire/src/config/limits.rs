//! `[limits]`: one key for each field of [`Limits`], with its name and its default; and whether the
//! values make sense.
//!
//! Invariant: a field without a key does not compile.

use std::{collections::BTreeMap, time::Duration};

use tidewire_core::Limits;

use super::{
    problem::{Place, Problem, Report},
    read::Section,
    units::{show_bytes, show_duration},
};

/// Proxies cut a silent stream after 30 s and more; a beat must come well before.
const BEAT_INTERVAL_ADVISED: Duration = Duration::from_secs(25);
/// Room in a request head beside the token: the request line and the other fields.
const HEAD_BESIDE_TOKEN_BYTES: usize = 2 * 1024;

/// Limits, and where each that is not the default was written.
#[derive(Default)]
pub(super) struct WrittenLimits {
    limits: Limits,
    places: BTreeMap<&'static str, Place>,
}

/// What is measured, so that a problem can show it.
enum Measure {
    Bytes(usize),
    Count(usize),
    Wait(Duration),
}

impl Measure {
    fn is_zero(&self) -> bool {
        match self {
            Self::Bytes(amount) | Self::Count(amount) => *amount == 0,
            Self::Wait(wait) => wait.is_zero(),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Bytes(bytes) => show_bytes(u64::try_from(*bytes).unwrap_or(u64::MAX)),
            Self::Count(count) => count.to_string(),
            Self::Wait(wait) => show_duration(*wait),
        }
    }
}

macro_rules! limit_keys {
    ($(bytes $bytes:ident;)* $(count $count:ident;)* $(wait $wait:ident;)*) => {
        impl WrittenLimits {
            /// Reads the section.
            pub(super) fn read(mut section: Section<'_>) -> Self {
                let mut written = Self::default();
                $(if let Some(found) = section.bytes(stringify!($bytes)) {
                    written.limits.$bytes = usize::try_from(found.value).unwrap_or(usize::MAX);
                    written.places.insert(stringify!($bytes), found.place);
                })*
                $(if let Some(found) = section.count(stringify!($count)) {
                    written.limits.$count = found.value;
                    written.places.insert(stringify!($count), found.place);
                })*
                $(if let Some(found) = section.duration(stringify!($wait)) {
                    written.limits.$wait = found.value;
                    written.places.insert(stringify!($wait), found.place);
                })*
                section.finish();
                written
            }
        }

        fn measures(limits: &Limits) -> Vec<(&'static str, Measure)> {
            // A new field of `Limits` needs its line in `limit_keys!` below.
            let Limits { $($bytes,)* $($count,)* $($wait,)* } = limits;
            vec![
                $((stringify!($bytes), Measure::Bytes(*$bytes)),)*
                $((stringify!($count), Measure::Count(*$count)),)*
                $((stringify!($wait), Measure::Wait(*$wait)),)*
            ]
        }
    };
}

limit_keys! {
    bytes message_bytes_max;
    bytes document_bytes_max;
    bytes awareness_bytes_max;
    bytes batch_bytes_max;
    bytes page_bytes_max;
    bytes step_bytes_max;
    bytes tail_bytes_max;
    bytes append_bytes_pending_max;
    bytes recent_bytes_max;
    bytes head_bytes_max;
    bytes token_bytes_max;
    bytes webhook_bytes_max;
    bytes presence_state_bytes_max;
    count documents_open_max;
    count awareness_states_max;
    count batch_messages_max;
    count topics_per_stream_max;
    count subscriptions_per_socket_max;
    count page_entries_max;
    count tail_entries_max;
    count idempotency_keys_max;
    count lives_max;
    count connections_max;
    count connections_per_address_max;
    count presence_topics_max;
    count presence_members_max;
    count presence_total_max;
    count header_fields_max;
    count fragments_max;
    count authorize_requests_max;
    count authorize_waiting_max;
    count authorize_answers_max;
    count revocations_max;
    count webhook_entries_max;
    wait wait_max;
    wait idempotency_window;
    wait head_timeout;
    wait body_timeout;
    wait producer_timeout;
    wait handshake_timeout;
    wait slow_reader_timeout;
    wait beat_interval;
    wait presence_lease;
    wait presence_grace;
    wait close_timeout;
    wait retry_base;
    wait drain_timeout;
}

/// Every limit by name, in the units of the config: for showing the effective settings.
#[must_use]
pub fn show_limits(limits: &Limits) -> Vec<(&'static str, String)> {
    measures(limits).into_iter().map(|(name, measure)| (name, measure.show())).collect()
}

impl WrittenLimits {
    /// The limits, after reporting those that make no sense.
    pub(super) fn settle(self, whole: &Place, report: &mut Report) -> Limits {
        self.zeros(whole, report);
        self.pairs(whole, report);
        self.advice(report);
        self.limits
    }

    fn problem(&self, name: &str, whole: &Place, what: impl Into<String>) -> Problem {
        let place = self.places.get(name).unwrap_or(whole);
        Problem::new(place.clone(), format!("limits.{name}"), what)
    }

    fn zeros(&self, whole: &Place, report: &mut Report) {
        // Nothing kept in memory, and no waiting at the end, are sensible wishes.
        const MAY_BE_ZERO: [&str; 2] = ["recent_bytes_max", "drain_timeout"];
        let defaults: BTreeMap<_, _> = measures(&Limits::default()).into_iter().collect();
        for (name, measure) in measures(&self.limits) {
            if measure.is_zero() && !MAY_BE_ZERO.contains(&name) {
                let default = defaults.get(name).map(Measure::show).unwrap_or_default();
                let problem = self
                    .problem(name, whole, "zero would let nothing through")
                    .fix(format!("leave it out for the default, {default}, or write more than 0"));
                report.problem(problem);
            }
        }
    }

    /// Limits that must fit into others.
    fn pairs(&self, whole: &Place, report: &mut Report) {
        let l = &self.limits;
        let pairs = [
            ("message_bytes_max", l.message_bytes_max, "batch_bytes_max", l.batch_bytes_max),
            (
                "document_bytes_max",
                l.document_bytes_max,
                "append_bytes_pending_max",
                l.append_bytes_pending_max,
            ),
            (
                "batch_bytes_max",
                l.batch_bytes_max,
                "append_bytes_pending_max",
                l.append_bytes_pending_max,
            ),
            (
                "token_bytes_max",
                l.token_bytes_max,
                "head_bytes_max",
                l.head_bytes_max.saturating_sub(HEAD_BESIDE_TOKEN_BYTES),
            ),
        ];
        for (small, small_bytes, large, large_bytes) in pairs {
            if small_bytes > large_bytes {
                // The one that was written is the one to look at.
                let named = if self.places.contains_key(small) { small } else { large };
                let what = format!("`{small}` does not fit into `{large}`");
                let problem = self
                    .problem(named, whole, what)
                    .because("the largest allowed one would always be refused")
                    .fix(format!("raise `{large}` or lower `{small}`"));
                report.problem(problem);
            }
        }
    }

    fn advice(&self, report: &mut Report) {
        let Some(place) = self.places.get("beat_interval") else { return };
        if self.limits.beat_interval > BEAT_INTERVAL_ADVISED {
            let what =
                format!("{} between beats is long", show_duration(self.limits.beat_interval));
            let warning = Problem::new(place.clone(), "limits.beat_interval", what)
                .because("many proxies cut a stream that is silent for 30 s")
                .fix("write 25s or less");
            report.warning(warning);
        }
    }
}
