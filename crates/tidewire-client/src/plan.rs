//! The plan as a client sees it: `GET /v1/plan`, and the rung for a set of topics.

use serde::Deserialize;
use tidewire_proto::{Topic, plan::Transport};

use crate::{client::Client, error::ClientError, http, item::Rung, ladder, loss::Loss, poll::once};

/// What the server plans for whom we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The version of the protocol.
    pub protocol: u32,
    /// Which plan this is; empty where the server is older than tags.
    pub tag: String,
    /// Time between beats on an idle connection.
    pub beat_ms: u64,
    /// How long a client waits before it comes back, unless it is told otherwise.
    pub retry_ms: u64,
    /// Does the server take features that it does not declare?
    pub undeclared: bool,
    /// The features.
    pub features: Vec<PlannedFeature>,
}

/// What the server plans for one feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedFeature {
    /// Its name: the first segment of its topics.
    pub feature: String,
    /// The transport.
    pub transport: Rung,
    /// The rule that chose it, for programs.
    pub reason: String,
    /// The same as a sentence.
    pub why: String,
    /// How long entries are kept: `none`, `forever`, or a duration as the config says it.
    pub history: String,
    /// How safely an acknowledged message is kept.
    pub stored: String,
}

#[derive(Deserialize)]
struct PlanText {
    protocol: u32,
    #[serde(default)]
    tag: String,
    beat_ms: u64,
    #[serde(default)]
    retry_ms: u64,
    #[serde(default)]
    undeclared: bool,
    features: Vec<FeatureText>,
}

#[derive(Deserialize)]
struct FeatureText {
    feature: String,
    transport: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    why: String,
    #[serde(default)]
    history: String,
    #[serde(default)]
    stored: String,
}

impl Plan {
    /// The one rung for these topics together: long-poll if the operator chose it for one of them
    /// (nothing else gets through there), else WebSocket if one needs it (it carries everything),
    /// else an event stream.
    #[must_use]
    pub fn rung(&self, topics: &[Topic]) -> Rung {
        let of =
            |topic: &Topic| self.features.iter().find(|planned| planned.feature == topic.feature());
        let rungs = || topics.iter().filter_map(of).map(|planned| planned.transport);
        let needs = |rung| rungs().any(|have| have == rung);
        [Rung::Poll, Rung::Ws].into_iter().find(|rung| needs(*rung)).unwrap_or(Rung::Sse)
    }
}

impl Plan {
    /// The rungs for these topics together, from the planned one down.
    pub(crate) fn rungs(&self, topics: &[Topic]) -> Vec<Rung> {
        let is_kept = |topic: &Topic| {
            let planned = self.features.iter().find(|planned| planned.feature == topic.feature());
            planned.is_none_or(|planned| planned.history != "none")
        };
        ladder::rungs(self.rung(topics), topics.iter().all(is_kept))
    }
}

impl Client {
    /// Asks for the plan.
    ///
    /// # Errors
    /// [`ClientError`], also for what a subscription would get over by itself: this asks once.
    pub async fn plan(&self) -> Result<Plan, ClientError> {
        let token = self.token().await.map_err(once)?;
        ask(self, token.as_deref()).await.map_err(once)
    }
}

pub(crate) async fn ask(client: &Client, token: Option<&str>) -> Result<Plan, Loss> {
    let options = client.options();
    let limit = options.timeouts.connect;
    let response = http::send(client.http().get(client.at("/plan")), token, limit).await?;
    let body = http::body(response, options.event_bytes_max, limit).await?;
    let plan: PlanText = serde_json::from_slice(&body)
        .map_err(|error| Loss::Garbled(format!("the answer as a plan: {error}")))?;
    Ok(plan_of(plan))
}

fn plan_of(text: PlanText) -> Plan {
    let feature = |text: FeatureText| PlannedFeature {
        // A transport that this client does not know cannot be taken; every feature has a stream.
        transport: Transport::parse(&text.transport).map_or(Rung::Sse, Rung::from),
        feature: text.feature,
        reason: text.reason,
        why: text.why,
        history: text.history,
        stored: text.stored,
    };
    Plan {
        protocol: text.protocol,
        tag: text.tag,
        beat_ms: text.beat_ms,
        retry_ms: text.retry_ms,
        undeclared: text.undeclared,
        features: text.features.into_iter().map(feature).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_rung_carries_all_the_topics() {
        let text = r#"{"protocol":1,"beat_ms":20000,"retry_ms":1000,"undeclared":true,"features":[
            {"feature":"notes","transport":"sse","reason":"server_pushes","why":"…","history":"forever","stored":"fsync","answers":{}},
            {"feature":"chat","transport":"ws"},{"feature":"office","transport":"poll"},
            {"feature":"new","transport":"webtransport"}]}"#;
        let plan = plan_of(serde_json::from_str(text).unwrap());
        let rung = |names: &[&str]| {
            plan.rung(&names.iter().map(|name| Topic::parse(name).unwrap()).collect::<Vec<_>>())
        };
        assert_eq!(rung(&["notes/a", "new/x", "undeclared/y"]), Rung::Sse);
        assert_eq!(rung(&["notes/a", "chat/b"]), Rung::Ws);
        assert_eq!(rung(&["notes/a", "office/c", "chat/b"]), Rung::Poll);
        assert_eq!(plan.features[0].stored, "fsync");
    }
}
