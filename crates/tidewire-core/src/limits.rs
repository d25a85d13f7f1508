//! Every bound in the system: one struct, one reason each.
//!
//! A limit that is not enforced does not stand here. The config's `[limits]` table has one key for
//! each field, with the same name and the same default.

use std::time::Duration;

/// All bounds. Sizes are bytes; waits are durations on the monotonic clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest payload of one message. Costs: every ring and page is counted in these.
    pub message_bytes_max: usize,
    /// Most messages in one batch: a batch is one piece on disk and in every walk.
    pub batch_messages_max: usize,
    /// Most payload bytes in one batch.
    pub batch_bytes_max: usize,
    /// Most topics on one event stream or long-poll: a walk merges this many tails.
    pub topics_per_stream_max: usize,
    /// Most subscriptions on one WebSocket.
    pub subscriptions_per_socket_max: usize,
    /// Most entries in one page of history, and in one read of a subscription.
    pub page_entries_max: usize,
    /// Most payload bytes in one page (at least one entry always fits).
    pub page_bytes_max: usize,
    /// Most payload bytes that a connection takes from the log at once: what one slow reader costs.
    pub step_bytes_max: usize,
    /// Longest long-poll wait that is granted.
    pub wait_max: Duration,
    /// Most entries that a topic's tail holds in memory while somebody reads the topic.
    pub tail_entries_max: usize,
    /// Most payload bytes that a topic's tail holds in memory.
    pub tail_bytes_max: usize,
    /// Most payload bytes waiting to be committed; beyond it a publish is answered `busy`.
    pub append_bytes_pending_max: usize,
    /// Most payload bytes of the newest entries, over all topics, that a log keeps in memory.
    pub recent_bytes_max: usize,
    /// How long an idempotency key is remembered after its entry was stored.
    pub idempotency_window: Duration,
    /// Most keys remembered at a time (about 100 bytes each); beyond it a publish with a new key is
    /// answered `busy`, because forgetting one early would store a retry twice.
    pub idempotency_keys_max: usize,
    /// Most lives a lineage remembers; a cursor older than all of them is answered `foreign`.
    pub lives_max: usize,
    /// How long a member counts as present after it was heard. Longer shows the dead for longer;
    /// shorter costs more renewals, three of which fit into it.
    pub presence_lease: Duration,
    /// How long a member is still present after its socket has gone, so that a reconnect is not seen.
    pub presence_grace: Duration,
    /// Largest state of a member: every reader of the topic gets it, and it is held in memory.
    pub presence_state_bytes_max: usize,
    /// Most topics that one member is in.
    pub presence_topics_max: usize,
    /// Most members of one topic: who asks for them gets all in one answer.
    pub presence_members_max: usize,
    /// Most members over all topics; each costs some 750 bytes and its state.
    pub presence_total_max: usize,
    /// Largest document, as one update: who opens it gets all of it, and it is held in memory, where it
    /// takes some times as much, while anybody has it open.
    pub document_bytes_max: usize,
    /// Most documents that are open at a time.
    pub documents_open_max: usize,
    /// Largest state of a client in a document (its name, its cursor): everybody there gets it.
    pub awareness_bytes_max: usize,
    /// Most clients with a state in one document: who opens it gets all of them.
    pub awareness_states_max: usize,
    /// Most connections at a time, over all doors. Beyond it a new one is answered and closed.
    pub connections_max: usize,
    /// Most connections at a time from one address.
    pub connections_per_address_max: usize,
    /// Largest request head.
    pub head_bytes_max: usize,
    /// Most header fields in a request.
    pub header_fields_max: usize,
    /// Longest wait for a complete request head, and for the next request on an idle connection.
    pub head_timeout: Duration,
    /// Longest wait for a complete request body.
    pub body_timeout: Duration,
    /// Longest silence of a producer that streams parts in, and longest wait for one that was lost and
    /// may come back: so long do readers wait for nothing.
    pub producer_timeout: Duration,
    /// Longest time a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// A peer that accepts no byte for this long is closed; its cursor is its own.
    pub slow_reader_timeout: Duration,
    /// Time between two beats on an idle stream. Proxies cut at 30 s and more.
    pub beat_interval: Duration,
    /// Most fragments in one WebSocket message.
    pub fragments_max: usize,
    /// Longest wait for the peer's half of a WebSocket close handshake.
    pub close_timeout: Duration,
    /// Largest token.
    pub token_bytes_max: usize,
    /// Shortest and base delay that a client is told to wait before it comes back; its own slot is
    /// drawn from one to two times this.
    pub retry_base: Duration,
    /// Longest time that a shutdown waits for connections to leave.
    pub drain_timeout: Duration,
    /// Most requests under way to the app that decides about access: its share of what it can do.
    pub authorize_requests_max: usize,
    /// Most questions about access that wait for such a request; beyond it a peer is answered
    /// `gate_unavailable` at once.
    pub authorize_waiting_max: usize,
    /// Most answers about access that are remembered (some hundred bytes each); the oldest go first.
    pub authorize_answers_max: usize,
    /// Most revocations in force (about 200 bytes each); beyond it another is answered `busy`.
    pub revocations_max: usize,
    /// Most entries in one request to a webhook.
    pub webhook_entries_max: usize,
    /// Most payload bytes in one request to a webhook: what each holds in memory. One entry always
    /// fits.
    pub webhook_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        const KIB: usize = 1024;
        const MIB: usize = 1024 * KIB;
        Self {
            message_bytes_max: 256 * KIB,
            batch_messages_max: 1_000,
            batch_bytes_max: 4 * MIB,
            topics_per_stream_max: 64,
            subscriptions_per_socket_max: 128,
            page_entries_max: 1_000,
            page_bytes_max: MIB,
            step_bytes_max: 64 * KIB,
            wait_max: Duration::from_secs(60),
            tail_entries_max: 1_024,
            tail_bytes_max: 256 * KIB,
            append_bytes_pending_max: 64 * MIB,
            recent_bytes_max: 32 * MIB,
            idempotency_window: Duration::from_secs(600),
            idempotency_keys_max: 1_000_000,
            lives_max: 10_000,
            presence_lease: Duration::from_secs(30),
            presence_grace: Duration::from_secs(5),
            presence_state_bytes_max: KIB,
            presence_topics_max: 64,
            presence_members_max: 1_000,
            presence_total_max: 100_000,
            document_bytes_max: 2 * MIB,
            documents_open_max: 1_000,
            awareness_bytes_max: 4 * KIB,
            awareness_states_max: 1_000,
            connections_max: 15_000,
            connections_per_address_max: 15_000,
            head_bytes_max: 16 * KIB,
            header_fields_max: 100,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            producer_timeout: Duration::from_secs(120),
            handshake_timeout: Duration::from_secs(10),
            slow_reader_timeout: Duration::from_secs(120),
            beat_interval: Duration::from_secs(20),
            fragments_max: 1_024,
            close_timeout: Duration::from_secs(5),
            token_bytes_max: 8 * KIB,
            retry_base: Duration::from_secs(1),
            drain_timeout: Duration::from_secs(10),
            authorize_requests_max: 64,
            authorize_waiting_max: 4_096,
            authorize_answers_max: 10_000,
            revocations_max: 10_000,
            webhook_entries_max: 100,
            webhook_bytes_max: 256 * KIB,
        }
    }
}
