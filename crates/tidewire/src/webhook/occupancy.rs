//! Who comes and goes, as entries of `~tidewire/occupancy`: so whoever is told is told at least once.
//!
//! What counts as coming and going is `crowd`'s. Knows no webhook but its patterns.

use std::{collections::HashSet, time::Duration};

use serde_json::json;
use tidewire_core::{Filter, Hub, SubscribeError, Turnover};
use tidewire_proto::{After, Data, EventType, Message, Pattern, Topic};
use tokio::time::{Instant, sleep, sleep_until};

use super::crowd::Crowd;
use crate::config::Happening;

/// Where it is said.
pub(super) const TOPIC: &str = "~tidewire/occupancy";
/// After something could not be read or stored, it is tried again so soon.
const AGAIN: Duration = Duration::from_secs(1);

/// Runs until it is aborted.
pub(super) async fn run(patterns: Vec<Pattern>, hub: Hub) {
    let topic = Topic::parse(TOPIC).expect("the name of our own topic is one");
    let mut crowd = loop {
        match recall(&hub, &topic).await {
            Ok(crowd) => break crowd,
            Err(error) => {
                tracing::error!(%error, "who was there cannot be read");
                sleep(AGAIN).await;
            }
        }
    };
    crowd.has_begun(Instant::now());
    look(&mut crowd, &hub, &patterns);
    loop {
        let next = crowd.next();
        let due = async {
            match next {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = hub.turned() => {}
            () = due => {}
        }
        look(&mut crowd, &hub, &patterns);
        let turns = crowd.due(Instant::now());
        for some in turns.chunks(hub.limits().batch_messages_max) {
            say(&hub, &topic, some).await;
        }
    }
}

/// What was said last of each topic.
async fn recall(hub: &Hub, topic: &Topic) -> Result<Crowd, SubscribeError> {
    let (filter, mut after) = (Filter::from(topic.clone()), After::Start);
    let mut crowd = Crowd::default();
    loop {
        let page = hub.history(&filter, after, usize::MAX).await?;
        for framed in &page.entries {
            let entry = framed.entry();
            let value: Option<serde_json::Value> = serde_json::from_slice(entry.data.bytes()).ok();
            let named = value.as_ref().and_then(|value| value.get("topic")?.as_str());
            let topic = named.and_then(|name| Topic::parse(name).ok());
            if let (Some(happening), Some(topic)) = (Happening::parse(entry.event.as_str()), topic)
            {
                crowd.was_said(happening, topic);
            }
        }
        if !page.more {
            return Ok(crowd);
        }
        after = After::Cursor(page.cursor);
    }
}

fn look(crowd: &mut Crowd, hub: &Hub, patterns: &[Pattern]) {
    let now = Instant::now();
    let is_meant = |topic: &Topic| {
        !topic.is_reserved() && patterns.iter().any(|pattern| pattern.covers(topic, None))
    };
    let Turnover { topics, is_all } = hub.turnover();
    let meant = topics.into_iter().filter(|(topic, _)| is_meant(topic));
    if is_all {
        let read: HashSet<_> = meant.map(|(topic, _)| topic).collect();
        return crowd.see_all(read, now);
    }
    for (topic, is_read) in meant {
        crowd.see(topic, is_read, now);
    }
}

async fn say(hub: &Hub, topic: &Topic, turns: &[(Happening, Topic)]) {
    let message = |(happening, about): &(Happening, Topic)| {
        let json = json!({"topic": about.as_str()}).to_string();
        let event = EventType::parse(happening.as_str()).ok()?;
        let data = Data::json(json).ok()?;
        Some(Message { topic: topic.clone(), event, data, key: None, item: None })
    };
    loop {
        match hub.publish_batch(turns.iter().filter_map(message).collect()).await {
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(%error, "who comes and goes could not be stored; it is tried again");
                sleep(AGAIN).await;
            }
        }
    }
}
